"""`pgflow-conformance render` and `compare`, and the streams of earlier versions."""

from __future__ import annotations

import re
import shlex
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from conformance.cli import main
from conformance.harness.records import (
    Control,
    Core,
    Deviation,
    End,
    Loss,
    Worker,
    read_records,
    to_line,
)
from conformance.harness.run import Run
from tests.harness.streams import END, FULL, KNOWN, SUITE, case, everything, full, mixed

if TYPE_CHECKING:
    from click.testing import Result

    from conformance.harness.records import Record

OLD = Path(__file__).parent / "recorded" / "before-several-cores.jsonl"


def stream(path: Path, records: list[Record]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(to_line(record) + "\n" for record in records))
    return str(path)


def run(*words: str) -> Result:
    return CliRunner().invoke(main, words)


class TestRender:
    def test_everything(self, tmp_path: Path) -> None:
        done = run("render", stream(tmp_path / "results.jsonl", full()))
        assert done.exit_code == 0
        assert "FAILED in 93.4 s" in done.output
        assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
        assert ET.parse(tmp_path / "junit.xml").getroot().tag == "testsuites"
        assert (tmp_path / "summary.md").read_text().startswith("## ")
        assert ET.parse(tmp_path / "badge.svg").getroot().tag.endswith("svg")
        assert {path.name for path in tmp_path.iterdir()} == {
            "results.jsonl",
            "report.html",
            "junit.xml",
            "summary.md",
            "badge.svg",
        }

    def test_one_form_into_a_folder_that_is_made(self, tmp_path: Path) -> None:
        stream(tmp_path / "results.jsonl", everything())
        done = run("render", str(tmp_path), "--badge", "--into", str(tmp_path / "a" / "b"))
        assert done.output == f"{tmp_path / 'a' / 'b' / 'badge.svg'}\n"
        assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["badge.svg"]

    def test_printed(self, tmp_path: Path) -> None:
        name = stream(tmp_path / "x.jsonl", everything())
        assert run("render", name, "--markdown", "--into", "-").output.startswith("## ")
        assert "What ran" in run("render", name, "--summary", "--into", "-").output
        assert [path.name for path in tmp_path.iterdir()] == ["x.jsonl"]

    def test_two_cannot_be_printed(self, tmp_path: Path) -> None:
        name = stream(tmp_path / "x.jsonl", everything())
        assert run("render", name, "--markdown", "--badge", "--into", "-").exit_code == 2

    def test_an_exit_code_is_not_that_of_the_run(self, tmp_path: Path) -> None:
        assert run("render", stream(tmp_path / "x.jsonl", full()), "--summary").exit_code == 0

    @pytest.mark.parametrize("text", ["nonsense", '{"type": "end"}\n'])
    def test_what_is_no_stream_is_refused_with_its_line(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "results.jsonl"
        path.write_text(text)
        done = run("render", str(path))
        assert done.exit_code == 2
        assert f"{path}: line 1: " in done.output
        assert [one.name for one in tmp_path.iterdir()] == ["results.jsonl"]

    def test_a_folder_without_a_stream(self, tmp_path: Path) -> None:
        done = run("render", str(tmp_path))
        assert done.exit_code == 2
        assert "results.jsonl" in done.output


def test_the_page_says_what_the_commands_take() -> None:
    page = Path(__file__).parents[2] / "docs" / "how-to" / "reports.md"
    calls = re.findall(r"^pgflow-conformance (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(calls) == 6
    for call in calls:
        name, *words = shlex.split(call.partition(">")[0], comments=True)
        taken = {option for one in main.commands[name].params for option in one.opts}
        assert {word for word in words if word.startswith("--")} <= taken


class TestHistories:
    def test_of_two_cores(self) -> None:
        done = run("histories", "0.6.1", "0.7.3", "--flow", "late_*")
        assert done.exit_code == 1
        first, *lines = done.output.splitlines()
        assert first == "late_completion, core 0.6.1 and core 0.7.3"
        assert "+ run 1, message late 0: out of the queue, in the archive" in lines
        assert '- run 1, task last 0: sees {"late": "too late"}' in lines

    def test_that_are_the_same(self) -> None:
        done = run("histories", "0.5.3", "0.6.1", "--flow", "map_*")
        assert done.exit_code == 2
        assert "core 0.5.3 has no recorded flow like 'map_*'" in done.output
        done = run("histories", "0.5.3", "0.6.1")
        assert (done.exit_code, done.output) == (
            0,
            "13 flows leave the same on core 0.5.3 and on core 0.6.1\n",
        )

    def test_that_one_core_alone_has(self) -> None:
        done = run("histories", "0.5.0", "0.5.3")
        assert (done.exit_code, done.output) == (1, "on core 0.5.3 alone: start_delay\n")

    def test_of_a_core_that_has_none(self) -> None:
        done = run("histories", "0.5.0", "9.9")
        assert done.exit_code == 2
        assert "no history of core 9.9 is recorded; there are 0.5.0, 0.5.3" in done.output


class TestJoinedStreams:
    def test_have_the_cores_of_both(self, tmp_path: Path) -> None:
        suites = [replace(SUITE, cores=(Core(core, "1.11.1"),)) for core in ("0.5.0", "0.8.1")]
        records: list[Record] = []
        for one in (*suites, suites[0]):
            records += [one, case("a.b", core=one.usual.version), END]
        joined = Run.of(read_records(Path(stream(tmp_path / "results.jsonl", records))))
        assert joined.suite is not None
        assert [core.version for core in joined.suite.cores] == ["0.5.0", "0.8.1"]
        assert joined.cores == ("0.5.0", "0.8.1")
        assert len(joined.cases) == 3

    def test_that_broke_off_at_last_have_no_end(self) -> None:
        assert Run.of([SUITE, case("a.b"), END, SUITE, case("a.c")]).end is None


class TestOldStreams:
    def test_is_read(self) -> None:
        old = Run.of(read_records(OLD))
        assert old.suite is not None
        assert old.suite.usual.version == "0.5.0"
        assert old.cores == ("0.5.0",)
        assert old.counts["passed"] > 0
        assert old.counts["deviation"] > 0
        assert any(one.timeline for one in old.mixed)
        assert all(one.flow == () and one.faults == () for one in old.cases)

    def test_is_rendered(self, tmp_path: Path) -> None:
        done = run("render", str(OLD), "--into", str(tmp_path))
        assert done.exit_code == 0
        assert "core 0.5.0, pgmq 1.11.1" in done.output
        page = (tmp_path / "report.html").read_text()
        assert "mixed.order" in page
        assert "Timeline of deno" in page

    def test_is_compared_with_itself(self) -> None:
        done = run("compare", str(OLD), str(OLD))
        assert (done.exit_code, done.output) == (0, "Nothing changed.\n")


class TestCompare:
    def changed(
        self, folder: Path, before: list[Record], after: list[Record], *options: str
    ) -> tuple[int, str]:
        """The exit code, and what is said, each change in one line."""
        names = stream(folder / "a.jsonl", before), stream(folder / "b.jsonl", after)
        done = run("compare", *names, "--markdown", *options)
        assert (done.exit_code == 1) == ("for the worse." in done.output.partition("none")[0])
        terminal = run("compare", *names, *options)
        assert terminal.exit_code == done.exit_code
        assert all(len(line) <= 80 for line in terminal.output.splitlines())
        return done.exit_code, done.output

    def test_nothing(self, tmp_path: Path) -> None:
        code, said = self.changed(tmp_path, full(), full())
        assert code == 0
        assert "Nothing changed." in said.replace("\\", "")

    @pytest.mark.parametrize(
        ("before", "after", "code"),
        [
            ("passed", "failed", 1),
            ("passed", "error", 1),
            ("passed", "deviation", 1),
            ("passed", "unsupported", 1),
            ("passed", "unexpected_pass", 1),
            ("deviation", "failed", 1),
            ("deviation", "unexpected_pass", 1),
            ("deviation", "unsupported", 1),
            ("unsupported", "failed", 1),
            ("failed", "passed", 0),
            ("failed", "error", 0),
            ("deviation", "passed", 0),
            ("unsupported", "deviation", 0),
        ],
    )
    def test_an_outcome(self, tmp_path: Path, before: str, after: str, code: int) -> None:
        streams: list[list[Record]] = [
            [SUITE, case(), case("other", outcome=one), END] for one in (before, after)
        ]
        found, said = self.changed(tmp_path, streams[0], streams[1])
        assert found == code
        assert "### Results" in said
        assert "other on 0.5.0, deno" in said
        assert "retry.attempts" not in said

    def test_a_failure_that_says_something_else(self, tmp_path: Path) -> None:
        one = case(outcome="failed", problems=("a",))
        other = case(outcome="failed", problems=("b",))
        code, said = self.changed(tmp_path, [SUITE, one, END], [SUITE, other, END])
        assert code == 0
        assert "| retry.attempts on 0.5.0, deno | failed | otherwise | b |" in said

    @pytest.mark.parametrize(("outcome", "code"), [("passed", 0), ("failed", 1), ("error", 1)])
    def test_a_new_case(self, tmp_path: Path, outcome: str, code: int) -> None:
        new = case(core="0.8.1", outcome=outcome)
        found, said = self.changed(tmp_path, [SUITE, case(), END], [SUITE, case(), new, END])
        assert found == code
        assert "### New cases" in said
        assert "retry.attempts on 0.8.1, deno" in said

    @pytest.mark.parametrize(("outcome", "code"), [("passed", 1), ("deviation", 1), ("failed", 0)])
    def test_a_case_that_is_gone(self, tmp_path: Path, outcome: str, code: int) -> None:
        old: list[Record] = [SUITE, case(), case("old", outcome=outcome), END]
        found, said = self.changed(tmp_path, old, [SUITE, case(), END])
        assert found == code
        assert "### Cases that are gone" in said
        assert self.changed(tmp_path, old, [SUITE, case(), END], "--part")[0] == 0

    def test_the_worst_of_two_results_counts(self, tmp_path: Path) -> None:
        twice: list[Record] = [SUITE, case(), case(outcome="failed"), case(), END]
        assert self.changed(tmp_path, [SUITE, case(), END], twice)[0] == 1

    def test_the_reason_of_a_deviation(self, tmp_path: Path) -> None:
        old = case(outcome="deviation", deviation=KNOWN)
        new = replace(old, deviation=Deviation("Keys are sorted.", "r", "2025-11-21"))
        code, said = self.changed(tmp_path, [SUITE, old, END], [SUITE, new, END])
        assert code == 0
        assert "| Digits are lost. | Keys are sorted. |" in said
        went = self.changed(tmp_path, [SUITE, old, END], [SUITE, case(), END])[1]
        assert "| Digits are lost. | |" in went.replace("|  |", "| |")

    def test_versions(self, tmp_path: Path) -> None:
        new = replace(
            SUITE,
            postgresql="18.1",
            cores=(Core("0.8.1", "1.12.0"),),
            workers=(Worker("deno", "typescript", "2"),),
        )
        code, said = self.changed(tmp_path, [SUITE, case(), END], [new, case(), END])
        assert code == 0
        for part in ("| PostgreSQL | 17.10 | 18.1 |", "core 0.8.1", "pgmq 1.12.0", "worker deno"):
            assert part in said

    @pytest.mark.parametrize(
        ("before", "after", "told"), [(1.0, 1.9, False), (0.1, 0.9, False), (1.0, 2.5, True)]
    )
    def test_durations(self, tmp_path: Path, before: float, after: float, told: bool) -> None:
        streams: list[list[Record]] = [[SUITE, case(seconds=s), END] for s in (before, after)]
        for pair in (streams, streams[::-1]):
            code, said = self.changed(tmp_path, pair[0], pair[1])
            assert code == 0
            assert ("### Durations" in said) == told

    def test_shares_of_the_work(self, tmp_path: Path) -> None:
        old, new = mixed(), mixed(tasks={"python": 90, "deno": 10})
        code, said = self.changed(tmp_path, [SUITE, old, END], [SUITE, new, END])
        assert code == 0
        assert "python 60%, deno 40% | python 90%, deno 10%" in said

    @pytest.mark.parametrize(
        ("before", "after", "code", "told"),
        [
            (Loss("v", ("a", "b")), Loss("v", ("a", "b"), "0"), 1, True),
            (Loss("v", ("a", "b")), Loss("v", ("a", "b"), "0", "known"), 0, True),
            (Loss("v", ("a", "b"), "0", "known"), Loss("v", ("a", "b"), "0"), 1, True),
            (Loss("v", ("a", "b"), "0"), Loss("v", ("a", "b")), 0, True),
            (Loss("v", ("a", "b")), None, 1, True),
            (None, Loss("v", ("a", "b"), "0"), 1, True),
            (None, Loss("v", ("a", "b")), 0, False),
        ],
    )
    def test_losses(
        self, tmp_path: Path, before: Loss | None, after: Loss | None, code: int, told: bool
    ) -> None:
        streams: list[list[Record]] = [
            [SUITE, case(), *([one] if one else []), END] for one in (before, after)
        ]
        found, said = self.changed(tmp_path, streams[0], streams[1])
        assert (found, "### JSON" in said) == (code, told)
        if after is None:
            assert self.changed(tmp_path, streams[0], streams[1], "--part")[0] == 0

    @pytest.mark.parametrize(
        ("before", "after", "code"),
        [
            (("a",), (), 1),
            ((), ("a",), 0),
            (("a",), ("a", "b"), 1),
            (("a",), None, 1),
            (None, ("a",), 0),
            (None, (), 1),
        ],
    )
    def test_wrong_workers(
        self,
        tmp_path: Path,
        before: tuple[str, ...] | None,
        after: tuple[str, ...] | None,
        code: int,
    ) -> None:
        streams: list[list[Record]] = [
            [
                SUITE,
                case(),
                *([] if failed is None else [Control("idle", "Nothing.", ("a",), failed, ())]),
                END,
            ]
            for failed in (before, after)
        ]
        found, said = self.changed(tmp_path, streams[0], streams[1])
        assert (found, "### Wrong workers" in said) == (code, True)

    def test_a_run_that_broke_off(self, tmp_path: Path) -> None:
        assert self.changed(tmp_path, [SUITE, case(), END], [SUITE, case()])[0] == 1
        assert self.changed(tmp_path, [SUITE, case()], [SUITE, case(), END])[0] == 0

    def test_hostile_text_is_only_text(self, tmp_path: Path) -> None:
        code, said = self.changed(tmp_path, full(), [FULL, case(), End(1.0, 0)])
        assert code == 1
        assert "<script" not in said
        assert "\x1b" not in said

    def test_what_is_no_stream_is_refused(self, tmp_path: Path) -> None:
        good = stream(tmp_path / "a.jsonl", everything())
        assert run("compare", good, str(tmp_path / "none")).exit_code == 2
        (tmp_path / "b.jsonl").write_text("{")
        assert run("compare", good, str(tmp_path / "b.jsonl")).exit_code == 2
