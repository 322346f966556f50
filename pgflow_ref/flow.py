"""Declare a flow: its steps, what they depend on, and the functions that do their work.

    from pgflow_ref import Flow

    order = Flow("order", max_attempts=3)

    @order.step()
    def check(order, ctx):
        return {"valid": True, "total": order["total"]}

    @order.step(depends_on=[check], timeout=30)
    async def pay(deps, ctx):
        return {"paid": deps["check"]["total"]}

A handler takes two arguments. The first is the run's input for a step that depends on nothing, and
else the mapping of its dependencies' outputs by slug; the second is a `Context`, which says the
rest. Everything is checked where it is declared.

A map step has one task for each element of an array (core 0.7 and newer); its handler gets the
element in place of the whole, and a step that depends on it gets the array of all its outputs.

    @order.step(depends_on=[check])
    def lines(deps, ctx):
        return ["tea", "milk"]

    @order.map(lines)
    def pick(line, ctx):
        return {"shelf": find(line), "nth": ctx.task_index}
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, ParamSpec, Protocol, TypeAlias, TypeVar

from pgflow_ref.errors import InvalidFlow, shown
from pgflow_ref.shape import FlowShape, Options, StepShape, check_options, check_slug

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from uuid import UUID

    from pgflow_ref.json_contract import Json
    from pgflow_ref.shape import StepType

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Stopping(Protocol):
    """Tells a handler that its worker has been asked to stop."""

    def is_set(self) -> bool:
        """Whether the worker has been asked to stop; a long handler may look and end early."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a handler may want to know beside its input.

    Attributes:
        run_id: the run.
        flow_slug: the run's flow.
        step_slug: this step.
        task_index: which task of the step, from 0; a step has one task but for map steps.
        attempt: which attempt this is, from 1, counted by the database over all workers.
        flow_input: the input with which the run was started.
        worker_id: the worker that runs this task.
        stopping: set once the worker has been asked to stop.

    Example:
        @order.step()
        def pay(order, ctx):
            key = f"{ctx.run_id}/{ctx.step_slug}"  # the same in every attempt
            return bank.charge(order["total"], idempotency_key=key)
    """

    run_id: UUID
    flow_slug: str
    step_slug: str
    task_index: int
    attempt: int
    flow_input: Json
    worker_id: UUID
    stopping: Stopping


Handler: TypeAlias = "Callable[..., object]"
"""A function of two arguments, `def` or `async def`, that returns a JSON value."""


class Step(Generic[P, R_co]):
    """A declared step. Calling it calls its handler, so a handler is tested like any function.

    Made by `Flow.step`, `Flow.map` and `Job.perform`.

    Args:
        shape: the step as data.
        handler: the function that does its work.

    Example:
        >>> order = Flow("order")
        >>> @order.step()
        ... def double(number, ctx):
        ...     return 2 * number
        >>> double
        <Step 'double'>
        >>> double(21, None)
        42
    """

    def __init__(self, shape: StepShape, handler: Callable[P, R_co]) -> None:
        self._shape = shape
        self._handler = handler

    @property
    def shape(self) -> StepShape:
        """The step as data."""
        return self._shape

    @property
    def handler(self) -> Callable[P, R_co]:
        """The function that does the step's work."""
        return self._handler

    @property
    def slug(self) -> str:
        """The step's slug."""
        return self.shape.slug

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the handler."""
        return self._handler(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Step {self.slug!r}>"


AnyStep: TypeAlias = "Step[..., object]"


class Flow:
    """A flow and its handlers.

    Args:
        slug: the flow's name in the database and of its queue: an ASCII letter, then letters,
            digits and underscores, 47 at most.
        max_attempts: how often each task is tried, at least 1 (default: the database's, 3).
        base_delay: seconds, at least 1; after attempt n a task waits base_delay * 2**n seconds
            (default: the database's, 5).
        timeout: seconds that one attempt of a task may take, at least 3 (default: 60).

    Raises:
        InvalidFlow: a slug or an option is wrong.

    Example:
        >>> greet = Flow("greet", max_attempts=5)
        >>> @greet.step()
        ... def hello(name, ctx):
        ...     return f"Hello, {name}!"
        >>> hello("Ada", None)
        'Hello, Ada!'
        >>> greet.shape.steps
        (StepShape(slug='hello', depends_on=(), options=Options(max_attempts=None, \
base_delay=None, timeout=None, start_delay=None), step_type='single'),)
    """

    def __init__(
        self,
        slug: str,
        *,
        max_attempts: int | None = None,
        base_delay: int | None = None,
        timeout: int | None = None,
    ) -> None:
        self.slug = slug
        self.options: Options = Options(max_attempts, base_delay, timeout)
        self._steps: dict[str, AnyStep] = {}
        check_slug(slug, flow=slug)
        check_options(self.options, flow=slug)

    def step(  # noqa: PLR0913  # the options of pgflow.add_step, all by name
        self,
        slug: str | None = None,
        *,
        depends_on: Iterable[AnyStep | str] = (),
        max_attempts: int | None = None,
        base_delay: int | None = None,
        timeout: int | None = None,
        start_delay: int | None = None,
    ) -> Callable[[Callable[P, R]], Step[P, R]]:
        """Declare the decorated function as a step of this flow.

        Args:
            slug: the step's name (default: the function's).
            depends_on: the steps whose outputs it needs, or their slugs; each declared before.
            max_attempts: how often each task is tried; None means as the flow.
            base_delay: seconds, as for the flow; None means as the flow.
            timeout: seconds that one attempt of a task may take; None means as the flow.
            start_delay: seconds to wait once the step is ready (core 0.5.3 and newer).

        Returns:
            A decorator that gives back the step, which can be called like the function.

        Raises:
            InvalidFlow: a slug, an option or a dependency is wrong, or the function does not take
                two arguments.

        Example:
            @order.step(depends_on=[check], timeout=30)
            async def pay(deps, ctx):
                return {"paid": ctx.flow_input["total"]}
        """
        if callable(slug):
            raise InvalidFlow(
                f"step() takes its options first: @step(), then {shown(slug)}", flow=self.slug
            )
        needs = tuple(depends_on) if isinstance(depends_on, Iterator) else depends_on
        options = Options(max_attempts, base_delay, timeout, start_delay)
        return self._declaring(slug, needs, options, "single")

    def map(  # noqa: PLR0913  # as for `step`
        self,
        array: AnyStep | str | None = None,
        slug: str | None = None,
        *,
        max_attempts: int | None = None,
        base_delay: int | None = None,
        timeout: int | None = None,
        start_delay: int | None = None,
    ) -> Callable[[Callable[P, R]], Step[P, R]]:
        """Declare the decorated function as a map step: a task for each element of an array.

        Its handler takes an element and a `Context`, whose `task_index` says which, from 0. Each
        task is tried again for itself; one that fails for good fails the run. A step that depends
        on this one gets the array of all outputs, in the order of the elements. Needs core 0.7 or
        newer (`pgflow.add_step` with `step_type => 'map'`); a database with an older one refuses
        the flow.

        Args:
            array: the step whose output is the array, or its slug (default: the run's input, and
                then no run can be started with anything but an array).
            slug: the step's name (default: the function's).
            max_attempts: how often each task is tried; None means as the flow.
            base_delay: seconds, as for the flow; None means as the flow.
            timeout: seconds that one attempt of one task may take; None means as the flow.
            start_delay: seconds to wait once the array is there.

        Returns:
            A decorator that gives back the step, which can be called like the function.

        Raises:
            InvalidFlow: a slug, an option or the array's step is wrong, or the function does not
                take two arguments.

        Example:
            >>> squares = Flow("squares")
            >>> @squares.map()
            ... def square(number, ctx):
            ...     return number * number
            >>> @squares.step(depends_on=[square])
            ... def total(deps, ctx):
            ...     return sum(deps["square"])
            >>> from pgflow_ref.testing import InMemory
            >>> pgflow = InMemory(squares)
            >>> run_id = pgflow.start_flow(squares, [1, 2, 3])
            >>> pgflow.drain()
            4
            >>> pgflow.get_run(run_id).output
            {'total': 14}
        """
        if callable(array) and not isinstance(array, Step):
            raise InvalidFlow(
                f"map() takes its options first: @map(), then {shown(array)}", flow=self.slug
            )
        options = Options(max_attempts, base_delay, timeout, start_delay)
        return self._declaring(slug, () if array is None else (array,), options, "map")

    def _declaring(
        self, slug: str | None, needs: object, options: Options, step_type: StepType
    ) -> Callable[[Callable[P, R]], Step[P, R]]:
        """The decorator of `step` and `map`."""

        def declare(handler: Callable[P, R]) -> Step[P, R]:
            if isinstance(handler, Step):  # a step of another flow, whose work this one does too
                handler = handler.handler
            name = slug if slug is not None else getattr(handler, "__name__", "")
            check_slug(name, flow=self.slug, step=name)
            shape = StepShape(name, self._dependencies(name, needs), options, step_type)
            self._check(shape, handler)
            self._steps[name] = step = Step(shape, handler)
            return step

        return declare

    @property
    def shape(self) -> FlowShape:
        """The flow as data, without handlers, as it is now."""
        return FlowShape(self.slug, self.options, tuple(s.shape for s in self._steps.values()))

    @property
    def steps(self) -> Mapping[str, AnyStep]:
        """The declared steps by slug, in the order of their declaration."""
        return dict(self._steps)

    def __repr__(self) -> str:
        return f"<Flow {self.slug!r}: {', '.join(self._steps) or 'no steps'}>"

    def _dependencies(self, step: str, given: object) -> tuple[str, ...]:
        if isinstance(given, (str, Step)) or not isinstance(given, Iterable):
            raise InvalidFlow(
                f"depends_on is a list of steps, not {shown(given)} alone",
                flow=self.slug,
                step=step,
            )
        names: list[str] = []
        for need in given:
            name = need.slug if isinstance(need, Step) else need
            if not isinstance(name, str) or name not in self._steps:
                raise InvalidFlow(
                    f"depends on {shown(name)}, which is not declared before it",
                    flow=self.slug,
                    step=step,
                )
            if isinstance(need, Step) and self._steps[name] is not need:
                raise InvalidFlow(
                    f"depends on a step {name!r} of another flow", flow=self.slug, step=step
                )
            if name in names:
                raise InvalidFlow(f"depends on {name!r} twice", flow=self.slug, step=step)
            names.append(name)
        return tuple(names)

    def _check(self, shape: StepShape, handler: Handler) -> None:
        check_options(shape.options, flow=self.slug, step=shape.slug)
        if shape.slug in self._steps:
            raise InvalidFlow("this step is declared twice", flow=self.slug, step=shape.slug)
        if not callable(handler):
            raise InvalidFlow(f"{shown(handler)} is no function", flow=self.slug, step=shape.slug)
        try:
            inspect.signature(handler).bind(None, None)
        except TypeError:
            raise InvalidFlow(
                f"its handler takes two arguments, the input and the context, not "
                f"{inspect.signature(handler)}",
                flow=self.slug,
                step=shape.slug,
            ) from None
        except ValueError:
            pass  # a function written in C that does not say what it takes


class Job(Flow):
    """A flow of one step; as `Flow`.

    The step is named like the flow, unless `perform` is given a slug.

    Example:
        >>> send_email = Job("send_email", max_attempts=5)
        >>> @send_email.perform()
        ... def _(email, ctx):
        ...     return {"sent": email["to"]}
        >>> list(send_email.steps)
        ['send_email']
    """

    def perform(self, slug: str | None = None) -> Callable[[Callable[P, R]], Step[P, R]]:
        """Declare the decorated function as what this job does; see `Flow.step`.

        Args:
            slug: the step's name (default: the job's).

        Raises:
            InvalidFlow: the job has its step already, or as `Flow.step` says.

        Example:
            @send_email.perform()
            def send(email, ctx):
                return {"sent": email["to"]}
        """
        self._check_alone()
        return self.step(self.slug if slug is None else slug)

    def _check_alone(self) -> None:
        if self._steps:
            raise InvalidFlow("a job has one step, and it is declared", flow=self.slug)

    def _check(self, shape: StepShape, handler: Handler) -> None:
        self._check_alone()
        super()._check(shape, handler)
