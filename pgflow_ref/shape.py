"""The shape of a flow as plain data, and the rules that a single slug or option must obey.

A shape is what the database knows of a flow: slugs, dependencies, options. It holds no handlers, so
it can come from Python code (`flow.py`), from JSON, or from the database, and be compared.

A rule is the strictest of the three places that have a say: the TypeScript DSL (`validateSlug`,
`validateRuntimeOptions`), the SQL core (`pgflow.is_valid_slug`, the CHECK constraints of
`pgflow.flows` and `pgflow.steps`), and pgmq, whose queue is named like the flow. What passes here
passes everywhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Final, Literal, TypeAlias, get_args

from pgflow_ref.errors import InvalidFlow, shown

MAX_FLOW_SLUG: Final = 47
"""Characters in a flow's slug: pgmq refuses longer queue names (`pgmq.validate_queue_name`)."""

MAX_STEP_SLUG: Final = 128
"""Characters in a step's slug (`pgflow.is_valid_slug`)."""

RESERVED_SLUG: Final = "run"
"""The key under which a task's input holds the run's input, and so no step's name."""

StepType: TypeAlias = Literal["single", "map"]
"""One task, or one for each element of an array (`pgflow.steps.step_type`)."""

_TAKEN_IN_JAVASCRIPT: Final = frozenset(
    {
        "constructor",
        "hasOwnProperty",
        "isPrototypeOf",
        "propertyIsEnumerable",
        "toLocaleString",
        "toString",
        "valueOf",
    }
)
_SLUG: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9_]*")
_MAX_INTEGER: Final = 2**31 - 1
_LEAST: Final = {"max_attempts": 1, "base_delay": 1, "timeout": 3, "start_delay": 0}


@dataclass(frozen=True, slots=True)
class Options:
    """What a flow or a step says about retries and time; None leaves it to the level above.

    A step falls back to its flow, a flow to the database's defaults (`pgflow.create_flow`: 3
    attempts, 5 s, 60 s). All delays are whole seconds, because the core stores integers.

    Attributes:
        max_attempts: how often a task is tried in all, at least 1.
        base_delay: seconds, at least 1; attempt n is followed by a wait of base_delay * 2**n.
        timeout: seconds that one attempt may take, at least 3.
        start_delay: seconds between a step being ready and its task being visible (steps only;
            core 0.5.3 and newer).

    Example:
        >>> Options(max_attempts=5, timeout=30).given()
        {'max_attempts': 5, 'timeout': 30}
    """

    max_attempts: int | None = None
    base_delay: int | None = None
    timeout: int | None = None
    start_delay: int | None = None

    def given(self) -> dict[str, int]:
        """The options that were given, by name, in the order in which SQL writes them."""
        pairs = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in pairs if value is not None}


@dataclass(frozen=True, slots=True)
class StepShape:
    """One step.

    Attributes:
        slug: its name.
        depends_on: the steps whose outputs it needs.
        options: its own options.
        step_type: `single`, or `map` for a step that has one task for each element of an array: of
            its one dependency's output, or, where it has none, of the run's input (core 0.7 and
            newer).
    """

    slug: str
    depends_on: tuple[str, ...] = ()
    options: Options = Options()
    step_type: StepType = "single"

    @property
    def is_map(self) -> bool:
        """Whether it has a task for each element of an array."""
        return self.step_type == "map"


@dataclass(frozen=True, slots=True)
class FlowShape:
    """One flow: its slug, its options, and its steps in the order of their declaration.

    Nothing is checked by making one; `pgflow_ref.compile.check` checks it as a whole.
    """

    slug: str
    options: Options = Options()
    steps: tuple[StepShape, ...] = ()


def check_slug(slug: object, *, flow: object, step: object = None) -> None:
    """Check one slug, of the flow itself when `step` is None, else of that step.

    Raises:
        InvalidFlow: the slug is not text, empty, too long, reserved, or has other characters than
            ASCII letters, digits and underscores after a first letter.

    Example:
        >>> check_slug("process_order", flow="process_order")
        >>> check_slug("1st", flow="process_order", step="1st")
        Traceback (most recent call last):
            ...
        pgflow_ref.errors.InvalidFlow: flow 'process_order', step '1st': a slug is an ASCII letter \
followed by ASCII letters, digits and underscores
    """
    longest = MAX_FLOW_SLUG if step is None else MAX_STEP_SLUG
    named = "" if slug is None else slug  # a step without a slug is still a step
    where = {"flow": slug if step is None else flow, "step": None if step is None else named}
    if not isinstance(slug, str):
        raise InvalidFlow(f"a slug is text, not {type(slug).__name__}", **where)
    if not slug:
        raise InvalidFlow("a slug is not empty", **where)
    if len(slug) > longest:
        raise InvalidFlow(
            f"a slug of a {'flow' if step is None else 'step'} has at most {longest} characters, "
            f"this one has {len(slug)}",
            **where,
        )
    if slug == RESERVED_SLUG:
        raise InvalidFlow(f"the slug {RESERVED_SLUG!r} is reserved for the run's input", **where)
    if step is not None and slug in _TAKEN_IN_JAVASCRIPT:
        # The DSL looks steps up in a plain object, and takes what every object has for a step.
        raise InvalidFlow("the TypeScript DSL cannot have a step of this name", **where)
    if not _SLUG.fullmatch(slug):
        raise InvalidFlow(
            "a slug is an ASCII letter followed by ASCII letters, digits and underscores", **where
        )


def check_options(options: Options, *, flow: object, step: object = None) -> None:
    """Check the options of a flow, or of one of its steps.

    Raises:
        InvalidFlow: an option is no integer or out of its range, or a flow has a `start_delay`.
    """
    for name, value in options.given().items():
        least = _LEAST[name]
        if isinstance(value, bool) or not isinstance(value, int):
            raise InvalidFlow(f"{name} is a whole number, not {shown(value)}", flow=flow, step=step)
        if not least <= value <= _MAX_INTEGER:
            raise InvalidFlow(
                f"{name} is between {least} and {_MAX_INTEGER}, not {shown(value)}",
                flow=flow,
                step=step,
            )
    if step is None and options.start_delay is not None:
        raise InvalidFlow("start_delay belongs to a step, not to a flow", flow=flow)


def check_step_type(step: StepShape, *, flow: object) -> None:
    """Check that a step is of a type that there is, and that a map step maps over one array.

    That is the rule of `pgflow.add_step` of core 0.7; in the DSL, `map` has no place for more.

    Raises:
        InvalidFlow: it is of another type, or a map step with several dependencies.

    Example:
        >>> check_step_type(StepShape("both", ("a", "b"), step_type="map"), flow="f")
        Traceback (most recent call last):
            ...
        pgflow_ref.errors.InvalidFlow: flow 'f', step 'both': a map step depends on one step at \
most, over whose array it maps, not on 2
    """
    if step.step_type not in get_args(StepType):
        raise InvalidFlow(
            f"step_type is 'single' or 'map', not {shown(step.step_type)}",
            flow=flow,
            step=step.slug,
        )
    if step.is_map and len(step.depends_on) > 1:
        raise InvalidFlow(
            "a map step depends on one step at most, over whose array it maps, "
            f"not on {len(step.depends_on)}",
            flow=flow,
            step=step.slug,
        )
