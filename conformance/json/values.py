"""The JSON values of `fixtures/json/values.yaml`, as the text that is sent, and what they lose."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import jsonschema
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from conformance.harness.cases import FIXTURES, CaseError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

VALUES: Final = FIXTURES / "json" / "values.yaml"
_SCHEMA: Final = FIXTURES / "json" / "schema.json"

RECIPES: Final[Mapping[str, Callable[[], str]]] = {
    "digits": lambda: "1234567890" * 40,
    "arrays": lambda: "[" * 1_000 + "]" * 1_000,
    "objects": lambda: '{"a":' * 1_000 + "1" + "}" * 1_000,
    "elements": lambda: "[" + ",".join(map(str, range(10_000))) + "]",
    "keys": lambda: "{" + ",".join(f'"key {n}":{n}' for n in range(5_000)) + "}",
    "long": lambda: '"' + "what a server said: é 😀\\n" * 4_000 + '"',
    "text": lambda: '"' + '0123456789abcdefghijklmnopqrstuvwxyz é😀\\n\\"' * 112_000 + '"',
}
"""Values that are too large to be written down."""

REFUSED: Final = "refused"
"""What stands in the file in place of JSON where a worker takes a value for an error."""


@dataclass(frozen=True)
class Reason:
    """Why something is lost.

    Attributes:
        says: what happens to it, in a sentence.
        reference: where that is written down.
    """

    says: str
    reference: str


@dataclass(frozen=True)
class KnownLoss:
    """What a worker is known to make of a value, whatever it had become before.

    Attributes:
        becomes: JSON, or None where it is refused.
        reason: why.
    """

    becomes: str | None
    reason: Reason


@dataclass(frozen=True)
class Value:
    """A value that is sent through workers.

    Attributes:
        name: how reports call it.
        text: the value as JSON, as it is sent.
        why: what may go wrong with it.
        stored: what the database makes of it, as JSON, where that is not the same.
        lost: what is known to be lost, by worker and by the word (`start`, `work`) that loses it.
    """

    name: str
    text: str
    why: str
    stored: str | None = None
    lost: Mapping[tuple[str, str], KnownLoss] = field(default_factory=dict)


def load(path: Path = VALUES, section: str = "values") -> list[Value]:
    """Read a section of a file of values.

    Raises:
        CaseError: it is no YAML, or not of the form that its head describes.
    """
    try:
        given = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
        jsonschema.validate(given, json.loads(_SCHEMA.read_text(encoding="utf-8")))
    except (YAMLError, UnicodeDecodeError) as error:
        raise CaseError(f"{path}: {error}") from None
    except jsonschema.ValidationError as error:
        raise CaseError(f"{path}: {error.json_path}: {error.message}") from None
    reasons = {name: Reason(**one) for name, one in given["reasons"].items()}
    values = [_value(path, one, reasons) for one in given[section]]
    names = [value.name for value in values]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise CaseError(f"{path}: given twice: {', '.join(twice)}")
    return values


def _value(path: Path, given: Mapping[str, Any], reasons: Mapping[str, Reason]) -> Value:
    lost = {}
    for one in given.get("lost", ()):
        if one["reason"] not in reasons:
            raise CaseError(f"{path}: {given['name']}: there is no reason {one['reason']!r}")
        for worker in one["by"]:
            for word in one["at"]:
                becomes = None if one["as"] == REFUSED else one["as"]
                lost[worker, word] = KnownLoss(becomes, reasons[one["reason"]])
    made = given.get("made")
    if made is not None and made not in RECIPES:
        raise CaseError(f"{path}: {given['name']}: there is no recipe {made!r}")
    text = given["value"] if made is None else RECIPES[made]()
    return Value(given["name"], text, given["why"], given.get("stored"), lost)
