"""Docstrings of what is public: what it is, in which unit, what it raises, and an example."""

from __future__ import annotations

import inspect
import re
import textwrap
from dataclasses import is_dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import griffe
import pytest

import pgflow_ref
from pgflow_ref import errors, logs, opentelemetry, testing
from tests.pages import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

TIMES = re.compile(
    r"timeout|delay|seconds|grace|older_than|interval|throttle|duration|silent_for|oldest_message"
)
UNITS = re.compile(r"\bseconds?\b|\btimedelta\b|\b[0-9]+ s\b")


def public() -> Iterator[tuple[str, Any]]:
    """All that is public, by its dotted name: classes, and their own and inherited members."""
    for module in (pgflow_ref, logs, opentelemetry, testing):
        for name in names_of(module):
            value = getattr(module, name)
            if getattr(value, "_is_protocol", False):
                continue  # what is asked of something of the reader's own
            if isinstance(value, type):
                yield f"{module.__name__}.{name}", value
                for member, found in members(value):
                    if not member.startswith("_") and is_ours(value, member):
                        yield f"{module.__name__}.{name}.{member}", found
            elif callable(value):
                yield f"{module.__name__}.{name}", value


def names_of(module: ModuleType) -> list[str]:
    """What a module calls public, or what it defines without an underscore."""
    defined = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
    ]
    return list(getattr(module, "__all__", defined))


def members(owner: type) -> Iterator[tuple[str, Any]]:
    seen: dict[str, Any] = {}
    for base in reversed(owner.__mro__):
        seen.update(vars(base))
    yield from seen.items()


def is_ours(owner: type, member: str) -> bool:
    home = next(base for base in owner.__mro__ if member in vars(base))
    value = vars(home)[member]
    return home.__module__.startswith("pgflow_ref") and (
        inspect.isfunction(value) or isinstance(value, (property, classmethod, staticmethod))
    )


PUBLIC = dict(public())
CALLABLE = {name: value for name, value in PUBLIC.items() if not isinstance(value, property)}


def sections(value: Any) -> dict[str, Any]:
    """The parts of a docstring; where it says "see `Other`", also those of that one."""
    text = inspect.cleandoc(value.__doc__ or "")
    parsed = griffe.Docstring(text.replace("\nExample:\n", "\nExamples:\n"), parser="google").parse(
        warnings=False
    )
    found: dict[str, Any] = {section.kind.value: section.value for section in parsed}
    other = re.search(r"\b(?:[Ss]ee|[Aa]s) `([\w.]+)`", text)
    if other and (name := resolved(other[1], value)):
        found = {**sections(PUBLIC[name]), **found}
    return found


def resolved(name: str, value: Any) -> str | None:
    """The dotted name of what a docstring points at: its own class's, or anybody's."""
    owner = getattr(value, "__qualname__", "").rpartition(".")[0]
    ends = (f".{owner}.{name}", f".{name}")
    return next((one for end in ends for one in PUBLIC if one.endswith(end)), None)


def parameters(value: Any) -> list[str]:
    function = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
    if isinstance(value, type) and (is_dataclass(value) or issubclass(value, (Enum, tuple))):
        return []  # its fields are attributes
    found = inspect.signature(function).parameters.values()
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return [one.name for one in found if one.name not in ("self", "cls") and one.kind not in kinds]


@pytest.mark.parametrize("name", PUBLIC)
def test_it_says_what_it_is(name: str) -> None:
    first = inspect.cleandoc(PUBLIC[name].__doc__ or "").partition("\n\n")[0]
    assert first, f"{name} has no docstring"
    assert first.endswith((".", ":", "!")), f"{name}: {first!r}"


@pytest.mark.parametrize("name", CALLABLE)
def test_it_shows_an_example(name: str) -> None:
    assert "examples" in sections(CALLABLE[name]), f"{name} shows no example"


@pytest.mark.parametrize("name", PUBLIC)
def test_times_have_a_unit(name: str) -> None:
    """Where a time is spoken of, seconds are too; a class may say it once for all."""
    value = PUBLIC[name]
    text = value.__doc__ or ""
    said = sections(value)
    described = [
        *(said.get("parameters") or ()),
        *(said.get("attributes") or ()),
    ]
    for one in described:
        if TIMES.search(one.name):
            whole = "All times are seconds" in text
            assert whole or UNITS.search(one.description) or "as for" in one.description, (
                f"{name}({one.name}): {one.description}"
            )


@pytest.mark.parametrize("name", CALLABLE)
def test_its_parameters_are_explained(name: str) -> None:
    """One that is not has a name that says it all: a flow, a run's id."""
    value = CALLABLE[name]
    explained = {one.name for one in sections(value).get("parameters", ())}
    if isinstance(value, type) and issubclass(value, BaseException):
        return  # raised by the library; what it holds are attributes
    obvious = {"flow", "run_id", "step", "event", "other"}
    missing = [one for one in parameters(value) if one not in explained | obvious]
    assert missing == [], f"{name} does not explain {missing}"


@pytest.mark.parametrize("name", CALLABLE)
def test_examples_are_code(name: str) -> None:
    """Those with `>>>` are run by doctest; of the others, at least the words are Python."""
    docstring = inspect.cleandoc(CALLABLE[name].__doc__ or "")
    for example in re.findall(r"^Example:\n((?:    .*\n?|\n)+)", docstring, re.MULTILINE):
        code = textwrap.dedent(example)
        if not code.startswith(">>>"):
            compile(f"async def example():\n{textwrap.indent(code, ' ')}", name, "exec")


def test_the_reference_has_all_that_is_public() -> None:
    page = (ROOT / "docs/reference/api.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"^::: pgflow_ref\.(\w+)$", page, re.MULTILINE))
    assert "errors" in shown
    assert set(pgflow_ref.__all__) <= shown | vars(errors).keys()
    assert all(hasattr(pgflow_ref, name) for name in shown & set(pgflow_ref.__all__))


def test_the_public_surface_is_all() -> None:
    loaded = {
        name
        for name, value in vars(pgflow_ref).items()
        if not name.startswith("_") and not inspect.ismodule(value) and isinstance(value, type)
    }
    assert loaded <= set(pgflow_ref.__all__)
