"""Whatever a client is given, it is taken or refused; what is refused writes and leaks nothing."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgflow_ref import Flow, NotJson, PgflowError, operations
from tests.conftest import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Database, Working
    from tests.ways import Way

SLUGS: Final = (
    "",
    "run",
    "Robert'); DROP TABLE pgflow.runs;--",
    '"; SELECT 1; --',
    "a\x00b",
    "a" * 48,
    "a" * 10_000,
    "\ud800",
    "naïve",
    "%s",
    "{}",
    "pg_catalog",
    "q_flow",
    "a-b",
    "../etc",
    None,
    7,
    b"flow",
    ["flow"],
    Flow,
)


def content(database: Database) -> list[tuple[Any, ...]]:
    """How many rows there are in each table of the core, and which tables pgmq has."""
    return database.rows(
        "SELECT relname::text, (xpath('/row/n/text()', query_to_xml("
        " 'SELECT count(*) AS n FROM ' || c.oid::regclass, true, true, '')))[1]::text"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname IN ('pgflow', 'pgmq') AND relkind = 'r' ORDER BY 1"
    )


def connections(database: Database) -> int:
    count: int = database.value(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND backend_type = 'client backend'"
    )
    return count


def attempts(slug: Any) -> list[tuple[str, tuple[Any, ...], dict[str, Any]]]:
    """Every call of a client that takes a slug."""
    return [
        ("start_flow", (slug, {}), {}),
        ("start_flows", (slug, [{}]), {}),
        ("start_flow_sync", (slug, {}), {"timeout": 0}),
        ("enqueue", (slug, {}), {}),
        ("enqueue_in", (slug, {}, 5), {}),
        ("flow_exists", (slug,), {}),
        ("delete_flow", (slug,), {}),
        ("recover_stalled_tasks", (slug,), {}),
        ("prune_data", (0, slug), {}),
        ("get_flow", (slug,), {}),
        ("start_worker", (slug,), {}),
        ("stop_worker", (slug,), {}),
        ("ensure_flow", (slug,), {}),
        ("upsert_flow", (slug,), {"steps": []}),
        ("upsert_flow", ("fine",), {"steps": [{"slug": slug}, {"slug": slug}]}),
        ("upsert_flow", ("fine",), {"steps": [{"slug": "one", "deps": [slug]}]}),
        ("get_run", (slug,), {}),
        ("get_flow_input", (slug,), {}),
        ("get_step_output", (slug, slug), {}),
    ]


def try_all(client: Any, slug: Any) -> None:
    """Each call answers, or refuses in this library's own words."""
    for name, words, options in attempts(slug):
        if name in HARMLESS:
            with suppress(PgflowError):
                getattr(client, name)(*words, **options)
        else:
            with pytest.raises(PgflowError) as caught:
                getattr(client, name)(*words, **options)
            assert str(caught.value).isprintable(), name
            assert len(str(caught.value)) < 1_000, name


HARMLESS: Final = {"flow_exists", "delete_flow", "recover_stalled_tasks", "prune_data"}
"""Calls that a flow which is not there does not trouble."""


@pytest.mark.parametrize("slug", SLUGS, ids=lambda slug: ascii(slug)[:20])
def test_whatever_a_flow_is_called(slug: Any, newest: Database, way: Way) -> None:
    before = content(newest)
    with way.client(newest.url) as client:
        try_all(client, slug)
        assert client.capabilities().core  # it goes on
    assert content(newest) == before
    wait_until(lambda: connections(newest) == 1)


@given(slug=st.text() | st.binary() | st.none() | st.integers())
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_flow_is_called_by_chance(slug: Any, database: Database, way: Way) -> None:
    before = content(database)
    with way.client(database.url) as client:
        try_all(client, slug)
    assert content(database) == before


def test_no_sql_is_made_of_what_is_no_slug() -> None:
    """Names of tables are pasted after these checks, and only then."""
    for slug in (slug for slug in SLUGS if isinstance(slug, str)):
        if re.fullmatch(r"\w+", slug, re.ASCII):
            continue  # its characters are those of names
        for make in (operations.delete_messages, operations.listen, operations.visible_in):
            with pytest.raises(ValueError, match=r"no queue (belongs|of pgflow)"):
                make(slug)


