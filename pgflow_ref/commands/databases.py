"""Commands that make databases: installing a core, one of one's own, the demo."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

import click
from rich.console import Console

from pgflow_ref.commands.output import plain_data, run_data, say_json
from pgflow_ref.commands.words import json_option


@click.command()
@click.argument("url", required=False)
@click.option("--core", default="0.5.0", help="The version of pgflow's core.")
@click.option(
    "--from",
    "source",
    type=click.Path(exists=True, path_type=Path),
    help="A directory of migrations, or the .tgz of @pgflow/core, in place of fetching it.",
)
@click.option("--print", "printed", is_flag=True, help="Print the SQL and touch no database.")
@json_option
def install(url: str | None, core: str, source: Path | None, printed: bool, as_json: bool) -> None:
    """Put pgmq and pgflow's core into the database at URL.

    One transaction, which is refused where the database holds something else. A second time, it
    changes nothing.

    \b
    Examples:
        pgflow-ref install postgresql://postgres@localhost/app
        pgflow-ref install --core 0.8.1 --print > core.sql
    """
    from pgflow_ref import install as installer  # loads psycopg

    note = Console(stderr=True)
    if printed:
        click.echo(installer.script(core, source=source, say=note.print))
        return
    if url is None:
        raise click.UsageError("give the database's URL, or --print")
    report = installer.install(url, core, source=source, say=note.print)
    if as_json:
        say_json(plain_data(report))
        return
    verb = "installed" if report.changed else "there already"
    click.echo(f"pgflow core {report.core} with pgmq {report.pgmq}: {verb}")
    for name in report.replaced:
        click.echo(f"  {name} is ours: the core's own does not work with this pgmq")
    for name in report.stand_ins:
        click.echo(f"  {name} is a stand-in that records events in a table")
    for sentence in report.notes:
        click.echo(f"  {sentence}")


@click.command()
@click.option("--core", default="0.5.0", help="The version of pgflow's core; 'none' for none.")
@click.option("--durable", is_flag=True, help="PostgreSQL's own settings for durability.")
@json_option
def up(core: str, durable: bool, as_json: bool) -> None:
    """Run a database of one's own until Ctrl-C, and print its URL.

    It is in a temporary directory, and gone afterwards.

    \b
    Examples:
        pgflow-ref up
        pgflow-ref up --core 0.8.1 --json
    """
    from pgflow_ref import install as installer  # loads psycopg
    from pgflow_ref.embedded import EmbeddedPostgres

    note = Console(stderr=True, highlight=False)
    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    with EmbeddedPostgres(durable=durable) as server:
        if core != "none":
            installer.install(server.url(), core, say=note.print)
        if as_json:
            say_json({"url": server.url(), "server": server.version, "core": core})
        else:
            click.echo(server.url())
        note.print(f"PostgreSQL {server.version}, pgflow core {core}. Ctrl-C ends it.")
        done.wait()


@click.command()
@click.option("--url", default=None, help="A database with a core; else one for the demo alone.")
@click.option("--json", "as_json", is_flag=True, help="The run at its end as JSON; no drawing.")
def demo(url: str | None, as_json: bool) -> None:
    """Run a small flow before your eyes."""
    from pgflow_ref import demo as show  # loads psycopg and asyncio

    run = show.run(url, Console(quiet=as_json))
    if as_json:
        say_json(run_data(run))
    sys.exit(0 if run.status == "completed" else 1)
