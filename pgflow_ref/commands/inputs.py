"""A run's input: from an argument, a file, or standard input."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from pgflow_ref.errors import NotJson
from pgflow_ref.json_contract import decode

if TYPE_CHECKING:
    from pathlib import Path

    from pgflow_ref.json_contract import Json

_NEAR = 30


def given_input(text: str | None, path: Path | None) -> Json:
    """The input that was given, read as JSON.

    Args:
        text: the argument; `-` is standard input.
        path: of a file, `-` is standard input.

    Raises:
        click.UsageError: it was given twice, or not at all.
        click.ClickException: it cannot be read, or is no JSON; it says where.
    """
    if (text is None) == (path is None):
        raise click.UsageError(
            "give the input once: as an argument in JSON, with --file, or - for standard input"
        )
    if text is not None and text != "-":
        return read_json(text, "the argument")
    if text == "-" or str(path) == "-":
        return read_json(_utf8(sys.stdin.buffer.read(), "standard input"), "standard input")
    assert path is not None
    return read_file(path)


def read_file(path: Path) -> Json:
    """The JSON value in a file.

    Raises:
        click.ClickException: it cannot be read, or is no JSON; it says where.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise click.ClickException(f"cannot read {path}: {error.strerror or error}") from None
    return read_json(_utf8(data, str(path)), str(path))


def read_json(text: str, name: str) -> Json:
    """Read JSON, and where it is none, say the line, the column, and what stands there.

    Raises:
        click.ClickException: it is no JSON.

    Example:
        >>> read_json('{"id": 7}', "the argument")
        {'id': 7}
        >>> read_json('{"id": seven}', "the argument")
        Traceback (most recent call last):
            ...
        click.exceptions.ClickException: the argument is no JSON: line 1, column 8: Expecting \
value, at 'seven}'
    """
    try:
        return decode(text)
    except NotJson as error:
        raise click.ClickException(f"{name} is no JSON: {_where(text, error)}") from None


def _where(text: str, error: NotJson) -> str:
    """What the standard library says of the place, which the contract's error leaves in words."""
    try:
        json.loads(text)
    except json.JSONDecodeError as found:
        near = text[found.pos : found.pos + _NEAR].partition("\n")[0]
        said = f"line {found.lineno}, column {found.colno}: {found.msg}"
        return f"{said}, at {near!r}" if near else f"{said}, at the end"
    except (RecursionError, ValueError):
        pass
    return error.reason.removeprefix("not JSON: ")


def _utf8(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise click.ClickException(
            f"{name} is not UTF-8: byte {error.start}, in line {line}"
        ) from None
