"""The contract's page, its schema, and what the suite and the adapters really write."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from conformance.compile.test_compile import ANY_GRAPH
from conformance.harness import contract
from conformance.harness.adapters import WORKERS, Adapter, find, prepare
from conformance.harness.cases import FIXTURES, load_all
from conformance.harness.contract import Form, mistake
from conformance.harness.databases import Database
from conformance.harness.processes import environment
from conformance.harness.stage import Stage
from conformance.harness.trial import Trial
from conformance.harness.words import run_word

if TYPE_CHECKING:
    from pathlib import Path

PAGE = (contract.SCHEMA.parent / "CONTRACT.md").read_text(encoding="utf-8")
SCHEMA: dict[str, Any] = json.loads(contract.SCHEMA.read_text(encoding="utf-8"))
CASES = [
    case
    for path in sorted((FIXTURES / "cases").iterdir())
    if path.suffix == ".yaml" or path.is_dir()
    for case in load_all(path)
]
ADAPTERS = sorted(path.parent.name for path in WORKERS.glob("*/adapter.toml"))
EXAMPLES = re.findall(r"^```json\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_the_schema_is_one_and_has_a_definition_for_each_form() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    forms = {"fixture", "line", "hello", "ready", "call", "stopped", "started", "statements"}
    assert forms <= SCHEMA["$defs"].keys()
    assert f"version {contract.VERSION}.{contract.MINOR}" in SCHEMA["title"]
    version = f"{contract.VERSION}.{contract.MINOR}"
    assert f"Version of the contract: **{version}**, frozen" in PAGE


def test_the_examples_of_the_page_are_of_the_forms_that_it_describes() -> None:
    fixture, lines, started = EXAMPLES
    assert mistake("fixture", json.loads(fixture)) is None
    kinds = []
    for line in map(json.loads, lines.splitlines()):
        assert mistake("line", line) is None
        kinds.append(line["type"])
    assert kinds == ["hello", "ready", "call", "stopped"]
    assert mistake("started", json.loads(started)) is None
    for example in map(json.loads, [fixture, *lines.splitlines(), started]):
        jsonschema.validate(example, SCHEMA)


def test_the_page_tells_of_every_key_and_every_instruction() -> None:
    definitions = SCHEMA["$defs"]
    names = {
        key
        for form in ("fixture", "flow", "step", "worker", "hello", "ready", "call", "started")
        for key in definitions[form].get("properties", {})
    }
    names |= {one["required"][0] for one in definitions["instruction"]["oneOf"]}
    assert {name for name in names if not re.search(rf'[`"]{name}[`"]', PAGE)} == set()


def test_the_schema_of_cases_takes_the_fixtures_form_from_the_contract() -> None:
    cases = json.loads(contract.CASES.read_text(encoding="utf-8"))
    shared = {"flow", "step", "instruction", "path", "worker", "seconds"}
    assert not shared & cases["$defs"].keys()
    assert cases["items"]["properties"]["flow"]["$ref"].endswith("#/$defs/flow")
    place = cases["items"]["properties"]["flow"]["$ref"].partition("#")[0]
    assert (contract.CASES.parent / place).resolve() == contract.SCHEMA


@pytest.mark.parametrize("case", [*CASES, ANY_GRAPH], ids=lambda case: case.id)
def test_the_fixtures_that_the_suite_writes_are_of_the_form(case: Any, tmp_path: Path) -> None:
    with ExitStack() as stack:
        adapters = [find("python")]
        stage = Stage(case, adapters, Database("postgresql://nowhere"), tmp_path, 1, stack)
        written = json.loads(stage._fixture("python-2").read_text(encoding="utf-8"))
    if "compile" not in case.id:  # those have no handlers, and are never given to a worker
        assert mistake("fixture", written) is None
    copy = shell(f'cp "$PGFLOW_FIXTURE" {tmp_path}/copy; echo "[]"')
    if case.shape.steps:
        Trial(case, [copy], tmp_path).compiled(copy, case.shape)
        assert mistake("fixture", json.loads((tmp_path / "copy").read_text("utf-8"))) is None


def shell(script: str) -> Adapter:
    return Adapter("sh", "sh", ("sh", "-c", script))


@pytest.mark.parametrize("name", ADAPTERS)
def test_adapters_introduce_themselves(name: str, tmp_path: Path) -> None:
    adapter = find(name)
    prepare(adapter)
    (line,) = run_word(adapter, "hello", environment(None, tmp_path / "none")).splitlines()
    assert mistake("hello", json.loads(line)) is None


HELLO = json.loads(EXAMPLES[1].splitlines()[0])
CALL = json.loads(EXAMPLES[1].splitlines()[2])


def without(value: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: one for name, one in value.items() if name != key}


WRONG: list[tuple[Form, object, str]] = [
    ("hello", {**HELLO, "contract": 2}, "contract"),
    ("hello", {**HELLO, "contract": "1"}, "contract"),
    ("hello", {**HELLO, "handler_input": "both"}, "handler_input"),
    ("hello", {**HELLO, "capabilities": "map_steps"}, "capabilities"),
    ("hello", {**HELLO, "capabilities": ["Map steps"]}, "capabilities"),
    *[("hello", without(HELLO, key), key) for key in HELLO if key != "capabilities"],
    *[("call", without(CALL, key), key) for key in CALL],
    ("call", {**CALL, "task_index": -1}, "task_index"),
    ("call", {**CALL, "task_index": True}, "task_index"),
    ("call", {**CALL, "attempt": 0}, "attempt"),
    ("call", {**CALL, "run_id": None}, "run_id"),
    ("ready", {"type": "ready"}, "worker_id"),
    ("ready", {"type": "ready", "worker_id": 1}, "worker_id"),
    ("line", {"type": "noise"}, "noise"),
    ("line", {"type": "ready"}, "worker_id"),
    ("line", [], "object"),
    ("started", {"run_id": 7}, "run_id"),
    ("started", "7", "object"),
    ("statements", ["SELECT 1", 2], "2"),
    ("statements", {}, "array"),
    ("fixture", {}, "flow"),
    ("fixture", {"flow": {"slug": "a", "steps": [{"slug": "b"}]}}, "handler"),
    ("fixture", {"flow": {"slug": "a", "steps": []}, "worker": {"speed": 1}}, "speed"),
]


@pytest.mark.parametrize(("form", "value", "words"), WRONG)
def test_what_is_not_of_the_form_is_named(form: Form, value: object, words: str) -> None:
    assert words in (mistake(form, value) or "")


@pytest.mark.parametrize(
    ("form", "value"),
    [
        ("hello", without(HELLO, "capabilities")),
        ("hello", {**HELLO, "license": "MIT", "capabilities": []}),
        ("call", {**CALL, "attempt": None, "input": None, "lane": 1}),
        ("stopped", {"type": "stopped", "tasks": 3}),
        ("statements", []),
    ],
)
def test_what_later_versions_may_add_is_read_over(form: Form, value: object) -> None:
    assert mistake(form, value) is None
