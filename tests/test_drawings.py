"""What commands draw, as text."""

from __future__ import annotations

import io
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from rich.console import Console

from pgflow_ref.drawings import graph_drawing, progress_drawing, run_drawing, step_mark, took
from pgflow_ref.operations import Run, StepState
from pgflow_ref.shape import FlowShape, StepShape

if TYPE_CHECKING:
    from rich.console import RenderableType

START = datetime(2027, 1, 15, 8, 0, tzinfo=timezone.utc)
RUN = UUID("67e55044-10b1-426f-9247-bb680e5fe0c8")


def later(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def text(*drawn: RenderableType, width: int = 100) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, markup=False, highlight=False, color_system=None)
    for one in drawn:
        console.print(one)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def step(slug: str, status: str, **given: Any) -> StepState:
    values = {
        "remaining_deps": 0,
        "attempts": 0,
        "error_message": None,
        "created_at": START,
        "started_at": None,
        "completed_at": None,
        "failed_at": None,
        **given,
    }
    return StepState(slug, status, **values)


def run(status: str, *steps: StepState, **given: Any) -> Run:
    values = {"output": None, "completed_at": None, "failed_at": None, **given}
    return Run(
        RUN,
        "order",
        status,
        {"id": 7},
        values["output"],
        sum(one.status != "completed" for one in steps),
        START,
        values["completed_at"],
        values["failed_at"],
        steps,
    )


GOING = run(
    "started",
    step("check", "completed", attempts=1, started_at=START, completed_at=later(0.4)),
    step(
        "stock",
        "started",
        attempts=2,
        started_at=later(1),
        error_message="no\nanswer",
        tasks_started=1,
    ),
    step("confirm", "created", remaining_deps=1),
)


@pytest.fixture(autouse=True)
def _local_time_is_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgflow_ref.drawings.local", lambda at: f"{at:%Y-%m-%d %H:%M:%S}")


def test_a_run_that_goes_on() -> None:
    assert text(run_drawing(GOING, later(3.5))) == (
        f"""\
order ▶ running  run {RUN}
started 2027-01-15 08:00:00, for 3.5 s

step      state         attempts   took    last error
─────────────────────────────────────────────────────
check     ✓ completed   1          0.4 s
stock     ▶ running     2          2.5 s   no\\nanswer
confirm   · waiting"""
    )


@pytest.mark.parametrize(
    ("given", "drawn"),
    [
        ({"tasks_queued": 1}, "◦ queued"),
        ({"tasks_queued": 1, "attempts": 1}, "↻ to be retried"),
        ({"tasks_started": 1, "attempts": 1}, "▶ running"),
        ({"tasks_queued": 2, "tasks_started": 1, "tasks_completed": 4}, "▶ running 4/7"),
        ({}, "◦ queued"),
    ],
)
def test_what_a_started_step_waits_for(given: dict[str, Any], drawn: str) -> None:
    assert step_mark(step("a", "started", **given)).plain == drawn


def test_a_run_that_is_completed() -> None:
    done = step("check", "completed", attempts=1, started_at=START, completed_at=later(75))
    over = run("completed", done, output={"total": 18.8}, completed_at=later(76))
    drawn = text(run_drawing(over, later(9999)))
    assert "order ✓ completed" in drawn
    assert "took 1 min 16 s" in drawn
    assert drawn.endswith('output: {"total": 18.8}')


def test_a_run_that_failed() -> None:
    broken = step(
        "check", "failed", attempts=3, started_at=START, failed_at=later(5), error_message="no"
    )
    drawn = text(run_drawing(run("failed", broken, failed_at=later(6)), later(9999)))
    assert "order ✗ failed" in drawn
    assert "took 6.0 s" in drawn
    assert "check   ✗ failed   3          5.0 s   no" in drawn
    assert "output" not in drawn


def test_a_run_without_steps_and_a_state_of_another_core() -> None:
    assert "step   state   attempts   took   last error" in text(run_drawing(run("started"), START))
    drawn = text(run_drawing(run("cancelled\x1b", step("check", "skipped")), START))
    assert "? cancelled\\x1b" in drawn
    assert "? skipped" in drawn


def test_the_bar_shows_how_many_steps_are_completed() -> None:
    drawn = text(progress_drawing(GOING, later(1)))
    assert drawn.endswith("1 of 3 steps")
    assert text(progress_drawing(run("started"), START)).endswith("0 of 0 steps")


def test_what_a_handler_wrote_is_no_markup_and_no_speech_to_the_terminal() -> None:
    rude = step("check", "failed", started_at=START, error_message="[red]\x1b[2J\u202e")
    drawn = text(run_drawing(run("failed", rude, output="[/]"), START))
    assert "[red]\\x1b[2J\\u202e" in drawn
    assert "\x1b" not in drawn


def test_a_narrow_terminal_folds_and_keeps_everything() -> None:
    far = step("a" * 60, "failed", started_at=START, error_message="b" * 60)
    drawn = text(run_drawing(run("failed", far), START), width=50)
    assert (drawn.count("a") - text(run_drawing(run("failed"), START)).count("a")) >= 60
    assert drawn.count("b") >= 60


def test_a_graph_is_drawn_by_levels() -> None:
    shape = FlowShape(
        "order",
        steps=(StepShape("check"), StepShape("price", ("check",)), StepShape("stock", ("check",))),
    )
    assert text(graph_drawing(shape)).strip("\n") == (
        """\
              ╭───────╮
  ╭───────╮   │ price │
  │ check │ → ╰───────╯
  ╰───────╯   ╭───────╮
              │ stock │
              ╰───────╯"""
    )
    assert text(graph_drawing(FlowShape("empty"))).strip() == ""


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-5, "0.0 s"), (0.04, "0.0 s"), (59.9, "59.9 s"), (60, "1 min"), (3600, "1 h"),
     (86_400, "1 d"), (1e9, "11574 d 1 h")],
)  # fmt: skip
def test_durations(seconds: float, said: str) -> None:
    assert took(timedelta(seconds=seconds)) == said
