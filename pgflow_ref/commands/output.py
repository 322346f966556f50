"""How answers are written: JSON for machines, rich's renderables for people."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING
from uuid import UUID

import click
from rich.console import Console

from pgflow_ref.json_contract import encode

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pgflow_ref.operations import Run


class ReaderGone(Exception):
    """Nobody reads what is written any more. Of a BrokenPipeError, click and rich make a 1."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise ReaderGone


def console(*, stderr: bool = False) -> Console:
    """Where to draw; what is drawn says itself what is bright."""
    return _Console(stderr=stderr, highlight=False, emoji=False, markup=False)


def show(*drawn: RenderableType) -> None:
    """Draw on standard output."""
    to = console()
    for one in drawn:
        to.print(one)


def say_json(value: object) -> None:
    """Print one line of JSON."""
    click.echo(encode(plain_data(value)))


def plain_data(value: object) -> object:
    """Data of this library as JSON values: times in ISO 8601 and UTC, durations in seconds.

    Example:
        >>> plain_data({"run_id": UUID(int=5), "took": timedelta(seconds=1.5), "steps": ()})
        {'run_id': '00000000-0000-0000-0000-000000000005', 'took': 1.5, 'steps': []}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    match value:
        case Mapping():
            return {str(name): plain_data(part) for name, part in value.items()}
        case list() | tuple():
            return [plain_data(part) for part in value]
        case UUID():
            return str(value)
        case datetime():
            return value.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")
        case timedelta():
            return value.total_seconds()
        case _:
            return value


def run_data(run: Run) -> dict[str, object]:
    """A run with its steps as JSON values; input and output are kept as they are."""
    return {
        "run_id": str(run.run_id),
        "flow_slug": run.flow_slug,
        "status": run.status,
        "input": run.input,
        "output": run.output,
        "remaining_steps": run.remaining_steps,
        "started_at": plain_data(run.started_at),
        "completed_at": plain_data(run.completed_at),
        "failed_at": plain_data(run.failed_at),
        "steps": plain_data(run.step_states),
    }


def confirmed(question: str) -> bool:
    """Ask; only a plain yes is one.

    Raises:
        click.UsageError: there is nobody to ask.
    """
    click.echo(f"{question} [y/N] ", err=True, nl=False)
    answer = sys.stdin.readline()
    if not answer:
        click.echo(err=True)
        raise click.UsageError("nobody answers; --yes does it without asking")
    return answer.strip().lower() in ("y", "yes")
