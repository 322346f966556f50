"""Arguments and options that several commands have."""

from __future__ import annotations

import importlib
import re
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import click

from pgflow_ref.flow import Flow

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., object]")
T = TypeVar("T")

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_MOST_DAYS: Final = 36_500


def reading(read: Callable[[str], T]) -> Callable[[click.Context, click.Parameter, object], object]:
    """A callback that reads a word, or each of several, and says what is wrong with it."""

    def one(ctx: click.Context, param: click.Parameter, value: object) -> T:
        try:
            return read(str(value))
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, param) from None

    def callback(ctx: click.Context, param: click.Parameter, value: object) -> object:
        if isinstance(value, tuple):
            return tuple(one(ctx, param, part) for part in value)
        return None if value is None else one(ctx, param, value)

    return callback


def find_flow(text: str) -> Flow:
    """Import the flow of `module:name`, or `path/to/file.py:name`.

    Raises:
        ValueError: the text has another form.
        click.ClickException: the module cannot be imported, or has no such flow.
    """
    if "://" in text:
        raise ValueError("this is no flow but a URL; a database is given with --url")
    module_name, _, name = text.rpartition(":")
    if not module_name or not name:
        raise ValueError(f"{text!r} is not of the form module:flow")
    path = Path(module_name)
    if path.suffix == ".py":
        sys.path.insert(0, str(path.resolve().parent))
        module_name = path.stem
    else:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # noqa: BLE001  # a module of the user's may raise anything
        raise click.ClickException(
            f"cannot import {module_name}: {type(error).__name__}: {error}"
        ) from None
    flow = getattr(module, name, None)
    if isinstance(flow, Flow):
        return flow
    flows = sorted(key for key, one in vars(module).items() if isinstance(one, Flow))
    known = f"its flows are: {', '.join(flows)}" if flows else "it has no flows"
    raise click.ClickException(f"module {module_name} has no flow {name!r}; {known}")


def find_flow_or_slug(text: str) -> Flow | str:
    """Import a flow where the text has a colon; else it is the slug of one in the database."""
    return find_flow(text) if ":" in text else text


def duration(text: str) -> timedelta:
    """Read a duration.

    Raises:
        ValueError: it is none, or longer than a hundred years.

    Example:
        >>> duration("30d"), duration("1.5h")
        (datetime.timedelta(days=30), datetime.timedelta(seconds=5400))
        >>> duration("30")
        Traceback (most recent call last):
            ...
        ValueError: '30' is no duration; it looks like 45s, 90m, 12h, 30d or 2w
    """
    found = _DURATION.fullmatch(text.strip())
    if not found:
        raise ValueError(f"{text!r} is no duration; it looks like 45s, 90m, 12h, 30d or 2w")
    seconds = float(found[1]) * _UNITS[found[2]]
    if seconds > _MOST_DAYS * _UNITS["d"]:
        raise ValueError(f"{text!r} is more than {_MOST_DAYS} days")
    return timedelta(seconds=seconds)


def instant(text: str) -> datetime:
    """Read a time with its zone.

    Raises:
        ValueError: it is none, or has no zone.

    Example:
        >>> instant("2027-01-15T08:00:00Z")
        datetime.datetime(2027, 1, 15, 8, 0, tzinfo=datetime.timezone.utc)
        >>> instant("2027-01-15T08:00:00")
        Traceback (most recent call last):
            ...
        ValueError: '2027-01-15T08:00:00' says no zone: end it with Z for UTC, or like +01:00
    """
    # Python 3.10 does not read the Z.
    written = re.sub(r"[zZ]$", "+00:00", text.strip())
    try:
        read = datetime.fromisoformat(written)
    except ValueError:
        raise ValueError(
            f"{text!r} is no time in ISO 8601; it looks like 2027-01-15T08:00:00Z"
        ) from None
    if read.utcoffset() is None:
        raise ValueError(f"{text!r} says no zone: end it with Z for UTC, or like +01:00")
    return read


def url_option(command: F) -> F:
    """The database."""
    return click.option(
        "--url",
        envvar=["PGFLOW_DATABASE_URL", "DATABASE_URL"],
        required=True,
        show_envvar=True,
        help="The database, as postgresql://user:password@host:port/name.",
    )(command)


def json_option(command: F) -> F:
    """Whether the answer is for machines."""
    return click.option("--json", "as_json", is_flag=True, help="The answer as JSON.")(command)


def prepare_option(command: F) -> F:
    """Whether statements are prepared."""
    return click.option(
        "--prepare/--no-prepare",
        default=True,
        help="Whether statements may be prepared in the server; not behind PgBouncer in "
        "transaction mode before 1.21.",
    )(command)
