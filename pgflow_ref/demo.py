"""A small flow with a worker beside it, shown while it runs."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Final

from rich.live import Live

from pgflow_ref.capabilities import probe
from pgflow_ref.client import PgFlow
from pgflow_ref.compile import compile_flow
from pgflow_ref.connection import connect, execute
from pgflow_ref.drawings import graph_drawing, progress_drawing
from pgflow_ref.embedded import EmbeddedPostgres
from pgflow_ref.flow import Context, Flow
from pgflow_ref.install import install, wanted
from pgflow_ref.install.pins import DEFAULT_CORE
from pgflow_ref.logs import FAILURES, silenced
from pgflow_ref.worker import Worker

if TYPE_CHECKING:
    from concurrent.futures import Future
    from typing import Any

    from rich.console import Console

    from pgflow_ref.operations import Run

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


def run(
    url: str | None, console: Console, core: str = DEFAULT_CORE, pgmq: str | None = None
) -> Run:
    """Run the demo, and show it on the console; the run at its end.

    Args:
        url: a database with a core, or None for one of the demo's own.
        console: where it is shown.
        core: what is installed in that of its own: a version of the core, or a path.
        pgmq: likewise; None for the usual one.
    """
    with ExitStack() as stack:
        stack.enter_context(silenced(FAILURES))  # the drawing shows them
        if url is None:
            console.print("starting a database for the demo …")
            server = stack.enter_context(EmbeddedPostgres())
            url = server.url()
            found = wanted(core)
            # Nobody has anything in it; but files are to be what they say.
            install(url, found, pgmq=pgmq, force=not found.altered, say=console.print)
        with connect(url) as connection:
            execute(connection, probe())  # says so, where there is no core
            for statement in compile_flow(flow.shape):
                console.print(statement, style="dim", highlight=False)
                connection.execute(statement.encode())
        console.print(graph_drawing(flow.shape), style="cyan")
        worker = Worker(flow, url, min_poll_interval=0.1, max_poll_interval=0.2)
        pool = stack.enter_context(ThreadPoolExecutor(1))
        working = pool.submit(worker.run, signals=False)
        stack.callback(worker.stop)
        pgflow = stack.enter_context(PgFlow(url))
        return _watch(pgflow, str(pgflow.start_flow(flow, ORDER)), working, console)


def _watch(pgflow: PgFlow, run_id: str, working: Future[None], console: Console) -> Run:
    """Redraw the steps until the run is over; what ends the worker before that is raised here."""
    with Live(console=console, refresh_per_second=10) as live:
        while True:
            now = pgflow.get_run_with_states(run_id)
            live.update(progress_drawing(now, datetime.now(timezone.utc)))
            if now.is_over:
                return now
            if working.done():
                working.result()
            time.sleep(0.1)
