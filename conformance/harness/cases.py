"""Cases are data: a flow, what is done with it, what is expected, and which promise that checks.

The files are below `fixtures/cases`; their form is written down in `fixtures/cases/schema.json`,
and what the acts mean in `conformance/CASES.md`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from conformance.harness.contract import validator_of_cases
from conformance.harness.invariants import INVARIANTS
from pgflow_ref.compile import compile_flow, from_json
from pgflow_ref.errors import InvalidFlow, NotJson
from pgflow_ref.json_contract import encode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgflow_ref.shape import FlowShape

FIXTURES: Final = Path(__file__).parent.parent.parent / "fixtures"
DEFAULT_WITHIN: Final = 20.0

USUAL: Final[tuple[Mapping[str, Any], ...]] = (
    {"start": "harness"},
    {"work": "first"},
    {"wait": "over"},
    {"stop": "all"},
)
"""The acts of a case that gives none."""

TOGETHER: Final[tuple[Mapping[str, Any], ...]] = (
    {"start": "all"},
    {"hide": True},
    {"work": "all"},
    {"show": True},
    {"wait": "over"},
    {"stop": "all"},
)
"""The same of a mixed fleet. Messages are hidden until all are there: else who starts faster has
done most before."""


class CaseError(Exception):
    """A file of cases is wrong; the message names file and line."""


@dataclass(frozen=True)
class RunOf:
    """One run of a case: its input, and what is expected of it.

    Attributes:
        input: the run's input.
        expect: `status`, `output`, `events`, and `steps`: by slug what is expected of the step and
            its tasks. `conformance/CASES.md` lists it all.
    """

    input: Any
    expect: Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """One case.

    Attributes:
        id: its name, which never changes; what stands before the first point is its group.
        promise: the sentence that it checks.
        reference: where the promise is made.
        flow: the flow of the fixture, with instructions.
        worker: the worker's options.
        roles: what a role's worker has beyond those, by role.
        runs: what is started.
        expect: of the case as a whole: `at_once` (the most tasks at the same time), `stopped`
            (the worker's row says so), `share` (the least part of the tasks for each language),
            `finished` (so many tasks are completed, and nobody has one in hand), `messages` and
            `archived` (how many there are at the end in the queue, and in its archive).
        acts: what the harness does, in order; none: `USUAL`, or `TOGETHER` for several workers.
        core: the versions of the core that it is about, such as `>=0.7`; empty: all.
        needs: the capabilities that its worker must have said in `hello`.
        quick: whether it belongs to a quick run.
        suspends: names of invariants that do not hold of what it does on purpose.
        within: seconds for all runs to end.
    """

    id: str
    promise: str
    reference: str
    flow: Mapping[str, Any]
    worker: Mapping[str, Any]
    runs: tuple[RunOf, ...]
    expect: Mapping[str, Any] = field(default_factory=dict)
    acts: tuple[Mapping[str, Any], ...] = ()
    core: str = ""
    needs: tuple[str, ...] = ()
    quick: bool = False
    suspends: tuple[str, ...] = ()
    within: float = DEFAULT_WITHIN
    roles: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def admits(self, core: str) -> bool:
        """Whether it is about this version of the core.

        Example:
            >>> Case("map.x", "", "", {}, {}, (), core=">=0.7").admits("0.5.0")
            False
        """
        return SpecifierSet(self.core).contains(core, prereleases=True)

    @property
    def recovers(self) -> bool:
        """Whether any of its workers is asked to take back tasks."""
        return any(one.get("recover") for one in (self.worker, *self.roles.values()))

    @property
    def group(self) -> str:
        """The first part of the id."""
        return self.id.partition(".")[0]

    @property
    def shape(self) -> FlowShape:
        """The flow as data, as its workers have it."""
        return from_json(self.flow)

    @property
    def stored(self) -> FlowShape:
        """The flow as the database has it at the end: with the steps that an act adds."""
        added = [act["add"] for act in self.acts if "add" in act]
        return from_json({**self.flow, "steps": [*self.flow["steps"], *added]})

    def statement_of(self, slug: str) -> str:
        """The SQL that adds a step."""
        index = next(i for i, step in enumerate(self.stored.steps) if step.slug == slug)
        return compile_flow(self.stored)[1 + index]


def load_all(path: Path) -> list[Case]:
    """Read a file of cases, or all files of a folder.

    Raises:
        CaseError: a file is wrong, or two have one id.
    """
    cases: dict[str, Case] = {}
    for file in sorted(path.glob("*.yaml")) if path.is_dir() else [path]:
        for case in load(file):
            if case.id in cases:
                raise CaseError(f"{file}: {case.id}: another file has a case with this id")
            cases[case.id] = case
    return list(cases.values())


def load(path: Path) -> list[Case]:
    """Read a file of cases.

    Raises:
        CaseError: it is no YAML, or not of the schema's form, or a flow in it is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
        listed = YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        words = ": ".join(filter(None, (error.context, error.problem)))
        raise CaseError(f"{path}:{line}: {words}") from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise CaseError(f"{path}: {error}") from None
    for wrong in validator_of_cases().iter_errors(listed):
        line = _line(text, list(wrong.absolute_path))
        raise CaseError(f"{path}:{line}: {wrong.json_path}: {wrong.message}")
    cases: dict[str, Case] = {}
    for index, given in enumerate(listed):
        case = _case(given)
        try:
            encode(given)
            _check(case, cases)
        except (InvalidFlow, NotJson, CaseError) as error:
            line = _line(text, [index])
            said = f"not JSON: {error}" if isinstance(error, NotJson) else error
            raise CaseError(f"{path}:{line}: {case.id}: {said}") from None
        cases[case.id] = case
    return list(cases.values())


def _case(given: Mapping[str, Any]) -> Case:
    return Case(
        id=given["id"],
        promise=given["promise"],
        reference=given["reference"],
        flow=given["flow"],
        worker=given.get("worker", {}),
        roles=given.get("roles", {}),
        runs=tuple(RunOf(run["input"], run.get("expect", {})) for run in given.get("runs", [])),
        expect=given.get("expect", {}),
        acts=tuple(given.get("acts", ())),
        core=given.get("core", ""),
        needs=tuple(given.get("needs", ())),
        quick=given.get("quick", False),
        suspends=tuple(given.get("suspends", ())),
        within=given.get("within", DEFAULT_WITHIN),
    )


def _check(case: Case, others: Mapping[str, Case]) -> None:
    """The id is new, the flow is right, and what is expected is expected of its steps."""
    if case.id in others:
        raise CaseError("this id is given twice")
    try:
        SpecifierSet(case.core)
    except InvalidSpecifier as error:
        raise CaseError(f"core: {error}; it is something like '>=0.7'") from None
    unknown = set(case.suspends) - {invariant.__name__ for invariant in INVARIANTS}
    if unknown:
        raise CaseError(f"suspends: there is no invariant {', '.join(sorted(unknown))}")
    known = {step.slug for step in case.stored.steps}
    for run in case.runs:
        for slug in run.expect.get("steps", {}):
            if slug not in known:
                raise CaseError(f"{slug!r} is expected to do something, and is no step")


def _line(text: str, way: list[Any]) -> int:
    """The line, from 1, of the innermost thing on the way that has one."""
    # The round-trip loader knows the lines; it is slow, and used for files that are wrong alone.
    line, here = 0, YAML(typ="rt", pure=True).load(text)
    for key in way:
        if not hasattr(here, "lc"):
            break
        with_line = here.lc.data.get(key) if here.lc.data else None
        line = with_line[0] if with_line else here.lc.line
        here = here[key]
    return int(line) + 1
