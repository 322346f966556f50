"""The command that says what a database can do, and what of its core a worker should know."""

from __future__ import annotations

import click

from pgflow_ref.commands.output import say_json, show
from pgflow_ref.commands.words import json_option, prepare_option, url_option
from pgflow_ref.drawings import doctor_drawing


@click.command()
@url_option
@json_option
@prepare_option
def doctor(url: str, as_json: bool, prepare: bool) -> None:
    """Say what the database can do, which defects its core has, and what a worker does about them.

    \b
    Examples:
        pgflow-ref doctor
        pgflow-ref doctor --json | jq -r '.defects[].name'
    """
    from pgflow_ref import operations as ops
    from pgflow_ref.capabilities import probe
    from pgflow_ref.connection import connect, execute  # loads psycopg
    from pgflow_ref.errors import PrivilegeMissing
    from pgflow_ref.profiles import load  # takes tomli on Python 3.10
    from pgflow_ref.remedies import Findings, defects

    with connect(url, prepare=prepare) as connection:
        server = execute(connection, ops.server_version())
        core = execute(connection, probe())
        try:
            flows = execute(connection, ops.flow_slugs())
        except PrivilegeMissing:  # then none of them is known
            flows = ()
        lacking = tuple(one.words for one in execute(connection, ops.missing_grants(flows)))
    found = Findings(server, core, defects(load(core.core)), lacking)
    if as_json:
        say_json(found)
    else:
        show(doctor_drawing(found))
