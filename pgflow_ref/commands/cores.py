"""Commands about the versions of pgflow's core."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from pgflow_ref.commands.output import show
from pgflow_ref.commands.words import json_option

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pgflow_ref.profiles import Changes

_SIGNS: Final = {"+": "green", "-": "red", "~": "yellow"}


@click.group()
def core() -> None:
    """What the versions of pgflow's core do."""


@core.command("diff")
@click.argument("base")
@click.argument("candidate")
@json_option
def diff(base: str, candidate: str, as_json: bool) -> None:
    """What changed from one version of the core to another, for whom, and where.

    It is what is known of released versions. A core from a path is compared by running it:
    scripts/regress in the repository of this project.

    \b
    Example:
        pgflow-ref core diff 0.5.0 0.8.1
    """
    from pgflow_ref import profiles  # takes tomli on Python 3.10
    from pgflow_ref.install import pins  # loads psycopg

    found = profiles.changes(base, candidate)
    schema = pins.changes(base, candidate)
    if as_json:
        click.echo(json.dumps({**dataclasses.asdict(found), "schema": schema}, indent=2))
        return
    show(Text(f"pgflow core {base} to {candidate}", "bold"), *_behaviours(found))
    if schema:
        show(Text("\nFor the schema", "bold"))
    for sign, what in schema:
        show(Text.assemble("  ", (sign, _SIGNS[sign]), f" {what}"))
    if not (found.begins or found.ends or schema):
        show("Nothing that this project knows of.")


@core.command("files")
@click.argument("version")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def files(version: str, folder: Path) -> None:
    """Write the migrations of a known version into a new or empty FOLDER.

    With a migration of one's own beside them they are the next version: whatever takes --core takes
    the folder.

    \b
    Example:
        pgflow-ref core files 0.8.1 next
    """
    from pgflow_ref.install import core_files  # loads psycopg

    written = core_files(version, say=Console(stderr=True).print)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise click.UsageError(f"{folder} is not empty; give a new folder")
        for file in written:
            (folder / file.name).write_bytes(file.text.encode())
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from error
    click.echo(f"{folder} has the {len(written)} migrations of pgflow core {version}")


def _behaviours(found: Changes) -> list[RenderableType]:
    from pgflow_ref.profiles import CONCERNS  # as above

    drawn: list[RenderableType] = []
    for concern in CONCERNS:
        begins = [entry for entry in found.begins if entry.concerns == concern]
        ends = [ending for ending in found.ends if ending.entry.concerns == concern]
        if begins or ends:
            drawn.append(Text(f"\nFor {concern}", "bold"))
        for entry in begins:
            drawn += _change("+", entry.name, f"{entry.says} {entry.means}", entry.where)
        for ending in ends:
            said = f"{ending.says} (Before: {ending.entry.says})"
            drawn += _change("-", ending.entry.name, said, ending.where)
    return drawn


def _change(sign: str, name: str, text: str, where: str) -> list[RenderableType]:
    return [
        Text.assemble("  ", (sign, _SIGNS[sign]), " ", (name, "bold")),
        Padding(Text(text), (0, 0, 0, 4)),
        Padding(Text(where, "dim"), (0, 0, 0, 4)),
    ]
