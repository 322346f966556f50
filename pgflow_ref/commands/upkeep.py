"""Commands of upkeep: how all is, what stalled, what is old, what to know."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import click

from pgflow_ref.commands.output import confirmed, say_json, show
from pgflow_ref.commands.words import (
    duration,
    find_flow_or_slug,
    json_option,
    prepare_option,
    reading,
    url_option,
)
from pgflow_ref.drawings import health_drawing, took

if TYPE_CHECKING:
    from datetime import timedelta

    from pgflow_ref.flow import Flow

_EXIT_CODES: Final = {"ok": 0, "degraded": 1, "down": 2}


@click.command()
@url_option
@json_option
@prepare_option
def health(url: str, as_json: bool, prepare: bool) -> None:
    """Say how the database, its workers and its queues are.

    \b
    Examples:
        pgflow-ref health
        pgflow-ref health --json | jq '.problems'

    Exit codes: 0 ok; 1 degraded: something needs looking after; 2 down: nothing can run.
    """
    from pgflow_ref.client import PgFlow  # loads psycopg

    with PgFlow(url, prepare=prepare) as pgflow:
        found = pgflow.health_check()
    if as_json:
        say_json(found)
    else:
        show(health_drawing(found))
    sys.exit(_EXIT_CODES[found.status])


@click.command()
@click.argument("flow", metavar="[FLOW]", required=False, callback=reading(find_flow_or_slug))
@url_option
@click.option(
    "--grace",
    default="30s",
    metavar="DURATION",
    callback=reading(duration),
    help="How long after its timeout a task counts as stalled.",
)
@json_option
@prepare_option
def recover(
    flow: Flow | str | None, url: str, grace: timedelta, as_json: bool, prepare: bool
) -> None:
    """Put stalled tasks back into their queues; fail those that have no attempt left.

    Workers of this library do so by themselves. FLOW is a slug or module:name; all flows without.

    \b
    Examples:
        pgflow-ref recover
        pgflow-ref recover process_order --grace 5m
    """
    from pgflow_ref.client import PgFlow  # loads psycopg

    with PgFlow(url, prepare=prepare) as pgflow:
        done = pgflow.recover_stalled_tasks(flow, grace=grace)
    if as_json:
        say_json(done)
    else:
        click.echo(f"{_count(done.requeued, 'task')} put back, {done.failed} failed")


@click.command()
@url_option
@click.option(
    "--older-than",
    required=True,
    metavar="DURATION",
    callback=reading(duration),
    help="How long the runs must have been over: 45s, 90m, 12h, 30d, 2w.",
)
@click.option(
    "--flow", metavar="FLOW", callback=reading(find_flow_or_slug), help="Runs of this flow alone."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@json_option
@prepare_option
def prune(
    url: str,
    older_than: timedelta,
    flow: Flow | str | None,
    yes: bool,
    dry_run: bool,
    as_json: bool,
    prepare: bool,
) -> None:
    """Delete runs that have been over for long, with their tasks and messages.

    Asks first. Runs that are going on are never deleted.

    \b
    Examples:
        pgflow-ref prune --older-than 30d --dry-run
        pgflow-ref prune --older-than 12h --flow process_order --yes

    Exit codes: 0 they are deleted; 1 you said no; 2 it could not be tried.
    """
    from pgflow_ref.client import PgFlow  # loads psycopg
    from pgflow_ref.connection import connect

    if dry_run:
        # They are deleted and put back: so the figures are those of the real thing.
        with (
            connect(url, prepare=prepare) as connection,
            connection.transaction(force_rollback=True),
        ):
            done = PgFlow(connection).prune_data(older_than, flow)
    else:
        whose = "of all flows" if flow is None else f"of flow {_slug(flow)!r}"
        question = f"Delete all runs {whose} that have been over for {took(older_than)}?"
        if not yes and not confirmed(question):
            click.echo("nothing was deleted", err=True)
            sys.exit(1)
        with PgFlow(url, prepare=prepare) as pgflow:
            done = pgflow.prune_data(older_than, flow)
    if as_json:
        say_json(done)
        return
    click.echo(
        f"{'would delete' if dry_run else 'deleted'} {_count(done.runs, 'run')}, "
        f"{_count(done.tasks, 'task')}, {_count(done.messages, 'message')}"
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _slug(flow: Flow | str) -> str:
    return flow if isinstance(flow, str) else flow.slug
