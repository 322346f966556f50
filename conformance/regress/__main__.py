"""`./scripts/regress`: what changes from one core to another, as a verdict and an exit code."""

from __future__ import annotations

import secrets
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from conformance.harness.outputs import replace
from conformance.regress import behaviours, outputs
from conformance.regress.cases import Wish
from conformance.regress.check import PARTS, Choice, check
from conformance.regress.findings import CannotRun
from conformance.regress.verdict import COULD_NOT_RUN
from pgflow_ref.errors import PgflowError

if TYPE_CHECKING:
    from collections.abc import Sequence

_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("base")
@click.argument("candidate")
@click.option("--html", type=_FILE, help="Write the page there as well.")
@click.option("--markdown", type=_FILE, help="Write the Markdown there as well.")
@click.option("--results", type=_FOLDER, default=Path("build/regress"), help="Where files go.")
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(list(PARTS)),
    help="Look at this alone; may be given several times.",
)
@click.option(
    "--without", multiple=True, type=click.Choice(list(PARTS)), help="Do not look at this."
)
@click.option("--pgmq", metavar="VERSION|PATH", help="The pgmq of both.  [default: 1.11.1]")
@click.option("--force", is_flag=True, help="Also with files that are not what they are pinned as.")
@click.option("--quick", is_flag=True, help="Only the cases of a quick run.")
@click.option("--case", "cases", multiple=True, metavar="GLOB", help="Only cases with such an id.")
@click.option(
    "--worker", "workers", multiple=True, help="A worker that takes part, as the suite's."
)
@click.option("--seed", type=int, help="What all that is random is made from; else from chance.")
@click.option(
    "--histories",
    type=click.IntRange(min=0),
    default=behaviours.HISTORIES,
    help="Random histories that the model plays on each core.",
)
def main(  # noqa: PLR0913  # options are arguments
    base: str,
    candidate: str,
    *,
    html: Path | None,
    markdown: Path | None,
    results: Path,
    only: tuple[str, ...],
    without: tuple[str, ...],
    pgmq: str | None,
    force: bool,
    quick: bool,
    cases: tuple[str, ...],
    workers: tuple[str, ...],
    seed: int | None,
    histories: int,
) -> None:
    """Say what changes from the core BASE to the core CANDIDATE, each a version or a path.

    \b
    Exit codes:
      0  same: nothing that was looked at is different
      1  changed: something is done otherwise, or is new
      2  broken: what works with BASE does not with CANDIDATE
      3  it could not run, or not all of it
    """  # noqa: D301  # the backslash is click's: keep these lines
    parts = tuple(name for name in PARTS if name in (only or PARTS) and name not in without)
    if not parts:
        raise click.UsageError("--without leaves nothing to look at")
    seed = secrets.randbelow(10**6) if seed is None else seed
    more = (*(() if pgmq is None else ("--pgmq", pgmq)), *(("--force",) if force else ()))
    wish = Wish(workers, cases, quick=quick, seed=seed, more=more)
    choice = Choice(base, candidate, parts, wish, histories, results, pgmq, force)
    try:
        verdict = check(choice, lambda text: click.echo(f"regress: {text}", err=True))
    except (CannotRun, PgflowError) as error:
        raise click.ClickException(f"the check cannot run: {error}") from None
    for path in filter(None, (results / "verdict.html", html)):
        _write(path, outputs.to_html(verdict))
    for path in filter(None, (results / "verdict.md", markdown)):
        _write(path, outputs.to_markdown(verdict))
    outputs.to_terminal(verdict, sys.stdout, color=sys.stdout.isatty())
    click.echo(f"regress: written to {results}: verdict.md, verdict.html", err=True)
    sys.exit(verdict.exit_code)


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, text)
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}") from None


def run(arguments: Sequence[str]) -> NoReturn:
    """The command; whatever goes wrong on the way is no verdict, and exits with 3.

    Args:
        arguments: of the command line.
    """
    try:
        main.main(list(arguments), "./scripts/regress", standalone_mode=False)
    except click.Abort:
        click.echo("regress: interrupted", err=True)
    except click.ClickException as error:
        error.show()
    except Exception:  # noqa: BLE001  # Python's own exit code would say "changed"
        traceback.print_exc()
    else:
        sys.exit(0)  # --help
    sys.exit(COULD_NOT_RUN)


if __name__ == "__main__":
    # As if somebody had pressed Ctrl-C: servers and the suite are stopped, and it exits with 3.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    run(sys.argv[1:])
