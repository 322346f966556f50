"""What commands and the demo draw: data in, what rich renders out. Nothing asks or waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich import box
from rich.align import Align
from rich.console import Group
from rich.padding import Padding
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pgflow_ref.compile import in_order
from pgflow_ref.json_contract import encode
from pgflow_ref.logs import one_line

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from rich.console import RenderableType

    from pgflow_ref.operations import Run, StepState
    from pgflow_ref.shape import FlowShape

MARKS: Final = {
    "created": Text("· waiting", "dim"),
    "started": Text("▶ running", "yellow"),
    "completed": Text("✓ completed", "green"),
    "failed": Text("✗ failed", "bold red"),
}
"""What the states of steps and runs look like."""

_BAR: Final = 24
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def took(span: timedelta) -> str:
    """A duration for people.

    Example:
        >>> from datetime import timedelta
        >>> [took(timedelta(seconds=s)) for s in (0.25, 75, 7500, 200_000)]
        ['0.2 s', '1 min 15 s', '2 h 5 min', '2 d 7 h']
    """
    seconds = max(0.0, span.total_seconds())
    whole = int(seconds)
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    if seconds < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    if seconds < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def local(at: datetime) -> str:
    """A time in the zone of this machine, to the second."""
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S}"


def grid(*names: str) -> Table:
    """A table as all commands have it: no frames, a line under the names."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, overflow="fold")
    return table


def mark(status: str) -> Text:
    """How a state looks; one that is not known, as it is called."""
    return MARKS.get(status, Text(f"? {one_line(status)}"))


def run_drawing(run: Run, now: datetime) -> RenderableType:
    """A run: what became of it, its steps, and its output.

    Args:
        run: with its steps.
        now: the time, to say for how long something has been going on.
    """
    over_at = run.completed_at or run.failed_at
    head = Text.assemble(
        (f"{run.flow_slug} ", "bold"),
        mark(run.status),
        f"  run {run.run_id}\nstarted {local(run.started_at)}, ",
        "took " if over_at else "for ",
        took((over_at or now) - run.started_at),
    )
    parts: list[RenderableType] = [head, Text(), _steps(run, now)]
    if run.status == "completed":
        parts.append(Text(f"\noutput: {one_line(encode(run.output))}"))
    return Group(*parts)


def progress_drawing(run: Run, now: datetime) -> RenderableType:
    """A run that is watched: as `run_drawing`, with a bar of the steps that are completed."""
    steps = len(run.step_states)
    done = sum(state.status == "completed" for state in run.step_states)
    style = "red" if run.status == "failed" else "green"
    bar = Table.grid(padding=(0, 1))
    bar.add_row(
        ProgressBar(max(steps, 1), done, width=_BAR, complete_style=style, finished_style=style),
        f"{done} of {steps} steps",
    )
    return Group(run_drawing(run, now), Text(), bar)


def graph_drawing(shape: FlowShape) -> RenderableType:
    """The graph by levels, from left to right: a step stands right of all that it needs."""
    level: dict[str, int] = {}
    for step in in_order(shape):
        level[step.slug] = 1 + max((level[need] for need in step.depends_on), default=-1)
    boxes = Table.grid(padding=(0, 1))
    columns: list[RenderableType] = []
    for number in range(max(level.values(), default=-1) + 1):
        panels = [Panel.fit(slug) for slug, at in level.items() if at == number]
        columns += [Align("→", vertical="middle")] if number else []
        columns.append(Align(Group(*panels), vertical="middle"))
    for _ in columns:
        boxes.add_column(vertical="middle")
    boxes.add_row(*columns)
    return Padding(boxes, (1, 2))


def _steps(run: Run, now: datetime) -> Table:
    table = grid("step", "state", "attempts", "took", "last error")
    for state in run.step_states:
        table.add_row(
            state.step_slug,
            mark(state.status),
            str(state.attempts) if state.attempts else "",
            _took(state, now),
            Text(one_line(state.error_message or ""), "" if state.status == "failed" else "dim"),
        )
    return table


def _took(state: StepState, now: datetime) -> str:
    if state.started_at is None:
        return ""
    return took((state.completed_at or state.failed_at or now) - state.started_at)
