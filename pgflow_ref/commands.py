"""What `pgflow-ref` can do, in click's words."""

from __future__ import annotations

import dataclasses
import importlib
import json
import logging
import signal
import sys
import threading
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding

from pgflow_ref import __version__
from pgflow_ref.compile import check, compile_flow, mermaid, to_json
from pgflow_ref.config import WorkerConfig
from pgflow_ref.flow import Flow

_DEFAULTS: Final = WorkerConfig()
_SIGNS: Final = {"+": "[green]+[/green]", "-": "[red]-[/red]", "~": "[yellow]~[/yellow]"}


def _flow(_ctx: click.Context, _param: click.Parameter, value: str) -> Flow:
    """Import the module and find the flow in it."""
    module_name, _, name = value.partition(":")
    if not module_name or not name:
        raise click.BadParameter(f"{value!r} is not of the form module:flow")
    path = Path(module_name)
    if path.suffix == ".py":
        sys.path.insert(0, str(path.resolve().parent))
        module_name = path.stem
    else:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # noqa: BLE001  # a module of the user's may raise anything
        raise click.ClickException(
            f"cannot import {module_name}: {type(error).__name__}: {error}"
        ) from None
    flow = getattr(module, name, None)
    if isinstance(flow, Flow):
        return flow
    flows = sorted(key for key, one in vars(module).items() if isinstance(one, Flow))
    known = f"its flows are: {', '.join(flows)}" if flows else "it has no flows"
    raise click.ClickException(f"module {module_name} has no flow {name!r}; {known}")


