"""The code in the pages of docs/ works as it stands there; `tests/pages.py` says how it is run."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

import pytest

from conformance.harness import deviations
from docs import write
from tests.deployment import check_compose, check_image, check_unit, parse
from tests.pages import DOCS, ROOT, Reader, blocks, commands
from tests.workflows import check_caller

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Database, Server
    from tests.pages import Block, Check

GENERATED = {
    *(f"reference/{name}" for name in write.PAGES),
    "core-behaviour.md",
    "mutants.md",
    "performance.md",
}
ALL = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}


@pytest.mark.parametrize("name", sorted(ALL - GENERATED))
def test_a_page_works_from_top_to_bottom(
    name: str, tmp_path: Path, databases: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGFLOW_DATABASE_URL", raising=False)
    checks: dict[str, Check] = {
        "pgflow-order.service": lambda block: check_unit(block, tmp_path),
        "Dockerfile": check_image,
        "compose.yaml": check_compose,
        "conformance.yml": lambda block: check_caller(block, tmp_path),
        "mine.toml": lambda block: check_deviations(block.code),
        "mine/deviations.toml": lambda block: deviations.parse(block.code, "mine").clear(),
    }
    _lay_scripts(tmp_path)
    with databases.database() as database:
        # What it brings back after a crash is the concern of harness/test_scaling.py.
        checks["put-back.sql"] = lambda block: put_back(database, block)
        monkeypatch.setenv("DATABASE_URL", database.url)
        database.is_altered = name in {"how-to/regress.md", "how-to/roles.md"}
        if name == "how-to/roles.md":  # whose installer is to own what is there
            database.rows("DROP SCHEMA pgflow, pgmq, realtime CASCADE")
        Reader(DOCS / name, tmp_path, database.url, checks).read()


def put_back(database: Database, block: Block) -> None:
    database.connection.execute(block.code.encode())


def check_deviations(text: str) -> None:
    (one,) = deviations.parse(text, "mine.toml")
    assert one.covers("mine", "1.4", "0.6.1")
    assert not one.covers("mine", "1.5", "0.6.1")


def _lay_scripts(folder: Path) -> None:
    """Make the folder look like that of the repository to those who run its scripts in it."""
    script = folder / "scripts" / "regress"
    script.parent.mkdir()
    text = f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m conformance.regress "$@"\n'
    script.write_text(text, encoding="utf-8")
    script.chmod(0o755)
    script = folder / "scripts" / "conformance"
    results = shlex.join(["--results", str(folder / "build" / "conformance")])
    command = f"exec {shlex.quote(sys.executable)} -m conformance"
    text = f'#!/bin/sh\ncd {shlex.quote(str(ROOT))} && {command} "$@" {results}\n'
    script.write_text(text, encoding="utf-8")
    script.chmod(0o755)


def test_generated_pages_say_what_the_code_says() -> None:
    assert list(write.stale()) == [], "python -m docs.write"


@pytest.mark.parametrize("name", sorted(ALL))
def test_commands_of_the_pages_exist(name: str) -> None:
    """Those of blocks that are not run, too: their words are what the command takes."""
    for block in blocks(DOCS / name):
        if block.language in ("sh", "console"):
            for words in commands(block.code):
                parse(words)
