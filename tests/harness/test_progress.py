"""How a run shows how far it is: in lines, and in a terminal."""

from __future__ import annotations

import io
import os
import pty
import re
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from conformance.harness.progress import Display, Lines, drawing, left
from conformance.harness.records import Case, Outcome
from tests.harness.test_suite import IDLE, Place, place

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["place"]  # a fixture


def case(outcome: Outcome = "passed", note: str = "") -> Case:
    problems = ("it is 1, not 2",) if outcome == "failed" else ()
    return Case(
        "some.case",
        "some",
        "It does it.",
        "",
        "0.5.0",
        ("deno",),
        outcome,
        1.25,
        problems,
        note=note,
    )


def test_a_line_for_each_result() -> None:
    lines: list[str] = []
    progress = Lines(lines.append)
    progress.say("starting")
    progress.expect(12)
    progress.begin("one")
    progress.add(case(note="all of it"))
    progress.finish("one")
    progress.add(case("failed"))
    assert lines == [
        "conformance: starting …",
        "  1/12 ✓ some.case                      deno               1.2 s  all of it",
        "  2/12 ✗ some.case                      deno               1.2 s  failed",
    ]


def test_a_line_says_the_core_where_there_are_several() -> None:
    lines: list[str] = []
    Lines(lines.append, cores=True).add(case())
    assert lines == ["  1/1 ✓ some.case on 0.5.0             deno               1.2 s"]


def test_who_is_quiet_says_no_results() -> None:
    lines: list[str] = []
    progress = Lines(lines.append, quiet=True)
    progress.add(case("failed"))
    assert lines == []


def shown(*arguments: object, width: int = 100) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(drawing(*arguments))  # type: ignore[arg-type]
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_the_display_counts_and_guesses() -> None:
    counts: Counter[Outcome] = Counter({"passed": 30, "failed": 2})
    first, second = shown(counts, (32, 64), ["python-a.b", "deno-c.d"], (75.0, 75.0))
    assert re.match(r"━+ +32/64  ✓ 30  ✗ 2 +1 min 15 s, about 1 min 15 s left$", first)
    assert second == "  now: python-a.b, deno-c.d"


def test_what_does_not_fit_is_cut() -> None:
    names = [f"python-some.case_with_a_long_name_{n}" for n in range(9)]
    _, second = shown(Counter(), (0, 9), names, (1.0, None), width=60)
    assert len(second) == 60
    *_, last = shown(Counter(), (0, 9), names, (1.0, None), width=400)
    assert last.endswith("_5 and 3 more")


@pytest.mark.parametrize(
    ("over", "guess"), [(0, None), (4, None), (5, 15.0), (20, 0.0), (21, None)]
)
def test_nothing_is_guessed_from_too_little(over: int, guess: float | None) -> None:
    assert left(over, 20, 5.0) == guess


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    ours, theirs = pty.openpty()
    yield ours, theirs
    os.close(ours)


def test_a_display_keeps_failures_and_goes_away(terminal: tuple[int, int]) -> None:
    ours, theirs = terminal
    display = Display(os.dup(theirs), clock=lambda: 0.0, cores=True)
    display.say("starting")
    display.expect(2)
    display.begin("one")
    display.add(case("failed"))
    display.finish("one")
    display.close()
    display.close()
    os.close(theirs)
    text = read(ours)
    assert "conformance: starting …" in text
    assert re.search(
        r"some\.case on 0\.5\.0  deno.*failed.*\r\n +It does it\.\r\n.*- it is 1, not 2", text
    )
    assert text.rstrip().endswith("\x1b[2K") or "\x1b[?25h" in text, "the cursor is there again"


def read(terminal: int) -> str:
    """All that a terminal gets until nobody has it any more."""
    found = b""
    while True:
        try:
            block = os.read(terminal, 65_536)
        except OSError:
            return found.decode()
        found += block


def test_a_run_in_a_terminal_shows_failures_as_they_happen(
    place: Place, terminal: tuple[int, int]
) -> None:
    ours, theirs = terminal
    asked = ["conformance/compile", "-k", "one_step or chain", "-n2", IDLE, "--worker=python"]
    with place.start(*asked, stdout=theirs) as process:
        os.close(theirs)
        text = read(ours)
        assert process.wait() == 1
    before, _, after = text.partition("= FAILURES =")
    assert re.search(r"✗.*compile\.one_step  idle", before)
    assert "A flow of one step without options compiles" in before
    assert re.search(r"\b[0-4]/4\b", before)
    assert "now: " in before
    assert "✓ compile.chain" not in before, "what passes is counted"
    assert "\x1b[?25h" in before, "the cursor is there again"
    assert "= conformance =" in after
    place.assert_clean()
