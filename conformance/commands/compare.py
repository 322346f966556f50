"""`pgflow-conformance compare`: what changed between two runs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from conformance.commands.streams import STREAM, read_run
from conformance.harness.changes import compare as compared
from conformance.harness.markdown import changes_to_markdown
from conformance.harness.summary import print_changes

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@click.argument("before", type=STREAM)
@click.argument("after", type=STREAM)
@click.option("--markdown", is_flag=True, help="Print Markdown, for the page of a CI job.")
@click.option(
    "--part", is_flag=True, help="AFTER is of some cases only: what it has not is not gone."
)
def compare(before: Path, after: Path, *, markdown: bool, part: bool) -> None:
    """Say what changed from BEFORE to AFTER, each a results.jsonl or the folder of one.

    \b
    Exit codes:
      0  nothing changed for the worse
      1  something did: a result that passed does not, or is gone, or is only a known deviation now;
         a new case fails; a JSON value is lost; a wrong worker is not caught
      2  a stream cannot be read
    Times, shares of the work and versions are told, and are never for the worse.
    """
    changes = compared(read_run(before), read_run(after), part=part)
    if markdown:
        click.echo(changes_to_markdown(changes), nl=False)
    else:
        print_changes(changes, sys.stdout, color=sys.stdout.isatty())
    sys.exit(1 if changes.worse else 0)
