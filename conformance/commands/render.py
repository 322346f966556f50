"""`pgflow-conformance render`: the reports of a run, made again from its stream."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from conformance.commands.streams import STREAM, CannotRead, file_of, read_run
from conformance.harness import outputs
from conformance.harness.summary import print_run

if TYPE_CHECKING:
    from collections.abc import Callable

_SAYS: Final = {
    "html": "The page.",
    "junit": "JUnit XML.",
    "markdown": "Markdown for the page of a CI job.",
    "badge": "A badge.",
}


def _forms(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command a flag for each form."""
    for form, (name, _) in reversed(outputs.MAKERS.items()):
        command = click.option(f"--{form}", is_flag=True, help=f"{_SAYS[form]} ({name})")(command)
    return command


@click.command()
@click.argument("stream", type=STREAM)
@_forms
@click.option("--summary", is_flag=True, help="The summary, printed.")
@click.option(
    "--into",
    metavar="FOLDER",
    help="Where the files go (default: beside the stream); - prints the one that is asked for.",
)
def render(stream: Path, into: str | None, *, summary: bool, **chosen: bool) -> None:
    """Make the reports of a run again from its STREAM, a results.jsonl or the folder of one.

    Without an option that says which, all of them are made and the summary is printed.
    """
    run = read_run(stream)
    forms = [form for form in outputs.MAKERS if chosen[form]]
    if not forms and not summary:
        forms, summary = list(outputs.MAKERS), True
    if into == "-":
        if len(forms) + summary != 1:
            raise click.UsageError("--into - prints one thing: ask for one.")
        if forms:
            click.echo(outputs.make(run, forms[0]), nl=False)
            return
    written = []
    try:
        if forms:
            folder = Path(into) if into else file_of(stream).parent
            written = outputs.write(run, folder, forms)
    except OSError as error:
        raise CannotRead(f"nothing can be written there: {error}") from None
    if summary:
        width = shutil.get_terminal_size().columns
        print_run(run, sys.stdout, width, color=sys.stdout.isatty(), reports=written)
    else:
        for path in written:
            click.echo(path)
