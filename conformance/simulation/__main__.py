"""Play many schedules, or one again: `./scripts/simulate --help`."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Final

import click

from conformance.simulation import Broken, simulate
from pgflow_ref.errors import PgflowError
from pgflow_ref.profiles import load

if TYPE_CHECKING:
    from collections.abc import Callable

    from conformance.harness.eventlog import Event
    from conformance.simulation import Played
    from pgflow_ref.model import Profile

_SECONDS_BETWEEN_LINES: Final = 5.0


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--seeds", type=click.IntRange(1), help="How many schedules.  [default: 10000]")
@click.option("--seed", type=click.IntRange(0), help="The first of them; alone: only this one.")
@click.option("--core", default="0.5.0", show_default=True, help="The version of pgflow's core.")
@click.option(
    "--last", default=30, show_default=True, type=click.IntRange(0), help="Events to show."
)
def main(seeds: int | None, seed: int | None, core: str, last: int) -> None:
    """Play schedules of many workers on the model of pgflow's core.

    Exit code: 0 no promise was broken, 1 one was, 2 it could not run.
    """
    try:
        profile = load(core).profile
    except (PgflowError, OSError, ValueError) as error:
        raise click.UsageError(str(error)) from None
    count = seeds or (10_000 if seed is None else 1)
    sys.exit(run(profile, seed or 0, count, last))


def run(
    profile: Profile,
    first: int,
    count: int,
    last: int,
    play: Callable[[int, Profile], Played] = simulate,
) -> int:
    """Play schedules until one breaks a promise; the exit code."""
    began = told = time.perf_counter()
    for number in range(count):
        try:
            play(first + number, profile)
        except Broken as broken:
            show(broken, last)
            return 1
        if time.perf_counter() - told > _SECONDS_BETWEEN_LINES:
            told = time.perf_counter()
            click.echo(f"{number + 1:,} of {count:,} schedules …")
    seconds = time.perf_counter() - began
    played = "1 schedule" if count == 1 else f"{count:,} schedules"
    click.echo(
        f"{played} on core {profile.core} in {seconds:.1f} s, {count / seconds:,.0f} per second:"
        " no promise was broken"
    )
    return 0


def show(broken: Broken, last: int) -> None:
    """Tell what a schedule broke, and what has happened before."""
    click.echo(f"seed {broken.seed} on core {broken.core} breaks a promise:\n")
    for problem in broken.problems:
        click.echo(f"  {problem}")
    shown = (
        broken.events[len(broken.events) - last :] if last < len(broken.events) else broken.events
    )
    click.echo(f"\nThe last {len(shown)} of {len(broken.events)} changes in the database:\n")
    for event in shown:
        click.echo(f"  {line(event)}")
    click.echo(f"\nTo repeat it: {broken.command}")


def line(event: Event) -> str:
    """One change as one line."""
    what = {"run": _run, "step": _step, "task": _task, "worker": _worker}.get(
        event.source, _message
    )
    before, after = (None if row is None else what(row) for row in (event.old, event.new))
    change = after if before is None else f"{before} → {after or 'gone'}"
    return (
        f"{event.at:%H:%M:%S.%f}  tx {event.txid:<4} {event.source:<8} {_name(event.row)}: {change}"
    )


def _name(row: dict[str, Any]) -> str:
    if "worker_id" in row:
        return _short(row["worker_id"])
    if "msg_id" in row:
        return str(row["msg_id"])
    index = f"[{row['task_index']}]" if "task_index" in row else ""
    step = f" {row['step_slug']}{index}" if "step_slug" in row else ""
    return f"run {_short(row['run_id'])}{step}"


def _short(identity: str | None) -> str:
    """The ids of a simulation count up, so their ends tell them apart."""
    return "nobody" if identity is None else identity[-4:].lstrip("0")


def _run(row: dict[str, Any]) -> str:
    return f"{row['status']}, {row['remaining_steps']} left"


def _step(row: dict[str, Any]) -> str:
    return f"{row['status']}, waits for {row['remaining_deps']}"


def _task(row: dict[str, Any]) -> str:
    said = row["error_message"] if row["output"] is None else row["output"]
    worker = _short(row["last_worker_id"])
    return f"{row['status']}, attempt {row['attempts_count']} of {worker}, {said!r}"


def _worker(row: dict[str, Any]) -> str:
    return f"seen at {row['last_heartbeat_at'][11:23]}"


def _message(row: dict[str, Any]) -> str:
    return f"read {row['read_ct']} times, hidden until {row['vt'][11:23]}"


if __name__ == "__main__":
    main(prog_name="simulate")
