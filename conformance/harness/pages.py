"""The template engine as all pages of the suite use it: strict, and never trusting a text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from conformance.harness.records import printable

if TYPE_CHECKING:
    from collections.abc import Callable

TEMPLATES: Final = Path(__file__).parent / "templates"


class _Loader(FileSystemLoader):
    """Loads templates without their indentation, which is a third of a large page."""

    def get_source(
        self, environment: Environment, template: str
    ) -> tuple[str, str, Callable[[], bool]]:
        source, name, fresh = super().get_source(environment, template)
        return re.sub("^[ \t]+", "", source, flags=re.MULTILINE), name, fresh


def environment(
    finalize: Callable[[str], str] | None = None, folder: Path = TEMPLATES
) -> Environment:
    """Make one; `finalize` is what is done to every text, in place of escaping it for HTML."""

    def shown(value: object) -> object:
        if not isinstance(value, str) or isinstance(value, Markup):
            return value
        return finalize(value) if finalize else printable(value)

    made = Environment(
        loader=_Loader([folder, TEMPLATES]),
        autoescape=finalize is None,  # noqa: S701 (what is no HTML is escaped by `finalize`)
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=shown,
    )
    made.filters["number"] = lambda value: f"{value:,}"
    return made
