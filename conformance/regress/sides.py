"""The two cores that are compared: what was asked for, and what is known of it before it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance.harness import cores
from conformance.regress.findings import CannotRun
from pgflow_ref.install import pins, sources
from pgflow_ref.profiles import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgflow_ref.install import Wanted
    from pgflow_ref.install.sources import SqlFile
    from pgflow_ref.model import Profile


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two cores.

    Attributes:
        core: as it was asked for, a version or a path.
        wanted: what that means.
        profile: what the model needs to know: its own, or that of the version it is most like.
        role: `base` or `candidate`, for names of databases and folders.
    """

    core: str
    wanted: Wanted
    profile: Profile
    role: str

    @property
    def label(self) -> str:
        """What it is called."""
        return self.wanted.label

    @property
    def is_known(self) -> bool:
        """Whether the profile is its own."""
        return self.wanted.release is not None

    @property
    def like(self) -> str:
        """The version whose profile it has."""
        return self.profile.core

    @property
    def files(self) -> tuple[SqlFile, ...]:
        """Its migrations, in order.

        Raises:
            SourceError: those of a known version cannot be had.
        """
        if self.wanted.files:
            return self.wanted.files
        return sources.core_files(pins.load().releases[self.like].files)


def side(core: str, role: str = "base", *, force: bool = False) -> Side:
    """What is known of a core before it is installed.

    Args:
        core: a version or a path.
        role: `base` or `candidate`.
        force: whether files may be other than they are pinned.

    Raises:
        CannotRun: a file is not what its checksum says.
        PgflowError: it is no core that can be installed, or there is no profile of it.

    Example:
        >>> one = side("0.7.3")
        >>> one.label, one.like, one.is_known
        ('0.7.3', '0.7.3', True)
    """
    found = cores.of(core)
    if found.altered and not force:
        raise CannotRun(f"{found.altered[0]}; --force tries it all the same")
    return Side(core, found, load(found.like).profile, role)


def pair(base: str, candidate: str, *, force: bool = False) -> tuple[Side, Side]:
    """Both sides.

    Args:
        base: a core, a version or a path.
        candidate: another.
        force: as for `side`.

    Raises:
        CannotRun: a file is not what its checksum says, or nobody could tell the two apart.
        PgflowError: one is no core that can be installed.
    """
    old, new = side(base, "base", force=force), side(candidate, "candidate", force=force)
    if old.label == new.label and not old.is_known and old.wanted.digest != new.wanted.digest:
        raise CannotRun(
            f"{base} and {candidate} both say to be core {old.label} and are not the same: give"
            " one of them another version in its package.json"
        )
    return old, new


def distinct(base: Side, candidate: Side) -> tuple[Side, ...]:
    """Both, or the one that both are."""
    return (base,) if base.label == candidate.label else (base, candidate)


def lacking(base: Sequence[SqlFile], candidate: Sequence[SqlFile]) -> tuple[SqlFile, ...] | None:
    """The migrations that lead from one core to the other; None where none do.

    Example:
        >>> from pgflow_ref.install.sources import SqlFile
        >>> old, new = SqlFile("1.sql", ""), SqlFile("2.sql", "")
        >>> lacking([old], [old, new]), lacking([old, new], [old])
        ((SqlFile(name='2.sql', text=''),), None)
    """
    count = len(base)
    if [file.name for file in candidate[:count]] != [file.name for file in base]:
        return None
    return tuple(candidate[count:])


def edited(base: Sequence[SqlFile], candidate: Sequence[SqlFile]) -> tuple[str, ...]:
    """The migrations of one name that say something else in the candidate.

    Example:
        >>> from pgflow_ref.install.sources import SqlFile
        >>> edited([SqlFile("1.sql", "a")], [SqlFile("1.sql", "b"), SqlFile("2.sql", "c")])
        ('1.sql',)
    """
    texts = {file.name: file.text for file in candidate}
    return tuple(file.name for file in base if texts.get(file.name, file.text) != file.text)
