"""The comment that a schema gets when what is in it is pinned nowhere: what was run there.

A known version is recognised by its catalogs. Of anything else the installer writes down the label,
a checksum of the files and one of what they left, so that a second installation can tell that there
is nothing to do. Pure: texts in, texts out.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pgflow_ref.install.pins import Items

_FORM: Final = re.compile(
    r"pgflow-ref installed (?P<label>\S+): files (?P<files>\w{64}), catalog (?P<catalog>\w{64})"
)


@dataclass(frozen=True, slots=True)
class Mark:
    """What was installed in a schema.

    Attributes:
        label: what it is called.
        files: SHA-256 of what was run, in hexadecimal.
        catalog: SHA-256 of the fingerprint that this left.
    """

    label: str
    files: str
    catalog: str

    def __str__(self) -> str:
        return f"pgflow-ref installed {self.label}: files {self.files}, catalog {self.catalog}"


def read(comment: str) -> Mark | None:
    """The mark in a schema's comment, if it is one.

    Example:
        >>> read("ours"), read(str(Mark("next-1", "0" * 64, "1" * 64))).label
        (None, 'next-1')
    """
    found = _FORM.fullmatch(comment)
    return Mark(**found.groupdict()) if found else None


def digest(items: Items) -> str:
    """SHA-256 over a fingerprint, in hexadecimal; `scripting` does the same in SQL."""
    ordered = sorted((key, list(item)) for key, item in items.items())
    text = json.dumps(ordered, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
