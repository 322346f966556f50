"""The page of the documentation that shows the control group."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from conformance.control.group import load

if TYPE_CHECKING:
    from conformance.control.group import Group

PAGE: Final = Path(__file__).parents[2] / "docs" / "control-group.md"
_ENVIRONMENT: Final = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,  # noqa: S701  # Markdown
)


def page(group: Group) -> str:
    """The page, in Markdown: the wrong workers, and the cases that each fails and passes."""
    cases = [group.cases[case] for case in group.named]
    template = _ENVIRONMENT.get_template(f"{PAGE.name}.j2")
    return template.render(
        members=group.members,
        cases=cases,
        fails={one.id: [m.name for m in group.members if one.id in m.caught_by] for one in cases},
        passes={one.id: [m.name for m in group.members if one.id in m.keeps] for one in cases},
    )


if __name__ == "__main__":
    PAGE.write_text(page(load()), encoding="utf-8")
    print(f"written: {PAGE}")  # noqa: T201  # it is a command
