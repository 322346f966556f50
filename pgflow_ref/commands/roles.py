"""The command that makes roles with no more rights than they need."""

from __future__ import annotations

import click

from pgflow_ref.commands.output import say_json
from pgflow_ref.commands.words import json_option, url_option


@click.command()
@url_option
@click.option("--installer", default="pgflow_installer", help="The role that installs.")
@click.option("--worker", default="pgflow_worker", help="The role that a worker uses.")
@click.option(
    "--flow",
    "flows",
    multiple=True,
    metavar="SLUG",
    help="A flow that the worker's role is to serve; may be given several times.  [default: all]",
)
@click.option("--starts-runs", is_flag=True, help="Let workers start runs, as handlers may want.")
@click.option("--print", "printed", is_flag=True, help="Print the SQL and change nothing.")
@json_option
def roles(  # its words
    url: str,
    installer: str,
    worker: str,
    flows: tuple[str, ...],
    starts_runs: bool,
    printed: bool,
    as_json: bool,
) -> None:
    """Make a role that installs and one that a worker uses, and grant them what they need.

    To be run again after an installation, and after each new flow. What a role has already is left
    alone, and nothing is revoked. Neither role gets a password: set one with \\password in psql.

    \b
    Examples:
        pgflow-ref roles --print
        pgflow-ref roles --worker order_worker --flow order
    """
    from pgflow_ref.install import roles as make  # loads psycopg

    found = make(
        url,
        installer=installer,
        worker=worker,
        flows=flows or None,
        starts_runs=starts_runs,
        dry_run=printed,
    )
    if as_json:
        say_json(found)
        return
    if printed:
        for statement in found.statements:
            click.echo(f"{statement};")
        return
    done = len(found.statements)
    click.echo(f"{done} statements were run" if done else "there already: nothing was run")
    if not found.has_core:
        click.echo(f"  there is no core yet, so {worker} has nothing: run this again afterwards")
    elif found.flows:
        click.echo(f"  {worker} may serve {', '.join(found.flows)}")
    else:
        click.echo(f"  there are no flows yet, so {worker} has no queue: run this again afterwards")
