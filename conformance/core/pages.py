"""Pages of the documentation that are generated, in Markdown."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import jinja2

DOCS: Final = Path(__file__).parents[2] / "docs"
_ENVIRONMENT: Final = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,  # noqa: S701  # Markdown
)


def render(page: Path, **values: object) -> str:
    """A page of `docs/`, from the template of its name."""
    return _ENVIRONMENT.get_template(f"{page.name}.j2").render(**values)
