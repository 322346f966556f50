"""Commands that make databases: installing a core, one of one's own, the demo."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from pgflow_ref.commands.output import plain_data, run_data, say_json
from pgflow_ref.commands.words import json_option

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pgflow_ref.embedded import EmbeddedPostgres


_CORE = (
    "The version of pgflow's core; or the path of a directory of migrations, of a file of SQL or "
    "of a .tgz of @pgflow/core."
)
_PGMQ = "The version of pgmq, such as 1.13.0, or the path of its pgmq.sql"
_pgmq_option = click.option(
    "--pgmq",
    metavar="VERSION or PATH",
    help=f"{_PGMQ}; else what is there, what the server offers, or 1.11.1.",
)
_force_option = click.option(
    "--force",
    is_flag=True,
    help="Install what is newer than all that is known, or is not what its checksum says: only "
    "where the database holds nothing that could be lost.",
)


@click.command()
@click.argument("url", required=False)
@click.option(
    "--core", "cores", multiple=True, default=["0.5.0"], metavar="VERSION or PATH", help=_CORE
)
@_pgmq_option
@click.option(
    "--from",
    "source",
    type=click.Path(exists=True, path_type=Path),
    help="A directory of migrations, or the .tgz of @pgflow/core, in place of fetching it.",
)
@_force_option
@click.option("--print", "printed", is_flag=True, help="Print the SQL and touch no database.")
@json_option
def install(
    *,
    url: str | None,
    cores: tuple[str, ...],
    pgmq: str | None,
    source: Path | None,
    force: bool,
    printed: bool,
    as_json: bool,
) -> None:
    """Put pgmq and pgflow's core into the database at URL.

    One transaction, which is refused where the database holds something else. A second time, it
    changes nothing.

    \b
    Examples:
        pgflow-ref install postgresql://postgres@localhost/app
        pgflow-ref install --core 0.8.1 --print > core.sql
        pgflow-ref install --core ./supabase/migrations --force postgresql://localhost/scratch
    """
    from pgflow_ref import install as installer  # loads psycopg

    if len(cores) > 1:
        raise click.UsageError(
            "a database holds one core; `pgflow-ref up --core … --core …` makes one for each"
        )
    (core,) = cores
    note = Console(stderr=True)
    if printed:
        click.echo(
            installer.script(core, source=source, pgmq=pgmq, force=force, say=note.print),
        )
        return
    if url is None:
        raise click.UsageError("give the database's URL, or --print")
    report = installer.install(url, core, source=source, pgmq=pgmq, force=force, say=note.print)
    if as_json:
        say_json(plain_data(report))
        return
    verb = "installed" if report.changed else "there already"
    click.echo(f"pgflow core {report.core} with pgmq {report.pgmq}: {verb}")
    for name in report.replaced:
        click.echo(f"  {name} is ours: the core's own does not work with this pgmq")
    for name in report.stand_ins:
        click.echo(f"  {name} is a stand-in")
    for sentence in report.notes:
        click.echo(f"  {sentence}")


@click.command()
@click.option(
    "--core",
    "cores",
    multiple=True,
    default=["0.5.0"],
    metavar="VERSION or PATH",
    help=f"{_CORE} 'none' for none. Given several times, each has a database of its own.",
)
@_pgmq_option
@click.option(
    "--force", is_flag=True, help="A core from a path also if a file is not what its checksum says."
)
@click.option("--durable", is_flag=True, help="PostgreSQL's own settings for durability.")
@json_option
def up(
    *, cores: tuple[str, ...], pgmq: str | None, force: bool, durable: bool, as_json: bool
) -> None:
    """Run a database of one's own until Ctrl-C, and print its URL.

    It is in a temporary directory, and gone afterwards.

    \b
    Examples:
        pgflow-ref up
        pgflow-ref up --core 0.8.1 --json
        pgflow-ref up --core 0.5.0 --core 0.8.1
        pgflow-ref up --core ./supabase/migrations
    """
    from pgflow_ref.embedded import EmbeddedPostgres

    note = Console(stderr=True, highlight=False)
    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    with EmbeddedPostgres(durable=durable) as server:
        for core, url in _databases(server, list(dict.fromkeys(cores)), pgmq, note, force=force):
            if as_json:
                say_json({"url": url, "server": server.version, "core": core})
            else:
                click.echo(url)
            note.print(f"PostgreSQL {server.version}, pgflow core {core}. Ctrl-C ends it.")
        done.wait()


def _databases(
    server: EmbeddedPostgres,
    cores: Sequence[str],
    pgmq: str | None,
    note: Console,
    *,
    force: bool,
) -> Iterator[tuple[str, str]]:
    """A database for each core, with its URL; where there is one core, the server's own."""
    from pgflow_ref import install as installer  # loads psycopg
    from pgflow_ref.errors import InstallRefused

    found = {core: None if core == "none" else installer.wanted(core) for core in cores}
    by_label: dict[str, str] = {}
    for core, wanted in found.items():
        if wanted is not None and wanted.altered and not force:
            raise InstallRefused(f"{wanted.altered[0]}; --force installs it all the same")
        label = wanted.label if wanted else core
        other = by_label.setdefault(label, core)
        if other != core:
            raise InstallRefused(f"{other} and {core} are both core {label}: give one of them")
    for wanted in found.values():
        label, url = wanted.label if wanted else "none", server.url()
        if len(cores) > 1:
            url = server.url(_create(url, f"pgflow_{label}"))
        if wanted is not None:  # the database is new, and nobody has anything in it
            report = installer.install(url, wanted, pgmq=pgmq, force=True, say=note.print)
            label = report.core
            for sentence in report.notes if wanted.release is None else ():
                note.print(sentence)
        yield label, url


def _create(url: str, name: str) -> str:
    """Create a database; its name."""
    import psycopg  # loads libpq
    from psycopg import sql

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return name


@click.command()
@click.option("--url", default=None, help="A database with a core; else one for the demo alone.")
@click.option(
    "--core",
    default="0.5.0",
    show_default=True,
    metavar="VERSION or PATH",
    help=f"Without --url: {_CORE}",
)
@click.option("--pgmq", metavar="VERSION or PATH", help=f"Without --url: {_PGMQ}; else 1.11.1.")
@click.option("--json", "as_json", is_flag=True, help="The run at its end as JSON; no drawing.")
def demo(*, url: str | None, core: str, pgmq: str | None, as_json: bool) -> None:
    """Run a small flow before your eyes."""
    from pgflow_ref import demo as show  # loads psycopg and asyncio

    run = show.run(url, Console(quiet=as_json), core, pgmq)
    if as_json:
        say_json(run_data(run))
    sys.exit(0 if run.status == "completed" else 1)
