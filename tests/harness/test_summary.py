"""What a run comes to, and the summary in a terminal."""

from __future__ import annotations

import doctest
import io
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from conformance.harness import markdown, records, report, run, summary
from conformance.harness.records import OUTCOMES, Control, Core, End, Loss
from conformance.harness.run import SYMBOLS, WORDS, Run
from conformance.harness.summary import print_summary, split
from tests.harness.streams import END, HOSTILE, KNOWN, SUITE, case, everything, full, mixed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.harness.records import Outcome, Record


def text_of(stream: Sequence[Record], width: int = 80, **options: object) -> str:
    file = io.StringIO()
    print_summary(stream, file, width, **options)  # type: ignore[arg-type]
    return file.getvalue()


class TestVerdict:
    @pytest.mark.parametrize(
        ("stream", "level", "title"),
        [
            ([], "unproven", "Incomplete"),
            ([SUITE, case()], "unproven", "Incomplete"),
            ([SUITE, END], "unproven", "Nothing proved"),
            ([SUITE, case(outcome="unsupported"), END], "unproven", "Nothing proved"),
            ([SUITE, case(outcome="deviation"), END], "unproven", "Nothing proved"),
            ([SUITE, case(), END], "passed", "Passed"),
            ([SUITE, case(), case(outcome="deviation"), END], "passed", "Passed"),
            ([SUITE, case(), case(outcome="failed"), END], "failed", "Failed"),
            ([SUITE, case(), case(outcome="error"), END], "failed", "Failed"),
            ([SUITE, case(), case(outcome="unexpected_pass"), END], "failed", "Failed"),
            ([SUITE, case(outcome="failed")], "failed", "Failed"),
            ([SUITE, case(), End(1.0, 2)], "failed", "Failed"),
            # A second run that was appended and broke off does not profit from the first.
            ([SUITE, case(), END, SUITE, case()], "unproven", "Incomplete"),
        ],
    )
    def test_level(self, stream: list[Record], level: str, title: str) -> None:
        verdict = Run.of(stream).verdict
        assert (verdict.level, verdict.title) == (level, title)
        assert title.upper() in text_of(stream)
        assert f"<h1>{title}</h1>" in report.render_page(Run.of(stream))

    def test_sentences(self) -> None:
        assert Run.of(everything()).verdict.sentence == (
            "1 result breaks a promise, 1 could not run, 1 known deviation passed; 2 of 7 passed."
        )
        passed: list[Record] = [
            SUITE,
            case(),
            case(outcome="deviation"),
            case(outcome="unsupported"),
            END,
        ]
        assert Run.of(passed).verdict.sentence == (
            "1 of 3 results keep their promise; 1 known deviation and 1 unsupported."
        )

    def test_a_wrong_worker_that_is_not_caught_fails_the_run(self) -> None:
        caught = Control("idle", "Nothing.", ("a",), ("a",), ("b",))
        assert Run.of([SUITE, case(), caught, END]).verdict.level == "passed"
        for failed in ((), ("b",), ("a", "b")):
            verdict = Run.of([SUITE, case(), replace(caught, failed=failed), END]).verdict
            assert (verdict.level, verdict.sentence) == (
                "failed",
                "1 wrong worker not caught; 1 of 1 passed.",
            )

    def test_a_value_that_is_lost_is_told_where_its_case_fails(self) -> None:
        loss = Loss("0", ("a", "b"), "null")
        known = case(outcome="deviation", deviation=KNOWN)
        assert Run.of([SUITE, case("b"), known, loss, END]).verdict.level == "passed"
        verdict = Run.of([SUITE, case(outcome="failed"), loss, END]).verdict
        assert (verdict.level, verdict.sentence) == (
            "failed",
            "1 result breaks a promise, 1 value lost on the way; 0 of 1 passed.",
        )

    def test_processes_of_a_worker_share_its_share(self) -> None:
        run = Run.of([SUITE, mixed(tasks={"python": 3, "deno-2": 4, "python-3": 5, "ghost-2": 1})])
        assert run.shares(run.cases[0]) == {"python": 8, "deno": 4, "ghost-2": 1}

    def test_idle_workers_are_seen(self) -> None:
        run = Run.of([SUITE, mixed(tasks={"deno": 3})])
        assert run.work(run.cases[0]) == {"python": 0, "deno": 3}


