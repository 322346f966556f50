"""Write `docs/core-behaviour.md`: what the versions of the core do, with a script for each.

python -m conformance.core.document            write it
python -m conformance.core.document --check    say whether it would change (exit code 1)
"""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from conformance.core import examples
from conformance.core.pages import DOCS, render
from pgflow_ref.install import pins
from pgflow_ref.profiles import Ending, Entry, changes, known, load

if TYPE_CHECKING:
    from pgflow_ref.model import Behaviour

PAGE: Final = DOCS / "core-behaviour.md"


def page() -> str:
    """The page, in Markdown."""
    versions = known()
    newest = load(versions[-1])
    found: dict[Behaviour, Entry | Ending] = {**newest.endings, **newest.entries}
    return render(
        PAGE,
        versions=versions,
        surprises=[_told(one) for _, one in sorted(found.items()) if _entry(one).surprising],
        rules=[_told(one) for _, one in sorted(found.items()) if not _entry(one).surprising],
        steps=[(b, c, changes(b, c), pins.changes(b, c)) for b, c in pairwise(versions)],
    )


def _entry(one: Entry | Ending) -> Entry:
    return one.entry if isinstance(one, Ending) else one


def _told(one: Entry | Ending) -> dict[str, object]:
    """A behaviour, where it holds, and the script that shows it on the first version with it."""
    entry = _entry(one)
    ending = one if isinstance(one, Ending) else None
    return {
        "entry": entry,
        "ending": ending,
        "holds": [core for core in known() if entry.name in load(core).profile.behaviours],
        "script": examples.script(
            examples.examples(entry.since)[entry.name], load(entry.since).profile
        ),
    }


def main() -> int:
    """The command."""
    text = page()
    if "--check" in sys.argv[1:]:
        return int(PAGE.read_text(encoding="utf-8") != text)
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