_flow_argument: Final = click.argument("flow", metavar="MODULE:FLOW", callback=_flow)
_url_option: Final = click.option(
    "--url",
    envvar=["PGFLOW_DATABASE_URL", "DATABASE_URL"],
    required=True,
    show_envvar=True,
    help="The database, as postgresql://user:password@host:port/name.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__)
def cli() -> None:
    """Workflows in PostgreSQL: pgflow in Python."""


@cli.command()
@_flow_argument
@_url_option
@click.option(
    "--max-concurrency", type=int, default=_DEFAULTS.max_concurrency, help="Tasks at once."
)
@click.option("--batch-size", type=int, default=_DEFAULTS.batch_size, help="Messages per read.")
@click.option(
    "--min-poll-interval",
    type=float,
    default=_DEFAULTS.min_poll_interval,
    help="Seconds to wait after an empty read, at least.",
)
@click.option(
    "--max-poll-interval",
    type=float,
    default=_DEFAULTS.max_poll_interval,
    help="Seconds to wait after an empty read, at most.",
)
@click.option(
    "--visibility-timeout",
    type=int,
    default=None,
    help="Seconds for which a read hides a message; else the flow's longest timeout + 2.",
)
@click.option(
    "--heartbeat-interval",
    type=float,
    default=_DEFAULTS.heartbeat_interval,
    help="Seconds between two signs of life.",
)
@click.option(
    "--stop-timeout",
    type=float,
    default=_DEFAULTS.stop_timeout,
    help="Seconds that tasks may go on after SIGTERM or Ctrl-C.",
)
@click.option("--worker-name", default=None, help="A name in pgflow.workers; else the flow's slug.")
@click.option("--no-prepare", is_flag=True, help="Prepare no statements (PgBouncer).")
def worker(flow: Flow, url: str, no_prepare: bool, **options: Any) -> None:
    """Work on the tasks of a flow until SIGTERM or Ctrl-C.

    The flow is given as module:name, or path/to/file.py:name.
    """
    from pgflow_ref.worker import Worker  # noqa: PLC0415  # loads psycopg and asyncio

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    Worker(flow, url, prepare=not no_prepare, **options).run()


@cli.command("compile")
@_flow_argument
@click.option("--json", "form", flag_value="json", help="The shape as JSON.")
@click.option("--mermaid", "form", flag_value="mermaid", help="The graph as a Mermaid drawing.")
def compile_(flow: Flow, form: str | None) -> None:
    """Print the SQL that creates a flow, for psql or a migration.

    The flow is given as module:name, or path/to/file.py:name.
    """
    check(flow.shape)
    if form == "json":
        click.echo(json.dumps(to_json(flow.shape), indent=2))
    elif form == "mermaid":
        click.echo(mermaid(flow.shape))
    else:
        click.echo("\n".join(compile_flow(flow.shape)))


@cli.command()
@click.argument("url", required=False)
@click.option("--core", default="0.5.0", help="The version of pgflow's core.")
@click.option(
    "--from",
    "source",
    type=click.Path(exists=True, path_type=Path),
    help="A directory of migrations, or the .tgz of @pgflow/core, in place of fetching it.",
)
@click.option("--print", "printed", is_flag=True, help="Print the SQL and touch no database.")
def install(url: str | None, core: str, source: Path | None, printed: bool) -> None:
    """Put pgmq and pgflow's core into the database at URL.

    One transaction, which is refused where the database holds something else. A second time, it
    changes nothing.
    """
    from pgflow_ref import install as installer  # noqa: PLC0415  # loads psycopg

    note = Console(stderr=True)
    if printed:
        click.echo(installer.script(core, source=source, say=note.print))
        return
    if url is None:
        raise click.UsageError("give the database's URL, or --print")
    report = installer.install(url, core, source=source, say=note.print)
    verb = "installed" if report.changed else "there already"
    click.echo(f"pgflow core {report.core} with pgmq {report.pgmq}: {verb}")
    for name in report.replaced:
        click.echo(f"  {name} is ours: the core's own does not work with this pgmq")
    for name in report.stand_ins:
        click.echo(f"  {name} is a stand-in that records events in a table")
    for sentence in report.notes:
        click.echo(f"  {sentence}")


@cli.command()
@click.option("--core", default="0.5.0", help="The version of pgflow's core; 'none' for none.")
@click.option("--durable", is_flag=True, help="PostgreSQL's own settings for durability.")
def up(core: str, durable: bool) -> None:
    """Run a database of one's own until Ctrl-C, and print its URL.

    It is in a temporary directory, and gone afterwards.
    """
    from pgflow_ref import install as installer  # noqa: PLC0415  # loads psycopg
    from pgflow_ref.embedded import EmbeddedPostgres  # noqa: PLC0415

    note = Console(stderr=True, highlight=False)
    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    with EmbeddedPostgres(durable=durable) as server:
        if core != "none":
            installer.install(server.url(), core, say=note.print)
        click.echo(server.url())
        note.print(f"PostgreSQL {server.version}, pgflow core {core}. Ctrl-C ends it.")
        done.wait()


@cli.command()
@click.option("--url", default=None, help="A database with a core; else one for the demo alone.")
def demo(url: str | None) -> None:
    """Run a small flow before your eyes."""
    from pgflow_ref import demo as show  # noqa: PLC0415  # loads psycopg and asyncio

    sys.exit(show.run(url, Console()))


@cli.group()
def core() -> None:
    """What the versions of pgflow's core do."""


@core.command("diff")
@click.argument("base")
@click.argument("candidate")
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
def diff(base: str, candidate: str, as_json: bool) -> None:
    """What changed from one version of the core to another, for whom, and where."""
    from pgflow_ref import profiles  # noqa: PLC0415  # takes tomli on Python 3.10
    from pgflow_ref.install import pins  # noqa: PLC0415  # loads psycopg

    found = profiles.changes(base, candidate)
    schema = pins.changes(base, candidate)
    if as_json:
        click.echo(json.dumps({**dataclasses.asdict(found), "schema": schema}, indent=2))
        return
    console = Console(highlight=False, emoji=False)
    console.print(f"[bold]pgflow core {base} to {candidate}[/bold]")
    for concern in profiles.CONCERNS:
        begins = [entry for entry in found.begins if entry.concerns == concern]
        ends = [ending for ending in found.ends if ending.entry.concerns == concern]
        if begins or ends:
            console.print(f"\n[bold]For {concern}[/bold]")
        for entry in begins:
            _say(console, "+", entry.name, f"{entry.says} {entry.means}", entry.where)
        for ending in ends:
            said = f"{ending.says} (Before: {ending.entry.says})"
            _say(console, "-", ending.entry.name, said, ending.where)
    if schema:
        console.print("\n[bold]For the schema[/bold]")
    for sign, what in schema:
        console.print(f"  {_SIGNS[sign]} {escape(what)}")
    if not (found.begins or found.ends or schema):
        console.print("Nothing that this project knows of.")


def _say(console: Console, sign: str, name: str, text: str, where: str) -> None:
    console.print(f"  {_SIGNS[sign]} [bold]{name}[/bold]")
    console.print(Padding(escape(text), (0, 0, 0, 4)))
    console.print(Padding(f"[dim]{escape(where)}[/dim]", (0, 0, 0, 4)))
