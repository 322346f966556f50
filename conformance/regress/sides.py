"""The two cores that are compared, as they were installed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgflow_ref.profiles import load

if TYPE_CHECKING:
    from pgflow_ref.model import Profile


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two cores.

    Attributes:
        core: as it was asked for, a version or a path.
        label: what it is called.
        profile: what the model needs to know: its own, or that of the version it is most like.
        is_known: whether that profile is its own.
        role: `base` or `candidate`, for names of databases and folders.
    """

    core: str
    label: str
    profile: Profile
    is_known: bool
    role: str

    @property
    def like(self) -> str:
        """The version whose profile it has."""
        return self.profile.core


def side(core: str, role: str) -> Side:
    """What is known of a core before it is installed.

    Raises:
        ProfileError: there is no profile of it.
    """
    return Side(core, core, load(core).profile, is_known=True, role=role)
