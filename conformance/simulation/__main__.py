"""Play many schedules, or one again: `./scripts/simulate --help`."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final

import click

from conformance.simulation import Broken, simulate
from pgflow_ref.errors import PgflowError
from pgflow_ref.profiles import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conformance.harness.eventlog import Event
    from pgflow_ref.model import Profile

    Plays = Callable[[Profile, range], Iterator[tuple[int, Broken | None]]]

_SECONDS_BETWEEN_LINES: Final = 5.0
_PART: Final = 200  # schedules that a process plays before it is asked again


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
    chosen = range(seed or 0, (seed or 0) + count)
    sys.exit(run(profile, chosen, last, side_by_side if count > _PART else in_turn))


def run(profile: Profile, seeds: range, last: int, plays: Plays) -> int:
    """Play schedules until one breaks a promise; the exit code.

    Args:
        profile: the version of the core.
        seeds: which schedules.
        last: how many events to show of one that breaks a promise.
        plays: plays them, bit by bit.
    """
    began = told = time.perf_counter()
    count, done = len(seeds), 0
    for part, broken in plays(profile, seeds):
        done += part
        if broken is not None:
            show(broken, last)
            return 1
        if time.perf_counter() - told > _SECONDS_BETWEEN_LINES:
            told = time.perf_counter()
            click.echo(f"{done:,} of {count:,} schedules …")
    seconds = time.perf_counter() - began
    played = "1 schedule" if count == 1 else f"{count:,} schedules"
    click.echo(
        f"{played} on core {profile.core} in {seconds:.1f} s, {count / seconds:,.0f} per second:"
        " no promise was broken"
    )
    return 0


def in_turn(profile: Profile, seeds: range) -> Iterator[tuple[int, Broken | None]]:
    """Play one schedule after the other."""
    for seed in seeds:
        broken = _broken(seed, profile)
        yield 1, broken
        if broken is not None:
            return


def side_by_side(profile: Profile, seeds: range) -> Iterator[tuple[int, Broken | None]]:
    """Play schedules in as many processes as there are processors."""
    parts = [seeds[start : start + _PART] for start in range(0, len(seeds), _PART)]
    with ProcessPoolExecutor() as pool:
        for part, seed in zip(parts, pool.map(_first, repeat(profile.core), parts), strict=True):
            yield len(part), None if seed is None else _broken(seed, profile)
            if seed is not None:
                pool.shutdown(cancel_futures=True)
                return


def _first(core: str, seeds: range) -> int | None:
    """The first seed that breaks a promise, or None."""
    broken = (broken for _, broken in in_turn(load(core).profile, seeds) if broken is not None)
    return next((one.seed for one in broken), None)


def _broken(seed: int, profile: Profile) -> Broken | None:
    try:
        simulate(seed, profile)
    except Broken as broken:
        return broken
    return None


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