class TestSummary:
    @pytest.mark.parametrize("outcome", OUTCOMES)
    def test_every_outcome(self, outcome: Outcome) -> None:
        text = text_of(everything())
        row = next(line for line in text.splitlines() if re.match(r" *worker  +1", line))
        assert row.split() == ["worker", "1", "✗1", "≈1", "↑1", "○1", "!1", "·"]
        assert f"{SYMBOLS[outcome]} {2 if outcome == 'passed' else 1} {WORDS[outcome]}" in text
        if outcome in records.BAD:
            assert f"{SYMBOLS[outcome]} {WORDS[outcome].upper()}  case.{outcome}" in text
        if outcome == "deviation":
            assert re.search(r"≈ +case\.deviation, deno: Digits are lost\.", text)

    def test_several_cores_have_a_matrix(self) -> None:
        suite = replace(SUITE, cores=(SUITE.cores[0], Core("next-1", "1.11.1")))
        reason = "the client does not know extra"
        stream: list[Record] = [
            suite,
            case("a.b"),
            case("a.b", core="next-1", outcome="unsupported", problems=(reason,)),
            case("a.c", core="next-1", outcome="unsupported", problems=(reason,)),
            END,
        ]
        text = text_of(stream)
        rows = [line.split() for line in text.partition("By core")[2].splitlines()]
        assert ["next-1", "0", "○2"] in rows
        assert f"{reason} (2 results on next-1)" in " ".join(text.split())
        assert "| next-1 |" in markdown.to_markdown(Run.of(stream))
        page = report.render_page(Run.of(stream))
        assert (
            f'<span title="{WORDS["unsupported"]}">{SYMBOLS["unsupported"]}&nbsp;2</span>' in page
        )
        assert "By core" not in text_of([SUITE, case(), END])

    def test_a_large_control_group_takes_one_column(self) -> None:
        """Else tables of forty columns would have no room for a single letter."""
        suite = replace(SUITE, cores=(SUITE.cores[0], Core("next-1", "1.11.1")))
        wrong = [
            case(f"control.{number}", group="control", workers=(f"wrong-in-way-{number}",))
            for number in range(40)
        ]
        text = text_of([suite, case("a.b"), case("a.b", core="next-1"), *wrong, END])
        rows = [line.split() for line in text.splitlines()]
        assert ["group", "deno", "control", "group"] in rows
        assert ["control", "·", "40"] in rows
        assert ["next-1", "1", "·"] in rows

    def test_a_deviation_on_several_cores_is_told_once(self) -> None:
        suite = replace(SUITE, cores=(SUITE.cores[0], Core("next-1", "1.11.1")))
        cores = ("0.5.0", "next-1")
        known = [case(core=core, outcome="deviation", deviation=KNOWN) for core in cores]
        stream: list[Record] = [suite, *known, END]
        (said,) = re.findall(r"^ *≈ .*: .*", text_of(stream), re.MULTILINE)
        assert "on 0.5.0, next-1, deno: " in said
        assert " on 0.5.0, next-1 | deno |" in markdown.to_markdown(Run.of(stream))

    def test_order(self) -> None:
        text = text_of(everything(), reports=["build/report.html"])
        parts = ("What ran", "Results", "Who did", "Known deviations", "CASE.FAILED".lower())
        places = [text.index(part) for part in (*parts, "FAILED in 3.0 s:", "build/report.html")]
        assert places == sorted(places)
        assert text.rstrip().splitlines()[-1] == "build/report.html"

    def test_what_ran(self) -> None:
        text = text_of(everything())
        for part in (
            "core 0.5.0, pgmq 1.11.1",
            "PostgreSQL 17.10",
            "deno @pgflow/edge-worker 0.8.1 (typescript)",
            "pgflow.read_with_poll(…)",
            "realtime.send",
        ):
            assert part in text

    def test_failure(self) -> None:
        long = "pytest conformance --worker 'mine=./worker --flag' -k case.failed " + "x" * 60
        text = text_of([SUITE, case(outcome="failed", problems=("It broke.",), repeat=long)])
        assert "- It broke." in text
        assert f"    repeat: {long}\n" in text

    def test_log_is_its_tail(self) -> None:
        log = "\n".join(f"line {at}" for at in range(9))
        text = text_of([SUITE, case(outcome="failed", log={"deno": log})])
        assert "stderr of deno, last 3 of 9:" in text
        assert "line 8" in text
        assert "line 5" not in text

    def test_shares(self) -> None:
        line = next(line for line in text_of(everything()).splitlines() if "60 (60%)" in line)
        assert line.split() == [
            "mixed.order",
            "█" * 14 + "▒" * 10,
            "60",
            "(60%)",
            "|",
            "40",
            "(40%)",
        ]

    @pytest.mark.parametrize("tasks", [{"a": 0}, {"a": 1, "b": 10**9}, {"a": 1, "b": 1, "c": 1}])
    def test_split_fills_the_bar(self, tasks: dict[str, int]) -> None:
        cells = split(tasks, 24)
        assert sum(cells.values()) == (24 if any(tasks.values()) else 0)
        assert all((cells[name] > 0) == (tasks[name] > 0) for name in tasks)

    def test_80_columns_without_colour(self) -> None:
        text = text_of(everything(), reports=["results.jsonl"])
        assert "\x1b" not in text
        assert all(len(line) <= 80 for line in text.splitlines())
        assert all(line == line.rstrip() for line in text.splitlines())

    def test_colour(self) -> None:
        assert "\x1b[1;31m" in text_of(everything(), color=True)

    def test_ascii(self) -> None:
        buffer = io.BytesIO()
        file = io.TextIOWrapper(buffer, encoding="ascii")
        print_summary(everything(), file, 80)
        file.flush()
        assert b"x FAILED  case.failed" in buffer.getvalue()

    def test_hostile_text_is_only_text(self) -> None:
        stream: list[Record] = [
            SUITE,
            case(HOSTILE, outcome="failed", problems=(HOSTILE,), log={"deno": HOSTILE}),
        ]
        text = text_of(stream, width=400)
        assert "[bold]x[/bold]" in text
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e\ud800]", text)

    def test_several_cores(self) -> None:
        text = text_of(full())
        assert "core 0.5.0 and 0.8.1, pgmq 1.11.1" in text
        assert "pgflow.read_with_poll(…) (core 0.5.0)" in text
        assert re.search(r"stand-ins +realtime\.send\n", text)
        assert re.search(r"6\.5 s +faults\.kill_after_claim on 0\.8\.1 +python \+ deno", text)
        other = replace(SUITE, cores=(Core("0.5.0", "1.4.4"), Core("0.8.1", "1.11.1")))
        both = text_of([other, case(), END])
        assert "core 0.5.0, pgmq 1.4.4\n" in both
        assert "core 0.8.1, pgmq 1.11.1\n" in both

    def test_groups_and_workers(self) -> None:
        text = text_of(full())
        head = next(line for line in text.splitlines() if line.startswith("  group"))
        assert head.split() == ["group", "python", "deno", "plain", "in", "a", "fleet"]
        rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.strip()}
        assert rows["identity"] == ["2", "2", "≈1", "↑1", "2", "·"]
        assert rows["mixed"] == ["·", "·", "·", "1"]

    def test_losses(self) -> None:
        text = text_of(full())
        assert "10 values on 9 ways: 79 of 90 came unharmed." in text
        lost = text.index("✗  -0.0 came as 0 on plain > plain\n")
        known = text.index("≈  2^53+1, 400 digits: JavaScript reads numbers as doubles")
        assert lost < known

    def test_wrong_workers(self) -> None:
        text = text_of(full())
        assert re.search(r"✓ +acknowledges_first +ack\.after_handler +3\n", text)
        assert re.search(r"✗ +drops_falsy +nothing: outputs\.falsy should have failed +2\n", text)

    def test_slowest(self) -> None:
        text = text_of([SUITE, case("a", seconds=9.0), case("b", seconds=0.5), END])
        assert re.search(r"Slowest\n +9\.0 s +a +deno\n\n", text)
        assert "Slowest" not in text_of([SUITE, case("b", seconds=0.5), END])

    @pytest.mark.parametrize("trouble", [True, False])
    def test_all_of_it_in_80_columns_and_ascii(self, trouble: bool) -> None:
        buffer = io.BytesIO()
        file = io.TextIOWrapper(buffer, encoding="ascii")
        print_summary(full(trouble), file, 80)
        file.flush()
        lines = buffer.getvalue().decode("ascii").splitlines()
        exempt = ("    repeat: ", "SELECT ", "</script>")  # there to be copied, so never wrapped
        assert [one for one in lines if len(one) > 80 and not one.startswith(exempt)] == []

    def test_empty(self) -> None:
        assert "INCOMPLETE: The run broke off" in text_of([])


@pytest.mark.parametrize("module", [run, summary])
def test_examples(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]
