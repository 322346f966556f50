"""`pgflow-conformance check-adapter`: what an adapter gets wrong, before any case runs."""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from conformance.harness import adapters, cores
from conformance.harness.adapters import Adapter, AdapterError
from conformance.harness.check import CHECKS, CannotCheck, Check, check
from conformance.harness.checkup import opened
from conformance.harness.cores import CoreError
from conformance.harness.databases import CORE, Cluster, template_of
from pgflow_ref.embedded import EmbeddedPostgres
from pgflow_ref.errors import PgflowError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from conformance.harness.check import Result

_PAGE: Final = "CONTRACT.md"
_MOST: Final = 3  # sentences of which the same advice is given


@click.command()
@click.argument("command", nargs=-1, required=True, metavar="-- COMMAND…")
@click.option("--core", default=CORE, metavar="VERSION or PATH", help=f"A core ({CORE}).")
@click.option(
    "--pgmq", metavar="VERSION or PATH", help="A pgmq, or the path of its pgmq.sql (1.11.1)."
)
@click.option(
    "--patience",
    default=1.0,
    type=click.FloatRange(min=0, min_open=True),
    metavar="FACTOR",
    help="How much longer to wait than usual.",
)
def check_adapter(command: tuple[str, ...], core: str, pgmq: str | None, patience: float) -> None:
    """Say what an adapter gets wrong of the contract, before any case runs.

    COMMAND is the adapter's, to which one word is appended; or the name of one of the suite's own.

    Exit code: 0 nothing is wrong, 1 something is, 2 it could not be checked.
    """
    console = Console(highlight=False)
    began = time.monotonic()
    try:
        cores.check([core], pgmq, force=False)
        results = _check(_adapter(command), core, pgmq, patience, console)
    except (AdapterError, CannotCheck, CoreError, PgflowError) as error:
        click.echo(f"the adapter cannot be checked: {error}", err=True)
        sys.exit(2)
    wrong = sum(len(result.findings) for result in results)
    took = f"{time.monotonic() - began:.1f} s"
    if wrong:
        console.print(
            f"\n{wrong} {'thing is' if wrong == 1 else 'things are'} wrong ({took}).",
            style="bold red",
        )
        sys.exit(1)
    console.print(f"\nNothing is wrong, in {len(results)} checks ({took}).", style="bold green")


def _adapter(command: tuple[str, ...]) -> Adapter:
    """One of the suite's own, by its name alone, or the command itself."""
    name = command[0]
    if len(command) == 1 and (adapters.WORKERS / name / "adapter.toml").is_file():
        adapter = adapters.find(name)
        adapters.prepare(adapter)
        return adapter
    return Adapter("adapter", "", command)


def _check(
    adapter: Adapter, core: str, pgmq: str | None, patience: float, console: Console
) -> list[Result]:
    """Do all checks, and print what came of each as soon as it is over."""
    results = []
    status = console.status("starting PostgreSQL") if console.is_terminal else nullcontext()

    def says(what: Check | str) -> None:
        if not isinstance(status, nullcontext):
            status.update(what if isinstance(what, str) else f"{what.name}: {what.about}")

    with status, EmbeddedPostgres() as server, tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(server.url())
        cluster.create(template_of(core))
        says(f"installing core {core}")
        cores.put(cluster.url_of(template_of(core)), core, pgmq)
        with opened(adapter, cluster, core, Path(folder), patience) as checkup:
            for result in check(checkup, says):
                console.print(_shown(result))
                results.append(result)
    return results


def _shown(result: Result) -> RenderableType:
    name = f"{result.check.name:<{max(len(one.name) for one in CHECKS)}}"
    if not result.findings:
        seen = f"  ({result.seen})" if result.seen else ""
        return Text.assemble(("✓ ", "green"), (name, "bold"), f"  {result.check.about}{seen}")
    head = Text.assemble(("✗ ", "red"), (name, "bold"), f"  {result.check.about}: ", ("no", "red"))
    # What goes wrong with one task goes wrong with all, and one piece of advice is enough.
    advised: dict[tuple[str, ...], list[str]] = {}
    for wrong, *advice in result.findings:
        advised.setdefault(tuple(advice), []).append(wrong)
    return Group(head, *[Padding(_told(*one), (0, 0, 1, 4)) for one in advised.items()])


def _told(advice: tuple[str, ...], wrong: Sequence[str]) -> Table:
    section, says, do = advice
    more = [f"and {len(wrong) - _MOST} more like these"] if len(wrong) > _MOST else []
    table = Table.grid(padding=(0, 2))
    for sentence in (*wrong[:_MOST], *more):
        table.add_row(Text("wrong", "red"), Text(sentence))
    table.add_row(Text("contract", "dim"), Text(f"{says} ({_PAGE}, “{section}”)"))
    table.add_row(Text("do", "green"), Text(do))
    return table
