"""Commands about flows: in code and in the database."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from pgflow_ref.commands.words import find_flow, reading
from pgflow_ref.compile import check, compile_flow, mermaid, to_json

if TYPE_CHECKING:
    from pgflow_ref.flow import Flow


@click.command("compile")
@click.argument("flow", metavar="MODULE:FLOW", callback=reading(find_flow))
@click.option("--json", "form", flag_value="json", help="The shape as JSON.")
@click.option("--mermaid", "form", flag_value="mermaid", help="The graph as a Mermaid drawing.")
def compile_(flow: Flow, form: str | None) -> None:
    """Print the SQL that creates a flow, for psql or a migration.

    The flow is given as module:name, or path/to/file.py:name.

    \b
    Examples:
        pgflow-ref compile shop.flows:process_order | psql "$DATABASE_URL"
        pgflow-ref compile flows.py:order --mermaid
    """
    check(flow.shape)
    if form == "json":
        click.echo(json.dumps(to_json(flow.shape), indent=2))
    elif form == "mermaid":
        click.echo(mermaid(flow.shape))
    else:
        click.echo("\n".join(compile_flow(flow.shape)))
