"""`pgflow-conformance`: what can be done with the suite beside running it."""

from __future__ import annotations

import click

from conformance.commands.attach import attach
from conformance.commands.check_adapter import check_adapter
from conformance.commands.compare import compare
from conformance.commands.histories import histories
from conformance.commands.render import render
from conformance.commands.smoke import smoke


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Check an adapter, make reports again, and compare, of the pgflow conformance suite."""


main.add_command(attach)
main.add_command(check_adapter)
main.add_command(compare)
main.add_command(histories)
main.add_command(render)
main.add_command(smoke)
