"""Docstrings for the site: code under "Example:" is shown as code, and "see" is a link.

In the source an example is indented code under "Example:", which reads well there. Griffe takes
that heading for a note of prose, so it is told here what is code: what begins with `>>>` it knows
itself under the heading "Examples:", all else is fenced.
"""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, Any, Final

import griffe

if TYPE_CHECKING:
    from re import Match

_EXAMPLE: Final = re.compile(r"^Example:\n((?:(?:[ ]{4}.*)?(?:\n|\Z))+)", re.MULTILINE)

_SEE: Final = re.compile(r"(?<=[Ss]ee )`(PgFlow\.\w+)`")


class Examples(griffe.Extension):
    """Rewrites each docstring as it is loaded."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Look at one module, class, function or attribute."""
        del kwargs
        if obj.docstring is not None:
            linked = _SEE.sub(r"[`\1`][pgflow_ref.\1]", obj.docstring.value)
            obj.docstring.value = _EXAMPLE.sub(_section, linked)


def _section(found: Match[str]) -> str:
    code = textwrap.dedent(found[1]).strip("\n")
    if not code.startswith(">>>"):
        code = f"```python\n{code}\n```"
    return f"Examples:\n{textwrap.indent(code, '    ')}\n\n"
