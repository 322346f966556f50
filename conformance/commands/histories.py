"""`pgflow-conformance histories`: what is different in the recorded histories of two cores."""

from __future__ import annotations

import sys
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

import click

from conformance.commands.streams import CannotRead
from conformance.histories import recording
from conformance.histories.recording import HistoryError

if TYPE_CHECKING:
    from pathlib import Path

CHANGED: Final = 1


@click.command()
@click.argument("base")
@click.argument("candidate")
@click.option("--flow", "glob", default="*", metavar="GLOB", help="Only flows called like this.")
def histories(base: str, candidate: str, glob: str) -> None:
    """Compare the histories that are recorded of two versions of the core, BASE and CANDIDATE.

    A line with - is what a flow leaves on the one, with + what it leaves on the other. Exit code 0:
    they are the same; 1: they are not.
    """
    before, after = (_recorded(core, glob) for core in (base, candidate))
    changed = False
    for flow in sorted(before.keys() & after.keys()):
        try:
            lines = recording.difference(*(recording.load(of[flow]) for of in (before, after)))
        except HistoryError as error:
            raise CannotRead(str(error)) from None
        if lines:
            click.echo("\n".join([f"{flow}, core {base} and core {candidate}", *lines, ""]))
            changed = True
    for core, alone in (
        (base, before.keys() - after.keys()),
        (candidate, after.keys() - before.keys()),
    ):
        if alone:
            click.echo(f"on core {core} alone: {', '.join(sorted(alone))}")
            changed = True
    if changed:
        sys.exit(CHANGED)
    click.echo(f"{len(before)} flows leave the same on core {base} and on core {candidate}")


def _recorded(core: str, glob: str) -> dict[str, Path]:
    """The files of a core by flow."""
    folder = recording.HISTORIES / core
    there = (
        sorted(path.name for path in recording.HISTORIES.iterdir()) if not folder.is_dir() else []
    )
    if there:
        raise CannotRead(f"no history of core {core} is recorded; there are {', '.join(there)}")
    found = {path.stem: path for path in folder.glob("*.json") if fnmatchcase(path.stem, glob)}
    if not found:
        raise CannotRead(f"core {core} has no recorded flow like {glob!r}")
    return found