deep: Any = "bottom"
for _ in range(1_000):
    deep = [deep]
wide = {f"key {n}": n for n in range(10_000)}

KEPT: Final[dict[str, Any]] = {
    "1,000 deep": deep,
    "10,000 keys": wide,
    "20 MB": "x" * 20_000_000,
    "400 digits": 10**400,
    "400 digits, negative": -(10**400) + 1,
    "1e400": Decimal("1e400"),
    "400 digits after the point": Decimal("0." + "0" * 399 + "1"),
    "a float that is the largest": 1.7976931348623157e308,
    "quotes": "'\"; DROP TABLE pgflow.runs; --",
    "controls": "\x01\x1f\x7f\u2028\ufeff",
    "no character": "\ufdd0\uffff",
    "beyond the first plane": "🦉🜚",
    "keys of all kinds": {"": 1, " ": 2, "a.b": 3, "$": 4, "ключ": 5, "constructor": 6},
}
REFUSED: Final[dict[str, tuple[Any, str]]] = {
    "U+0000": ({"a": ["b\x00"]}, r"\$\.a\[0\]"),
    "U+0000 in a key": ({"a\x00": 1}, r"\$"),
    "a lone surrogate": (["\ud800"], r"\$\[0\]"),
    "NaN": ({"x": math.nan}, r"\$\.x"),
    "infinity": ([math.inf], r"\$\[0\]"),
    "a decimal that is none": ([Decimal("NaN")], r"\$\[0\]"),
    "too many digits": ([Decimal("1e200000")], r"\$\[0\]"),
    "bytes": ([b"x"], r"\$\[0\]"),
    "a set": ({"x": {1}}, r"\$\.x"),
    "a time": ({"x": timedelta(1)}, r"\$\.x"),
    "two keys that JSON would make one": ({1: "a", "1": "b"}, r"\$"),
}


def test_values_that_are_kept(database: Database, work: Callable[..., Working]) -> None:
    """Through a client, the database, a handler, and all the way back."""
    echo = Flow("echo", max_attempts=1)
    echo.step("same")(lambda value, _ctx: value)
    work(database.add(echo))
    run_ids = {name: database.start(echo, value) for name, value in KEPT.items()}
    for name, run_id in run_ids.items():
        run = database.finish(run_id)
        assert run.status == "completed", (name, run.step_states[0].error_message)
        assert same(run.input, KEPT[name]), name
        assert isinstance(run.output, dict)
        assert same(run.output["same"], KEPT[name]), name


def same(found: Any, given: Any) -> bool:
    """Whether two values are one; nested lists are compared without recursion."""
    while isinstance(found, list) and isinstance(given, list) and len(found) == len(given) == 1:
        found, given = found[0], given[0]
    if isinstance(given, float):  # it arrives as the number that is written for it
        found = float(found)
    return bool(found == given) and isinstance(found, bool) == isinstance(given, bool)


@pytest.mark.parametrize("name", REFUSED)
def test_values_that_are_refused(name: str, database: Database, way: Way) -> None:
    value, where = REFUSED[name]
    echo = Flow("echo")
    echo.step("same")(lambda value, _ctx: value)
    database.add(echo)
    before = content(database)
    with way.client(database.url) as client:
        for call, words in (
            ("start_flow", (echo, value)),
            ("start_flow_sync", (echo, value)),
            ("enqueue_in", (echo, value, 5)),
        ):
            with pytest.raises(NotJson, match=where):
                getattr(client, call)(*words)
        with pytest.raises(NotJson, match=r"\$\[1\]"):
            client.start_flows(echo, ["fine", value])
    assert content(database) == before


@pytest.mark.parametrize("name", REFUSED)
def test_outputs_that_are_refused_fail_their_task(
    name: str, database: Database, work: Callable[..., Working]
) -> None:
    value, where = REFUSED[name]
    flow = Flow("outputs", max_attempts=1)
    flow.step("put")(lambda which, _ctx: value if which == "bad" else which)
    work(database.add(flow))
    bad, good = database.start(flow, "bad"), database.start(flow, "good")
    error = database.finish(bad).step_states[0].error_message
    assert error is not None
    assert re.search(where, error)
    assert database.finish(good).output == {"put": "good"}
