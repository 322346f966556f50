"""Commands about flows: in code and in the database."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from pgflow_ref.commands.inputs import read_file
from pgflow_ref.commands.output import confirmed, plain_data, say_json, show
from pgflow_ref.commands.words import find_flow, json_option, prepare_option, reading, url_option
from pgflow_ref.compile import check, compile_flow, mermaid, to_json
from pgflow_ref.drawings import flows_drawing

if TYPE_CHECKING:
    from pgflow_ref.flow import Flow

_DEFINITION: Final = ("slug", "steps", "max_attempts", "base_delay", "timeout")


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


@click.command()
@url_option
@json_option
@prepare_option
def flows(url: str, as_json: bool, prepare: bool) -> None:
    """List the flows in the database: their steps, their runs by status, their queues.

    \b
    Examples:
        pgflow-ref flows
        pgflow-ref flows --json | jq '.[] | select(.failed > 0) | .flow_slug'
    """
    from pgflow_ref import operations as ops
    from pgflow_ref.capabilities import probe
    from pgflow_ref.connection import connect, execute  # loads psycopg

    with connect(url, prepare=prepare) as connection:
        execute(connection, probe())  # says so, where there is no core
        found = execute(connection, ops.flows_overview())
        queues = {one.flow_slug: one for one in execute(connection, ops.flows_health())}
    rows = [(flow, queues[flow.flow_slug]) for flow in found if flow.flow_slug in queues]
    if as_json:
        say_json([{**_data(flow), "queue": _data(queue)} for flow, queue in rows])
    else:
        show(flows_drawing(rows))


@click.command()
@click.argument("path", metavar="FILE.json", type=click.Path(path_type=Path, allow_dash=True))
@url_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@prepare_option
def upsert(path: Path, url: str, yes: bool, as_json: bool, prepare: bool) -> None:
    """Define a flow from a file, without code: its handlers may be of any language.

    A flow of this slug that is there is deleted with all its runs; asks first.

    \b
    The file, where only slugs must be given:
        {"slug": "process_order", "max_attempts": 3, "base_delay": 1, "timeout": 60,
         "steps": [{"slug": "validate"},
                   {"slug": "charge", "deps": ["validate"], "max_attempts": 5}]}

    \b
    Examples:
        pgflow-ref upsert process_order.json
        pgflow-ref upsert process_order.json --yes --json

    Exit codes: 0 it is defined; 1 you said no; 2 it could not be tried, and nothing was changed.
    """
    from pgflow_ref.client import PgFlow  # loads psycopg

    given = read_definition(read_file(path), str(path))
    with PgFlow(url, prepare=prepare) as pgflow:
        if not yes and pgflow.flow_exists(given["slug"]):
            _ask(f"Delete flow {given['slug']!r} with all its runs, and define it anew?")
        done = pgflow.upsert_flow(given.pop("slug"), **given)
    if as_json:
        say_json(done)
    else:
        click.echo(f"flow {done.flow_slug!r}: {done.status}")


@click.command()
@click.argument("slug")
@url_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@prepare_option
def delete(slug: str, url: str, yes: bool, as_json: bool, prepare: bool) -> None:
    """Delete a flow with its definition, its runs, and its queue.

    Asks first. A flow that is not there is fine.

    \b
    Examples:
        pgflow-ref delete process_order
        pgflow-ref delete process_order --yes

    Exit codes: 0 it is gone; 1 you said no; 2 it could not be tried.
    """
    from pgflow_ref.client import PgFlow  # loads psycopg

    with PgFlow(url, prepare=prepare) as pgflow:
        if not yes:
            _ask(f"Delete flow {slug!r} with all its runs?")
        was_there = pgflow.delete_flow(slug)
    if as_json:
        say_json({"flow_slug": slug, "deleted": was_there})
    else:
        click.echo(f"flow {slug!r}: {'deleted' if was_there else 'was not there'}")


def read_definition(value: object, name: str) -> dict[str, Any]:
    """The arguments of `PgFlow.upsert_flow` that a JSON value stands for.

    Raises:
        click.ClickException: it is no object, lacks something, or has something unknown.

    Example:
        >>> read_definition({"slug": "order", "steps": [{"slug": "ship"}]}, "order.json")
        {'slug': 'order', 'steps': [{'slug': 'ship'}]}
    """
    if not isinstance(value, dict):
        raise click.ClickException(f"{name}: a flow is an object with slug and steps")
    unknown = [key for key in value if key not in _DEFINITION]
    if unknown:
        raise click.ClickException(
            f"{name}: {unknown[0]!r} is no key of a flow; those are {', '.join(_DEFINITION)}"
        )
    for key in ("slug", "steps"):
        if key not in value:
            raise click.ClickException(f"{name}: the flow has no {key}")
    return dict(value)


def _ask(question: str) -> None:
    if not confirmed(question):
        click.echo("nothing was changed", err=True)
        sys.exit(1)


def _data(value: object) -> dict[str, object]:
    data = plain_data(value)
    assert isinstance(data, dict)
    return data
