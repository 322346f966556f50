"""The forms that the contract knows, from `conformance/contract.schema.json`.

They are written down there and nowhere else; the schema of case files refers to them.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from referencing import Registry, Resource

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

VERSION: Final = 1
"""What `PGFLOW_CONTRACT` says, and `contract` in `hello`: the number before the point."""

MINOR: Final = 1
"""The number after the point: what was added since 1.0 is listed at the end of `CONTRACT.md`."""

SCHEMA: Final = Path(__file__).parent.parent / "contract.schema.json"
CASES: Final = SCHEMA.parents[1] / "fixtures" / "cases" / "schema.json"
_FROM_CASES: Final = "../../conformance/contract.schema.json"  # as the schema of cases names it

Form = Literal["fixture", "line", "hello", "ready", "call", "stopped", "started", "statements"]


def mistake(form: Form, value: object) -> str | None:
    """What is wrong with a value that should have this form, or None.

    Example:
        >>> mistake("ready", {"type": "ready", "worker_id": 7})
        "$.worker_id: 7 is not of type 'string'"
    """
    found = best_match(_validator(form).iter_errors(value))
    return None if found is None else f"{found.json_path}: {found.message[:300]}"


@cache
def validator_of_cases() -> Draft202012Validator:
    """What checks a file of cases."""
    return Draft202012Validator(_read(CASES), registry=_registry())


@cache
def _validator(form: Form) -> Draft202012Validator:
    wanted = {"$ref": f"{_FROM_CASES}#/$defs/{form}"}
    return Draft202012Validator(wanted, registry=_registry())


@cache
def _registry() -> Registry[bool | Mapping[str, Any]]:
    resource: Resource[bool | Mapping[str, Any]] = Resource.from_contents(_read(SCHEMA))
    registry: Registry[bool | Mapping[str, Any]] = Registry()
    filled: Registry[bool | Mapping[str, Any]] = registry.with_resource(_FROM_CASES, resource)
    return filled


def _read(path: Path) -> Mapping[str, Any]:
    schema: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return schema
