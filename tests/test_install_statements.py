"""What begins or ends a transaction is found in a script, and nothing else is taken for it."""

from __future__ import annotations

import pytest

from pgflow_ref.install import pins, sources
from pgflow_ref.install.statements import transaction_control

ATOMIC = "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("BEGIN;\nCREATE TABLE a ();\nCOMMIT;", ("BEGIN", 1)),
        ("CREATE TABLE a ();\n  commit ;", ("COMMIT", 2)),
        ("SELECT 1;\n\nEND", ("END", 3)),
        ("START\nTRANSACTION;", ("START TRANSACTION", 1)),
        ("SELECT 1; Rollback;", ("ROLLBACK", 1)),
        ("ABORT WORK;", ("ABORT", 1)),
        ("PREPARE TRANSACTION 'a';", ("PREPARE TRANSACTION", 1)),
        ("/* a /* b */ COMMIT; */ SELECT 1;\nEND;", ("END", 2)),
        ("SELECT E'\\'; COMMIT; ';\nCOMMIT;", ("COMMIT", 2)),
        ("SELECT 'a''; COMMIT; ';\nCOMMIT;", ("COMMIT", 2)),
        ("DO $a$ BEGIN END $a$; COMMIT;", ("COMMIT", 1)),
        (
            f"{ATOMIC} SELECT CASE WHEN true THEN 1 END;\nSELECT 2;\nEND;\nEND;",
            ("END", 4),
        ),
    ],
)
def test_what_controls_the_transaction_is_found(text: str, found: tuple[str, int]) -> None:
    assert transaction_control(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        ";;",
        "SELECT 1",
        "SAVEPOINT a; RELEASE a;",
        "-- COMMIT;\nSELECT 1;",
        "/* COMMIT; /* */ COMMIT; */ SELECT 1;",
        "/* COMMIT;",
        "SELECT '; COMMIT; ', \"; COMMIT; \";",
        "SELECT $$; COMMIT; $$, $a$ $$; COMMIT; $a$;",
        "SELECT a$b$c, 1; SELECT d$b$e;",
        "PREPARE commit AS SELECT 1;",
        "START_ALL;",
        "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $body$\nBEGIN\nCOMMIT;\nEND;\n$body$;",
        f"{ATOMIC} SELECT 1; SELECT 2; END;",
        f"{ATOMIC} SELECT CASE WHEN true THEN 1 END; END; SELECT 1;",
    ],
)
def test_what_looks_like_it_is_not(text: str) -> None:
    assert transaction_control(text) is None


def test_nothing_that_is_known_controls_its_transaction() -> None:
    known = [*sources.core_files(list(pins.load().core.files)), *sources.pgmq_files()]
    assert [file.name for file in known if transaction_control(file.text)] == []
