"""The cores that a run is about: each is named by a word of the command line, wherever it goes.

The word is a known version or a path (`pgflow_ref.install.wanted`). Reports and databases have its
label, conditions such as `>=0.7` its version, and the model the profile that it is most like.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import TYPE_CHECKING, Final

from pgflow_ref.install import Wanted, install, wanted, wanted_pgmq

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pgflow_ref.install import Report


_LONGEST: Final = 20  # with what the suite puts before it, on somebody's server
_BEGINNING: Final = 11


class CoreError(Exception):
    """A core cannot take part; the message says why."""


@cache
def of(core: str) -> Wanted:
    """What a word means; it is looked up once, so that it means the same for the whole run.

    Raises:
        PgflowError: nothing that can be installed.

    Example:
        >>> of("0.7.3").label
        '0.7.3'
    """
    return wanted(core)


def name_of(core: str) -> str:
    """What a core is called in the name of a database, which PostgreSQL cuts at 63 bytes.

    Example:
        >>> name_of("0.7.3")
        '0.7.3'
    """
    label = of(core).label
    if len(label) <= _LONGEST:
        return label
    return f"{label[:_BEGINNING]}-{hashlib.sha256(label.encode()).hexdigest()[:8]}"


def check(cores: Sequence[str], pgmq: str | None, *, force: bool) -> None:
    """Whether all of them can take part in one run.

    Args:
        cores: the words.
        pgmq: the pgmq that is asked for, if one is.
        force: whether files may be other than they are pinned.

    Raises:
        CoreError: two have one label, or one is not what its checksums say.
        PgflowError: there is no such core or pgmq.
    """
    if pgmq is not None:
        wanted_pgmq(pgmq)
    labels: dict[str, str] = {}
    for core in cores:
        found = of(core)
        if found.altered and not force:
            raise CoreError(f"{found.altered[0]}; --force tries it all the same")
        other = labels.setdefault(found.label, core)
        if other != core:
            raise CoreError(f"{other} and {core} are both core {found.label}: give one of them")


def put(
    url: str, core: str, pgmq: str | None = None, say: Callable[[str], None] | None = None
) -> Report:
    """Install a core in a database of the suite's own, where nobody has anything to lose.

    Raises:
        PgflowError: it cannot be had, or the server refuses it.
    """
    found = of(core)
    if say is not None and found.release is None:
        newer = ", newer than all profiles:" if found.newer else ""
        say(f"core {found.label} is pinned nowhere{newer} it is judged as {found.like}")
    return install(url, found, pgmq=pgmq, force=True, say=say)
