"""Streams of results as arguments of commands."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from conformance.harness.fields import MalformedLine
from conformance.harness.outputs import STREAM as NAME
from conformance.harness.records import read_records
from conformance.harness.run import Run

STREAM: Final = click.Path(exists=True, readable=True, path_type=Path)
"""A stream, or the folder of a run that has one."""


class CannotRead(click.ClickException):
    """A stream that is none; exit code 2."""

    exit_code = 2


def file_of(stream: Path) -> Path:
    """The stream itself, where the folder that holds it is given."""
    return stream / NAME if stream.is_dir() else stream


def read_run(stream: Path) -> Run:
    """Read a stream.

    Raises:
        CannotRead: it is not there, or a line of it cannot be read.
    """
    path = file_of(stream)
    try:
        return Run.of(read_records(path))
    except (MalformedLine, OSError) as error:
        raise CannotRead(f"{path}: {error}") from None
