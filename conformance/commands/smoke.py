"""`pgflow-conformance smoke`: whether the harness works here, before a worker is blamed."""

from __future__ import annotations

import sys

import click

from conformance.harness.smoke import look


@click.command()
def smoke() -> None:
    """Prove that the harness itself works on this machine.

    Each check is a sentence; one that does not hold says what to do. Exit code: 0 if all hold, and
    2 if the suite could not run here.
    """
    broken = 0
    for found in look():
        mark = "✓" if found.well else "✗"
        click.echo(f"{mark} {found.name:<12} {found.said}")
        if not found.well:
            broken += 1
            click.echo(f"  {'':<12} what to do: {found.remedy}")
    if broken:
        click.echo(f"\n{broken} of these do not hold: no worker is to blame for what follows.")
        sys.exit(2)
    click.echo("\nThe harness works here: what fails in a run is the worker's.")
