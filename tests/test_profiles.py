"""The profiles: what is read, what is refused and where, what changes from one to another."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from pgflow_ref.commands import cli
from pgflow_ref.install import known_cores
from pgflow_ref.install.pins import changes as schema_changes
from pgflow_ref.install.pins import load as pins
from pgflow_ref.model import BEHAVIOURS
from pgflow_ref.profiles import Core, ProfileError, changes, known, load, parse

if TYPE_CHECKING:
    from collections.abc import Callable

ENTRY = """
[begins.start_delay]
concerns = "workers"
surprising = false
says = "A."
means = "B."
where = "C"
"""


def earlier(core: str) -> Core:
    return load(core)


def test_every_core_that_can_be_installed_has_a_profile() -> None:
    assert known() == known_cores()


def test_every_behaviour_that_the_model_knows_has_an_entry_somewhere() -> None:
    assert {name for core in known() for name in load(core).entries} == BEHAVIOURS


@pytest.mark.parametrize("core", known())
def test_the_columns_of_a_profile_are_those_of_the_core(core: str) -> None:
    items = pins().releases[core].items
    for table, columns in load(core).profile.columns.items():
        if table == "set_vt_batch":
            continue  # a function's
        kind = "type" if table == "step_task_record" else "table"
        lines = items[f"{kind} pgflow.{table}"]
        there = {line.split()[0] for line in lines} - {"constraint", "definitions"}
        assert set(columns) == there


@pytest.mark.parametrize("core", known())
def test_texts_are_sentences(core: str) -> None:
    for entry in load(core).entries.values():
        assert re.fullmatch(r"[A-Z(a-z].*[.)]", entry.says), entry.name
        assert entry.means.endswith((".", ".)")), entry.name
        assert re.match(r"\d{14}|pgmq", entry.where), entry.name


def test_an_older_version_is_refused_by_name() -> None:
    with pytest.raises(ProfileError, match=r"no profile of core '0\.4\.0'; known are 0\.5\.0"):
        load("0.4.0")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("core = ", "x.toml: "),
        ("core = 1", "x.toml, line 1: core must be text, not 1"),
        ("\nkore = '1'", "x.toml, line 2: unknown key 'kore'; known are core"),
        ("", "x.toml, line 1: core is missing"),
        ("core = '1'\nends = 1", "line 2: ends must be a table, not 1"),
        ("core = '1'" + ENTRY.replace("says", "sez"), "line 5: unknown key 'sez'"),
        ("core = '1'" + ENTRY.replace("false", "'no'"), "line 4: surprising must be true or false"),
        ("core = '1'" + ENTRY.replace('where = "C"', ""), "line 2: where is missing"),
        (
            "core = '1'" + ENTRY.replace("workers", "cats"),
            "line 3: concerns must be one of workers",
        ),
        ("core = '1'" + ENTRY.replace("start_delay", "magic"), "line 2: the model knows no beha"),
        ("core = '1'\nfollows = '0.5.3'" + ENTRY, "line 3: start_delay begins, but had begun with"),
        (
            "core = '1'\n[ends.start_delay]\nsays='.'\nwhere='.'",
            "line 2: start_delay ends, but had",
        ),
        ("core = '1'\n[ends]\nstart_delay = 3", "line 3: ends.start_delay must be a table"),
        ("core = '1'\n[columns.added]\nruns = 'a'", "line 3: runs must be a list of columns"),
        ("core = '1'\n[columns.removed]\nruns = ['a']", "line 3: runs.a is not there"),
        (
            "core='1'\nfollows='0.5.0'\n[columns.added]\nruns=['output']",
            "line 4: runs.output is there",
        ),
        ("core = '1'\n[columns.new]\nruns = ['a']", "line 2: unknown key 'new'"),
    ],
)
def test_what_is_no_profile_is_refused_with_its_line(text: str, said: str) -> None:
    with pytest.raises(ProfileError) as refused:
        parse(text, "x.toml", earlier)
    assert said in str(refused.value)


def test_a_profile_is_its_changes_on_top_of_another() -> None:
    core = parse("core = '9'\nfollows = '0.5.0'" + ENTRY, "x.toml", earlier)
    assert core.profile.behaviours == load("0.5.0").profile.behaviours | {"start_delay"}
    assert core.entries["start_delay"].since == "9"
    assert core.profile.columns == load("0.5.0").profile.columns


def test_what_changes_between_versions() -> None:
    there = changes("0.5.0", "0.8.1")
    back = changes("0.8.1", "0.5.0")
    assert {entry.name for entry in there.begins} == {one.entry.name for one in back.ends}
    assert {one.entry.name for one in there.ends} == {entry.name for entry in back.begins}
    assert {one.until for one in there.ends} == {"0.6.1", "0.7.3", "0.8.1"}
    assert changes("0.7.3", "0.7.3") == type(there)((), ())


@pytest.mark.parametrize(
    ("base", "candidate", "change"),
    [
        ("0.5.0", "0.5.3", ("+", "table pgflow.steps: opt_start_delay integer")),
        ("0.6.1", "0.7.3", ("+", "function pgflow.cascade_complete_taskless_steps(uuid)")),
        ("0.6.1", "0.7.3", ("~", "function pgflow.start_flow(text, jsonb, uuid)")),
        ("0.7.3", "0.6.1", ("-", "type pgflow.step_task_record: task_index integer")),
    ],
)
def test_what_changes_in_the_schema(base: str, candidate: str, change: tuple[str, str]) -> None:
    assert change in schema_changes(base, candidate)


@pytest.fixture
def diff() -> Callable[..., str]:
    def run(*words: str) -> str:
        done = CliRunner().invoke(cli, ["core", "diff", *words], catch_exceptions=False)
        assert done.exit_code == 0
        return " ".join(done.output.split())

    return run


def test_the_command_says_what_changed_and_for_whom(diff: Callable[..., str]) -> None:
    said = diff("0.5.0", "0.8.1")
    assert said.index("For workers") < said.index("+ map_steps") < said.index("For clients")
    assert "- stepless_run_stays_started A run of a flow without steps is completed when" in said
    assert "For the schema" in said
    assert "~ function pgflow.fail_task(uuid, text, integer, text)" in said


def test_the_command_has_nothing_to_say_of_one_version(diff: Callable[..., str]) -> None:
    assert diff("0.8.1", "0.8.1").endswith("Nothing that this project knows of.")


def test_the_command_speaks_json(diff: Callable[..., str]) -> None:
    said = json.loads(diff("0.5.0", "0.5.3", "--json"))
    assert said["begins"][0]["name"] == "start_delay"
    assert ["+", "table pgflow.steps: opt_start_delay integer"] in said["schema"]
