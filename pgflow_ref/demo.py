"""A small flow with a worker beside it, shown while it runs."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from rich.align import Align
from rich.console import Group
from rich.json import JSON
from rich.live import Live
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table

from pgflow_ref.capabilities import probe
from pgflow_ref.client import PgFlow
from pgflow_ref.compile import compile_flow, in_order
from pgflow_ref.connection import connect, execute
from pgflow_ref.embedded import EmbeddedPostgres
from pgflow_ref.flow import Context, Flow
from pgflow_ref.install import install
from pgflow_ref.json_contract import encode
from pgflow_ref.worker import Worker

if TYPE_CHECKING:
    from concurrent.futures import Future
    from typing import Any

    from rich.console import Console, RenderableType

    from pgflow_ref.operations import Run, StepState
    from pgflow_ref.shape import FlowShape

ORDER: Final = {"id": "2026-00042", "items": [{"sku": "TEA", "price": 9.4, "quantity": 2}]}

flow = Flow("demo_order", max_attempts=3, base_delay=1)


@flow.step()
def check(order: Any, ctx: Context) -> object:  # noqa: ARG001
    """The order has items."""
    time.sleep(0.4)
    return {"valid": bool(order["items"])}


@flow.step(depends_on=[check])
async def price(deps: Any, ctx: Context) -> object:  # noqa: ARG001
    """What it comes to."""
    order: Any = ctx.flow_input
    return sum(item["price"] * item["quantity"] for item in order["items"])


@flow.step(depends_on=[check])
def stock(deps: Any, ctx: Context) -> object:  # noqa: ARG001
    """Fails at first, to show a retry."""
    time.sleep(0.3)
    if ctx.attempt == 1:
        raise ConnectionError("the warehouse does not answer")
    return {"reserved": True}


@flow.step(depends_on=[price, stock])
def confirm(deps: Any, ctx: Context) -> object:
    """The end."""
    time.sleep(random.uniform(0.2, 0.5))  # noqa: S311  # for the eye
    order: Any = ctx.flow_input
    return {"order": order["id"], "total": deps["price"], **deps["stock"]}


def run(url: str | None, console: Console) -> int:
    """Run the demo; the exit code."""
    with ExitStack() as stack:
        if url is None:
            console.print("starting a database for the demo …")
            server = stack.enter_context(EmbeddedPostgres())
            url = server.url()
            install(url, say=console.print)
        with connect(url) as connection:
            execute(connection, probe())  # says so, where there is no core
            for statement in compile_flow(flow.shape):
                console.print(statement, style="dim", highlight=False)
                connection.execute(statement.encode())
        console.print(_drawing(flow.shape), style="cyan")
        worker = Worker(flow, url, min_poll_interval=0.1, max_poll_interval=0.2)
        pool = stack.enter_context(ThreadPoolExecutor(1))
        working = pool.submit(worker.run, signals=False)
        stack.callback(worker.stop)
        pgflow = stack.enter_context(PgFlow(url))
        last = _watch(pgflow, str(pgflow.start_flow(flow, ORDER)), working, console)
    if last.status != "completed":
        console.print("the run did not complete", style="bold red")
        return 1
    console.print("\nthe run's output:")
    console.print(JSON(encode(last.output)))
    return 0


def _watch(pgflow: PgFlow, run_id: str, working: Future[None], console: Console) -> Run:
    """Redraw the steps until the run is over; what ends the worker before that is raised here."""
    began = time.monotonic()
    with Live(console=console, refresh_per_second=10) as live:
        while True:
            now = pgflow.get_run_with_states(run_id)
            live.update(_table(now, time.monotonic() - began))
            if now.is_over:
                return now
            if working.done():
                working.result()
            time.sleep(0.1)


def _drawing(shape: FlowShape) -> Padding:
    """The graph by levels, from left to right: a step stands right of all that it needs."""
    level: dict[str, int] = {}
    for step in in_order(shape):
        level[step.slug] = 1 + max((level[need] for need in step.depends_on), default=-1)
    grid = Table.grid(padding=(0, 1))
    columns: list[RenderableType] = []
    for number in range(max(level.values()) + 1):
        boxes = [Panel.fit(slug) for slug, at in level.items() if at == number]
        columns += [Align("→", vertical="middle")] if number else []
        columns.append(Align(Group(*boxes), vertical="middle"))
    for _ in columns:
        grid.add_column(vertical="middle")
    grid.add_row(*columns)
    return Padding(grid, (1, 2))


def _table(now: Run, seconds: float) -> Table:
    table = Table(title=f"run {now.run_id}: {now.status}, {seconds:.1f} s", title_justify="left")
    for name in ("step", "after", "state", "attempts", "last error"):
        table.add_column(name)
    needs = {step.slug: ", ".join(step.depends_on) for step in in_order(flow.shape)}
    for state in now.step_states:
        error = state.error_message or ""
        row = (state.step_slug, needs[state.step_slug], _mark(state), str(state.attempts), error)
        table.add_row(*row)
    return table


def _mark(state: StepState) -> str:
    marks = {"created": "· waiting", "started": "▶ running", "completed": "✓ completed"}
    return marks.get(state.status, f"✗ {state.status}")
