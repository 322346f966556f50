"""What `pgflow-ref` can do, in click's words: one module for each kind of use.

What is shown is put together by pure functions (`drawings`), what is asked of the database by the
client's calls; a command reads its words, calls, and shows.
"""

from __future__ import annotations

import click

from pgflow_ref import __version__
from pgflow_ref.commands import cores, databases, definitions, doctor, roles, runs, upkeep, workers
from pgflow_ref.commands.output import ReaderGone

__all__ = ["ReaderGone", "cli"]


class _Group(click.Group):
    """A group whose commands are silent where nobody reads; click would exit with 1."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise ReaderGone from None


@click.group(
    cls=_Group,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "show_default": True,
        "max_content_width": 100,
    },
    epilog="""\b
Exit codes: 0 done; 1 what was asked for failed; 2 it could not be tried, and stderr says why.
The database is given with --url, or in PGFLOW_DATABASE_URL or DATABASE_URL.
Shell completion: eval "$(_PGFLOW_REF_COMPLETE=bash_source pgflow-ref)"  (or zsh_, fish_source)
""",
)
@click.version_option(__version__)
def cli() -> None:
    """Workflows in PostgreSQL: pgflow in Python."""


for _command in (
    workers.worker,
    runs.start,
    runs.status,
    definitions.flows,
    definitions.compile_,
    definitions.upsert,
    definitions.delete,
    upkeep.health,
    upkeep.recover,
    upkeep.prune,
    doctor.doctor,
    databases.install,
    roles.roles,
    databases.up,
    databases.demo,
    cores.core,
):
    cli.add_command(_command)
