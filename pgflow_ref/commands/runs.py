"""Commands about runs: start one, look at one."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from rich.live import Live

from pgflow_ref.commands.inputs import given_input
from pgflow_ref.commands.output import console, run_data, say_json, show
from pgflow_ref.commands.words import (
    find_flow_or_slug,
    instant,
    json_option,
    prepare_option,
    reading,
    url_option,
)
from pgflow_ref.drawings import progress_drawing, run_drawing
from pgflow_ref.errors import RunTimeout
from pgflow_ref.json_contract import encode

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from rich.console import Console

    from pgflow_ref.client import PgFlow
    from pgflow_ref.flow import Flow
    from pgflow_ref.operations import Run

_BETWEEN_LOOKS: Final = 0.2  # seconds
_FAILED: Final = 1


@click.command()
@click.argument("flow", metavar="FLOW", callback=reading(find_flow_or_slug))
@click.argument("given", metavar="[INPUT | -]", required=False)
@click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path, allow_dash=True),
    help="A file with the input in JSON; - is standard input.",
)
@url_option
@click.option("--run-id", type=click.UUID, help="The id that the run is to have.")
@click.option("--in", "delay", type=float, metavar="SECONDS", help="Begin so much later.")
@click.option(
    "--at",
    metavar="TIME",
    callback=reading(instant),
    help="Begin at this time, in ISO 8601 with its zone.",
)
@click.option("--wait", is_flag=True, help="Wait for the run's end, and print its output.")
@click.option(
    "--timeout", type=click.FloatRange(min=0), default=60.0, help="With --wait: seconds to wait."
)
@json_option
@prepare_option
def start(
    flow: Flow | str,
    given: str | None,
    path: Path | None,
    url: str,
    run_id: UUID | None,
    delay: float | None,
    at: datetime | None,
    wait: bool,
    timeout: float,
    as_json: bool,
    prepare: bool,
) -> None:
    """Start a run of FLOW and print its id.

    FLOW is the slug of a flow in the database, or module:name. The input is any JSON value.

    \b
    Examples:
        pgflow-ref start process_order '{"order_id": 7}'
        pgflow-ref start process_order --file order.json --wait --timeout 300
        echo '{"order_id": 7}' | pgflow-ref start process_order -
        pgflow-ref start send_report null --at 2027-01-15T08:00:00+01:00

    Exit codes: 0 the run is started, and with --wait it is completed; 1 with --wait: it failed, or
    was not over in time and goes on; 2 it could not be started.
    """
    if sum(one is not None for one in (run_id, delay, at)) > 1:
        raise click.UsageError("give one of --run-id, --in and --at")
    run_input = given_input(given, path)
    from pgflow_ref.client import PgFlow  # loads psycopg

    with PgFlow(url, prepare=prepare) as pgflow:
        started = _start(pgflow, flow, run_input, run_id, delay, at)
        if not wait:
            say_json({"run_id": str(started)}) if as_json else click.echo(str(started))
            return
        err = console(stderr=True)
        with _live(err, transient=True) as live:
            run = follow(pgflow, started, live, timeout=timeout)
    if as_json:
        say_json(run_data(run))
    elif run.status == "completed":
        click.echo(encode(run.output))
    else:
        err.print(run_drawing(run, _now()))
    sys.exit(0 if run.status == "completed" else _FAILED)


@click.command()
@click.argument("run_id", metavar="RUN_ID")
@url_option
@click.option("--watch", is_flag=True, help="Draw it again and again until it is over.")
@json_option
@prepare_option
def status(run_id: str, url: str, watch: bool, as_json: bool, prepare: bool) -> None:
    """Show a run: its steps, their attempts, their errors.

    With --watch and --json, there is one line of JSON for each change.

    \b
    Examples:
        pgflow-ref status 67e55044-10b1-426f-9247-bb680e5fe0c8
        pgflow-ref status 67e55044-10b1-426f-9247-bb680e5fe0c8 --watch

    Exit codes: 0 it was shown, and with --watch it is completed; 1 with --watch: it failed; 2 there
    is no such run, or no database.
    """
    from pgflow_ref.client import PgFlow  # loads psycopg

    with PgFlow(url, prepare=prepare) as pgflow:
        run = pgflow.get_run_with_states(run_id)
        if not watch:
            say_json(run_data(run)) if as_json else show(run_drawing(run, _now()))
            return
        if as_json:
            run = follow(pgflow, run.run_id, _Changes())
        else:
            with _live(console()) as live:
                run = follow(pgflow, run.run_id, live)
    sys.exit(0 if run.status == "completed" else _FAILED)


def follow(
    pgflow: PgFlow,
    run_id: UUID,
    tell: Callable[[Run], None],
    *,
    timeout: float = float("inf"),
) -> Run:
    """Look at a run again and again until it is over.

    Args:
        pgflow: asked for the run.
        run_id: the run.
        tell: told what each look shows.
        timeout: seconds after which it is given up; there is one look at least.

    Raises:
        RunTimeout: it was not over in time; it goes on.
    """
    give_up_at = time.monotonic() + timeout
    while True:
        run = pgflow.get_run_with_states(run_id)
        tell(run)
        if run.is_over:
            return run
        left = give_up_at - time.monotonic()
        if left <= 0:
            raise RunTimeout(run_id, timeout)
        time.sleep(min(_BETWEEN_LOOKS, left))


def _start(
    pgflow: PgFlow,
    flow: Flow | str,
    run_input: object,
    run_id: UUID | None,
    delay: float | None,
    at: datetime | None,
) -> UUID:
    if delay is not None:
        return pgflow.enqueue_in(flow, run_input, delay)
    if at is not None:
        return pgflow.enqueue_at(flow, run_input, at)
    return pgflow.start_flow(flow, run_input, run_id=run_id)


class _Redrawn:
    """A drawing of a run that is drawn anew in its place."""

    def __init__(self, to: Console, *, transient: bool) -> None:
        self._to = to
        self._live = Live(console=to, transient=transient, auto_refresh=False)

    def __enter__(self) -> Callable[[Run], None]:
        self._live.__enter__()
        return self._draw

    def __exit__(self, *raised: object) -> None:
        self._live.stop()

    def _draw(self, run: Run) -> None:
        self._live.update(progress_drawing(run, _now()), refresh=True)


def _live(to: Console, *, transient: bool = False) -> _Redrawn | nullcontext[Callable[[Run], None]]:
    """Draw while waiting: on a terminal; elsewhere only the end, unless it is transient."""
    if transient and not to.is_terminal:
        return nullcontext(lambda _: None)
    return _Redrawn(to, transient=transient)


class _Changes:
    """Says in JSON what has changed since the last look."""

    def __init__(self) -> None:
        self._last: object = None

    def __call__(self, run: Run) -> None:
        if run != self._last:
            self._last = run
            say_json(run_data(run))


def _now() -> datetime:
    return datetime.now(timezone.utc)
