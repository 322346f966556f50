"""What commands and the demo draw: data in, what rich renders out. Nothing asks or waits."""

from __future__ import annotations

from datetime import timedelta
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
    from collections.abc import Sequence
    from datetime import datetime

    from rich.console import RenderableType

    from pgflow_ref.calls import Health
    from pgflow_ref.operations import FlowHealth, FlowOverview, Run, StepState, WorkerHealth
    from pgflow_ref.remedies import Findings
    from pgflow_ref.shape import FlowShape

MARKS: Final = {
    "created": Text("· waiting", "dim"),
    "started": Text("▶ running", "yellow"),
    "completed": Text("✓ completed", "green"),
    "failed": Text("✗ failed", "bold red"),
}
"""What the states of steps and runs look like."""

_BAR: Final = 24
_HEALTH: Final = {"ok": "bold green", "degraded": "bold yellow", "down": "bold red"}
_CAPABILITIES: Final = {
    "start_delay": "steps can wait before they start (0.5.3)",
    "stopped_at": "workers are marked as stopped (before 0.6)",
    "deprecated_at": "the database can tell a worker to leave (0.6)",
    "map_steps": "steps can have a task for each element (0.7)",
    "requeue_stalled_tasks": "the core puts stalled tasks back itself (0.13.2)",
    "long_poll": "pgmq can wait for a message: --signal-strategy long_poll",
    "notify": "pgmq can tell of messages: --signal-strategy notify (1.8)",
}
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
        return _two(whole // _MINUTE, "min", whole % _MINUTE, "s")
    if seconds < _DAY:
        return _two(whole // _HOUR, "h", whole % _HOUR // _MINUTE, "min")
    return _two(whole // _DAY, "d", whole % _DAY // _HOUR, "h")


def _two(large: int, unit: str, small: int, smaller_unit: str) -> str:
    return f"{large} {unit} {small} {smaller_unit}" if small else f"{large} {unit}"


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


def step_mark(state: StepState) -> Text:
    """How a step's state looks: whether a worker has its task, and of several tasks how many."""
    drawn = mark(state.status)
    if state.status == "started" and not state.tasks_started:
        first = state.attempts == 0
        drawn = Text("◦ queued", "cyan") if first else Text("↻ to be retried", "yellow")
    tasks = state.tasks_queued + state.tasks_started + state.tasks_completed
    several = f" {state.tasks_completed}/{tasks}" if tasks > 1 else ""
    return Text.assemble(drawn, several)


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


def flows_drawing(rows: Sequence[tuple[FlowOverview, FlowHealth]]) -> RenderableType:
    """The flows in a database, each with its queue."""
    if not rows:
        return Text("no flows yet: `pgflow-ref compile` and `pgflow-ref upsert` make some")
    table = grid("flow", "steps")
    for name in ("running", "completed", "failed", "queued", "oldest"):
        table.add_column(name, justify="right")
    for flow, queue in rows:
        table.add_row(
            Text(flow.flow_slug, "bold"),
            ", ".join(flow.steps),
            str(flow.started),
            str(flow.completed),
            Text(str(flow.failed), "red" if flow.failed else ""),
            str(queue.messages) if queue.has_queue else Text("no queue", "red"),
            "" if queue.oldest_message is None else took(timedelta(seconds=queue.oldest_message)),
        )
    return table


def health_drawing(health: Health) -> RenderableType:
    """How pgflow in a database is: problems first, then workers and flows."""
    head = Text(health.status, _HEALTH[health.status])
    if health.server is not None:
        head.append(f"  PostgreSQL {one_line(health.server)}", "default not bold")
    if health.core is not None:
        pgmq = f", pgmq {health.pgmq}" if health.pgmq else ", pgmq as plain SQL"
        head.append(f", core {health.core}{pgmq}", "default not bold")
    parts: list[RenderableType] = [head]
    parts += [Text(f"  {one_line(problem)}", "yellow") for problem in health.problems]
    if health.workers:
        parts += [Text(), _workers(health.workers)]
    if health.flows:
        parts += [Text(), _queues(health.flows)]
    return Group(*parts)


def doctor_drawing(found: Findings) -> RenderableType:
    """What there is to know of a database."""
    core = found.capabilities
    facts = Table.grid(padding=(0, 2))
    facts.add_row("PostgreSQL", one_line(found.server))
    facts.add_row("pgflow core", f"{core.core}, or one that can the same")
    facts.add_row("pgmq", core.pgmq or "as plain SQL, so its version is not known")
    for name, text in _CAPABILITIES.items():
        has = bool(getattr(core, name))
        facts.add_row(Text(text), Text("yes", "green") if has else Text("no", "yellow"))
    parts: list[RenderableType] = [facts]
    if found.missing_grants:
        parts.append(Text("\nThis user lacks, for a worker", "bold"))
        parts += [Padding(Text(one, "yellow"), (0, 0, 0, 2)) for one in found.missing_grants]
    parts.append(Text(f"\n{len(found.defects)} known defects", "bold"))
    for defect in found.defects:
        parts += [
            Text(f"\n{defect.name}", "bold"),
            Padding(Text(defect.says), (0, 0, 0, 2)),
            Padding(Text(f"For a worker: {defect.means}", "dim"), (0, 0, 0, 2)),
            Padding(Text.assemble(("This worker: ", "green"), defect.remedy), (0, 0, 0, 2)),
        ]
    return Group(*parts)


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


def _workers(workers: Sequence[WorkerHealth]) -> Table:
    table = grid("worker", "flow", "since", "last sign of life", "")
    for worker in workers:
        silent = f"{took(timedelta(seconds=worker.silent_for))} ago"
        table.add_row(
            one_line(worker.worker_name),
            worker.flow_slug,
            local(worker.started_at),
            Text(silent, "" if worker.is_alive else "red"),
            "asked to leave" if worker.is_deprecated else "",
        )
    return table


def _queues(flows: Sequence[FlowHealth]) -> Table:
    table = grid("flow")
    for name in ("running", "queued", "visible", "oldest", "stalled"):
        table.add_column(name, justify="right")
    for flow in flows:
        age = flow.oldest_message
        table.add_row(
            flow.flow_slug,
            str(flow.running),
            str(flow.messages) if flow.has_queue else Text("no queue", "red"),
            str(flow.visible_messages),
            "" if age is None else took(timedelta(seconds=age)),
            Text(str(flow.stalled_tasks), "red" if flow.stalled_tasks else ""),
        )
    return table


def _steps(run: Run, now: datetime) -> Table:
    table = grid("step", "state", "attempts", "took", "last error")
    for state in run.step_states:
        table.add_row(
            state.step_slug,
            step_mark(state),
            str(state.attempts) if state.attempts else "",
            _took(state, now),
            Text(one_line(state.error_message or ""), "" if state.status == "failed" else "dim"),
        )
    return table


def _took(state: StepState, now: datetime) -> str:
    if state.started_at is None:
        return ""
    return took((state.completed_at or state.failed_at or now) - state.started_at)
