"""The table of what PgFlow for Elixir has, held to the code: names, defaults, and tests."""

from __future__ import annotations

import dataclasses
import inspect
import re
import subprocess
import sys
from typing import Any

import pytest

import pgflow_ref
from docs.write import ROOT, rows_of_elixir
from pgflow_ref import AsyncPgFlow, Flow, FlowNotFound, PgFlow, WorkerConfig
from pgflow_ref.telemetry import EVENT_NAMES

ROWS = rows_of_elixir()
MEANT = {name for row in ROWS for name in row["python"]}
KEYS = {"group", "elixir", "was", "python", "default", "note", "tests"}


def title(row: dict[str, Any]) -> str:
    return str(row.get("elixir", row["python"][0]))


def default_of(name: str) -> object:
    """What the code says of a name of the table: its default, if it has one.

    `Class.method(parameter)` and `Class(parameter)` are parameters, `Class.field` is the field of a
    dataclass; other names only have to be there.
    """
    path, _, parameter = name.rstrip(")").partition("(")
    value: Any = pgflow_ref
    *owners, last = path.split(".")
    for part in owners:
        value = getattr(value, part)
    if dataclasses.is_dataclass(value):
        return {field.name: field.default for field in dataclasses.fields(value)}[last]
    value = getattr(value, last)
    return inspect.signature(value).parameters[parameter].default if parameter else None


@pytest.mark.parametrize("row", ROWS, ids=title)
def test_a_row_is_true(row: dict[str, Any]) -> None:
    assert set(row) <= KEYS
    assert row["python"]
    defaults = {
        name: default_of(name)
        for name in row["python"]
        if not name.startswith("pgflow.") and not name.startswith("Async")
    }
    for name in row["python"]:
        if name.startswith("pgflow."):
            assert name in EVENT_NAMES
        elif name.startswith("AsyncPgFlow"):
            assert default_of(name) == default_of(name.removeprefix("Async"))
    if "default" in row:
        wanted = row["default"]
        wanted = {"None": None}.get(wanted, wanted)
        assert wanted in defaults.values(), defaults
        assert all(type(one) is type(wanted) for one in defaults.values() if one == wanted)


def test_a_parameter_with_a_default_says_it() -> None:
    """What is optional in Python has its default in the table."""
    silent = [
        (title(row), name)
        for row in ROWS
        for name in row["python"]
        if ("(" in name or name.startswith("WorkerConfig"))
        and name not in OBVIOUS
        and default_of(name) is not inspect.Parameter.empty
        and "default" not in row
    ]
    assert silent == []


OBVIOUS = {
    "PgFlow(flows)",  # none
    "AsyncPgFlow(flows)",
    "PgFlow.enqueue(delay)",  # none
    "PgFlow.enqueue(scheduled_at)",
    "Flow.step(slug)",  # the function's name
    "Flow.step(depends_on)",  # nothing
}


def test_nothing_public_is_missing() -> None:
    for client in (PgFlow, AsyncPgFlow):
        public = {f"{client.__name__}.{name}" for name in dir(client) if not name.startswith("_")}
        assert public - MEANT == set()
    options = {f"WorkerConfig.{field.name}" for field in dataclasses.fields(WorkerConfig)}
    assert options - MEANT == set()
    assert set(EVENT_NAMES) - MEANT == set()


def test_every_row_has_a_test_that_pytest_knows() -> None:
    without = [title(row) for row in ROWS if not row["tests"]]
    assert without == []
    named = {test for row in ROWS for test in row["tests"]}
    files = sorted({test.partition("::")[0] for test in named})
    words = [
        sys.executable,
        "-m",
        "pytest",
        "--collect-only",
        "-q",
        "-n0",
        "-p",
        "no:cacheprovider",
    ]
    result = subprocess.run(
        [*words, *files], cwd=ROOT, check=False, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stdout
    collected = {line.partition("[")[0] for line in result.stdout.splitlines() if "::" in line}
    assert named - collected == set()


def test_registered_flows_are_listed_and_found() -> None:
    one, two, other = Flow("one"), Flow("two"), Flow("other")
    pgflow = PgFlow("postgresql://nowhere/app", flows=[two, one])
    assert pgflow.list_flows() == (two, one)
    assert pgflow.get_flow("one") is pgflow.get_flow(one) is one
    for unknown in ("One", "other", other):
        with pytest.raises(FlowNotFound, match="is not registered here"):
            pgflow.get_flow(unknown)
    assert PgFlow("postgresql://nowhere/app").list_flows() == ()


def test_the_version_is_a_label() -> None:
    assert PgFlow("postgresql://nowhere/app").core_version() == "0.5.0"


def test_the_page_about_languages_knows_every_call() -> None:
    """And no other: what it names of Python is there."""
    page = (ROOT / "docs/reference/languages.md").read_text(encoding="utf-8")
    calls = page.partition("## Calls")[2].partition("\n## ")[0]
    cells = [line.split("|")[3] for line in calls.splitlines() if line.startswith("| ")][1:]
    named = {name for cell in cells for name in re.findall(r"`\.?(\w+)\(", cell)}
    public = {name for name in dir(PgFlow) if not name.startswith("_")}
    assert public - named == {"close"}
    assert named - public == {"Worker"}
