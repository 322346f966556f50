"""Say how a flow in the database differs from the one in the code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pgflow_ref.compile import in_order, step_sql

if TYPE_CHECKING:
    from pgflow_ref.shape import FlowShape, Options


class Core(Protocol):
    """What decides whether a core can have a flow, such as `capabilities.Capabilities`."""

    @property
    def core(self) -> str:
        """Its version, for people."""

    @property
    def start_delay(self) -> bool:
        """Whether steps can wait before they start (0.5.3 and newer)."""

    @property
    def map_steps(self) -> bool:
        """Whether steps can have a task for each element of an array (0.7 and newer)."""


def unsupported(shape: FlowShape, core: Core) -> str | None:
    """Say what of a flow this core does not have, and which one does; None where it has all.

    Example:
        >>> from typing import NamedTuple
        >>> from pgflow_ref.shape import FlowShape, Options, StepShape
        >>> class Old(NamedTuple):
        ...     core: str = "0.6.1"
        ...     start_delay: bool = True
        ...     map_steps: bool = False
        >>> steps = (StepShape("a", (), Options(start_delay=60)), StepShape("b", step_type="map"))
        >>> unsupported(FlowShape("f", Options(), steps), Old())
        "flow 'f', step 'b': a map step needs core 0.7 or newer, and this one is 0.6.1"
    """
    for step in shape.steps:
        if step.is_map and not core.map_steps:
            what, version = "a map step", "0.7"
        elif step.options.start_delay is not None and not core.start_delay:
            what, version = "start_delay", "0.5.3"
        else:
            continue
        where = f"flow {shape.slug!r}, step {step.slug!r}"
        return f"{where}: {what} needs core {version} or newer, and this one is {core.core}"
    return None


def mismatch(code: FlowShape, stored: FlowShape) -> str | None:
    """Say in one line how the two differ and what to do about it; None where they agree.

    Steps that are only missing can be added, so the statements for that are part of it.
    """
    found = differences(code, stored)
    if not found:
        return None
    text = f"flow {code.slug!r} in the database is not the one in the code: " + "; ".join(found)
    there = {step.slug for step in stored.steps}
    missing = [step for step in in_order(code) if step.slug not in there]
    if len(found) == len(missing):
        statements = " ".join(step_sql(code.slug, step) for step in missing)
        return f"{text}; this adds what is missing: {statements}"
    return f"{text}; give the flow a new slug, or delete it in the database and compile it again"


def differences(code: FlowShape, stored: FlowShape) -> list[str]:
    """One sentence for each difference that matters to a worker; none where the two agree.

    Options that the code does not give are the database's to choose. The order of steps and of
    dependencies changes nothing about how a flow runs, so it is not compared.

    Example:
        >>> from pgflow_ref.shape import FlowShape, Options, StepShape
        >>> code = FlowShape("f", Options(timeout=30), (StepShape("a"), StepShape("b", ("a",))))
        >>> stored = FlowShape("f", Options(3, 5, 60), (StepShape("a"), StepShape("c")))
        >>> for difference in differences(code, stored):
        ...     print(difference)
        timeout is 30 in the code and 60 in the database
        step 'b' is missing in the database
        step 'c' is missing in the code
    """
    found = _options("", code.options, stored.options)
    here = {step.slug: step for step in code.steps}
    there = {step.slug: step for step in stored.steps}
    for slug, step in here.items():
        if slug not in there:
            found.append(f"step {slug!r} is missing in the database")
            continue
        other = there[slug]
        if step.step_type != other.step_type:
            found.append(
                f"step {slug!r} is a {step.step_type} step in the code and a {other.step_type} "
                "step in the database"
            )
        if set(step.depends_on) != set(other.depends_on):
            found.append(
                f"step {slug!r} depends on {_names(step.depends_on)} in the code and on "
                f"{_names(other.depends_on)} in the database"
            )
        found.extend(_options(f"step {slug!r}: ", step.options, other.options))
    found.extend(f"step {slug!r} is missing in the code" for slug in there if slug not in here)
    return found


def _options(where: str, code: Options, stored: Options) -> list[str]:
    return [
        f"{where}{name} is {value} in the code and {getattr(stored, name)} in the database"
        for name, value in code.given().items()
        if value != getattr(stored, name)
    ]


def _names(slugs: tuple[str, ...]) -> str:
    return ", ".join(repr(slug) for slug in sorted(slugs)) or "nothing"
