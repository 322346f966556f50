"""`pgflow-conformance check-adapter` names each mistake, what the contract says, and what to do."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from conformance.cli import main
from conformance.harness import advice, contract, processes
from conformance.harness.adapters import Adapter, find
from conformance.harness.advice import ADVICE, explain
from conformance.harness.check import CHECKS, CannotCheck, check
from conformance.harness.checkup import FLOW, OPTIONS, opened
from conformance.harness.contract import mistake
from conformance.harness.databases import CORE, Cluster
from pgflow_ref.install import core_files
from tests.harness.made import cluster_with

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.harness.advice import Finding

ADAPTER = Path(__file__).parent / "workers" / "adapter.py"
PAGE = (contract.SCHEMA.parent / "CONTRACT.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with cluster_with(CORE) as made:
        yield made


def found(adapter: Adapter, cluster: Cluster, folder: Path, only: str) -> list[Finding]:
    """What one check finds; those before it are done as well, where it needs them."""
    with opened(adapter, cluster, CORE, folder, 1.0) as checkup:
        for result in check(checkup, lambda _: None):
            if result.check.name == only:
                return result.findings
    raise AssertionError(only)


def wrong(way: str) -> Adapter:
    return Adapter("mine", "python", (sys.executable, str(ADAPTER), way))


@pytest.mark.parametrize("name", ["python", "plain", "deno"])
def test_nothing_is_wrong_with_the_suites_own(name: str, cluster: Cluster, tmp_path: Path) -> None:
    with opened(find(name), cluster, CORE, tmp_path, 2.0) as checkup:
        results = list(check(checkup, lambda _: None))
    assert [(one.check.name, one.findings) for one in results] == [(one.name, []) for one in CHECKS]
    assert all(one.seen for one in results)


MISTAKES = {
    "hello fails": ("hello", "`hello` exited with 1: I give up", advice.COMMAND),
    "hello twice": ("hello", "`hello` printed 2 lines, not one", advice.COMMAND),
    "hello without a version": ("hello", "'version' is a required property", advice.LINES),
    "another contract": ("hello", "$.contract: 1 was expected", advice.LINES),
    "text for SQL": ("compile", "which is not JSON", advice.COMMAND),
    "no SQL": ("compile", "`compile` printed 0 statements, not 3", advice.COMMAND),
    "a word it knows not": ("refuses", "a word that nobody knows: it went on", advice.CODES),
    "an option it knows not": ("refuses", "a worker option that nobody knows: it", advice.CODES),
    "silence": ("refuses", "it exited with 3, and did not say why", advice.CODES),
    "bare ids": ("start", "`start` printed", advice.COMMAND),
    "one run only": ("start", "`start` got 2 inputs, and there are 1 runs", advice.COMMAND),
    "a banner": ("work", "line 1 of its output is no line of the contract", advice.STREAMS),
    "no call": ("work", "a task was completed for which it had not said call", advice.STREAMS),
    "another id": ("work", "which has no row in pgflow.workers", advice.LINES),
    "another form": ("work", "step first: its handler saw {'n': 1}, and as", advice.LINES),
    "no stopped": ("work", "it ended without saying stopped", advice.COMMAND),
    "a code": ("work", "it exited with 1 after SIGTERM: sore", advice.SIGNALS),
    "a child": ("work", "it ended and left processes behind: sleep 1000", advice.SIGNALS),
    "not supported": ("work", "it says that this is not supported: I give up", advice.FIXTURE),
    "it dies": ("work", "it exited with 7 and did not say ready: I give up", advice.COMMAND),
}


@pytest.mark.parametrize("way", MISTAKES)
def test_a_mistake_is_named(
    way: str, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only, words, section = MISTAKES[way]
    monkeypatch.setattr(processes, "LINGER", 0.3)
    findings = found(wrong(way), cluster, tmp_path, only)
    finding = next((one for one in findings if words in one.wrong), None)
    assert finding is not None, findings
    assert finding.section == section
    assert finding.says
    assert finding.do


def test_lines_that_are_not_flushed_are_told_from_lines_that_never_come(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "READY_WITHIN", 5.0)
    findings = found(wrong("no flush"), cluster, tmp_path, "work")
    assert "its lines came only when it ended" in [one.wrong for one in findings]


def test_a_command_that_is_none_cannot_be_checked(cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(CannotCheck, match=r"cannot start /no/such hello"):
        found(Adapter("mine", "", ("/no/such",)), cluster, tmp_path, "hello")


# What is said of a mistake.


def test_every_section_is_one_of_the_page() -> None:
    headings = set(re.findall(r"^## (.*)$", PAGE, re.MULTILINE))
    assert set(advice.SECTIONS) <= headings
    assert {section for _, section, _, _ in ADVICE} <= set(advice.SECTIONS)


def test_what_the_harness_says_beside_these_is_explained_in_general() -> None:
    assert explain("something odd") == (
        "something odd",
        advice.COMMAND,
        "Each word does what it says there, and exits with 0.",
        "Run the command by hand with the same environment; its stderr says more.",
    )


def test_the_fixture_of_the_checks_is_of_the_form() -> None:
    assert mistake("fixture", {"flow": FLOW, "worker": OPTIONS}) is None


# The command.


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["check-adapter", *arguments])
    return result.exit_code, result.output


def test_the_command_says_what_is_right() -> None:
    code, output = run("--patience", "2", "plain")
    assert code == 0
    assert [line.split()[1] for line in output.splitlines() if line.startswith("✓")] == [
        one.name for one in CHECKS
    ]
    assert "Nothing is wrong, in 5 checks" in output


def test_the_command_says_what_is_wrong() -> None:
    code, output = run("--", sys.executable, str(ADAPTER), "no SQL")
    assert code == 1
    text = " ".join(output.split())
    assert "✗ compile a flow of two steps becomes SQL: no" in text
    assert "wrong `compile` printed 0 statements, not 3" in text
    assert "contract `compile` prints the SQL statements that create the flow" in text
    assert "do Print what your own compiler makes" in text
    assert "1 thing is wrong" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--", "/no/such"), "the adapter cannot be checked: adapter: cannot start /no/such hello"),
        (("--core", "0.1", "plain"), "0.1"),
        (("--pgmq", "1.4.4", "plain"), "pgmq 1.4.4 is not known as plain SQL"),
        ((), "Missing argument"),
    ],
)
def test_what_cannot_be_checked(arguments: tuple[str, ...], words: str) -> None:
    code, output = run(*arguments)
    assert code == 2
    assert words in output


def test_a_core_with_a_changed_file_is_no_place_to_check_in(tmp_path: Path) -> None:
    files = core_files("0.5.0")
    for file in files:
        (tmp_path / file.name).write_text(file.text)
    (tmp_path / files[2].name).write_text("SELECT 1;")
    code, output = run("--core", str(tmp_path), "plain")
    assert code == 2
    assert f"{files[2].name} in" in output
