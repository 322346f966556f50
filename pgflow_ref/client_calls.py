"""What a synchronous client is asked: one method for each call of `calls`.

Nothing is decided here. What a call does stands in `calls`, the SQL in `operations`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from pgflow_ref import calls

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime, timedelta
    from uuid import UUID

    from pgflow_ref.calls import Call, FlowUpserted, Pruned
    from pgflow_ref.capabilities import Capabilities
    from pgflow_ref.flow import Flow, Step
    from pgflow_ref.json_contract import Json
    from pgflow_ref.operations import Recovered, Run


T = TypeVar("T")


class Performs(Protocol):
    """What performs calls: on a database (`perform.Performer`), or in memory (`testing`)."""

    def perform(self, call: Call[T], /) -> T:
        """Perform a call, and give back its result, or raise what it raises."""


class RunCalls:
    """The calls of `PgFlow` that start runs and look at them, over whatever performs them."""

    def __init__(self, performer: Performs) -> None:
        self._performer = performer

    # Start

    def start_flow(
        self, flow: Flow | str, run_input: object, *, run_id: UUID | None = None
    ) -> UUID:
        """Start a run of a flow; neither its code nor a worker needs to be here.

        Args:
            flow: the flow or its slug.
            run_input: any JSON value.
            run_id: the id that the run is to have (default: a new one).

        Returns:
            The run's id.

        Raises:
            FlowNotFound: the database has no such flow.
            RunExists: the database has a run with this id.
            NotJson: the input cannot be stored, and where in it.

        Example:
            run_id = pgflow.start_flow("order", {"id": 7})
        """
        return self._performer.perform(calls.start_flow(flow, run_input, run_id))

    def start_flow_sync(
        self,
        flow: Flow | str,
        run_input: object,
        *,
        timeout: float = 60.0,
        poll_interval: float = 0.5,
    ) -> Run:
        """Start a run and wait until it is completed.

        Not on a connection of yours with an open transaction: there the run starts when you commit.

        Args:
            flow: the flow or its slug.
            run_input: any JSON value.
            timeout: seconds to wait; even with 0 there is one look.
            poll_interval: seconds between two looks.

        Returns:
            The completed run, with its step states.

        Raises:
            RunFailed: the run failed; the error has the run.
            RunTimeout: it was not over in time; it goes on.
            FlowNotFound, NotJson: as `start_flow`.

        Example:
            run = pgflow.start_flow_sync("order", {"id": 7}, timeout=30)
            print(run.output)
        """
        return self._performer.perform(
            calls.start_flow_sync(flow, run_input, timeout=timeout, poll_interval=poll_interval)
        )

    def start_flows(self, flow: Flow | str, inputs: Iterable[object]) -> list[UUID]:
        """Start a run for each input, all of them or, where one is refused, none; in one statement.

        Args:
            flow: the flow or its slug.
            inputs: JSON values.

        Returns:
            The runs' ids, in the order of the inputs; none for no inputs, whatever the flow.

        Raises:
            FlowNotFound: the database has no such flow.
            NotJson: an input cannot be stored; the path begins with its place in `inputs`.

        Example:
            pgflow.start_flows("order", [{"id": 7}, {"id": 8}])
        """
        return self._performer.perform(calls.start_flows(flow, inputs))

    def enqueue(
        self,
        job: Flow | str,
        run_input: object,
        *,
        delay: float | timedelta | None = None,
        scheduled_at: datetime | None = None,
    ) -> UUID:
        """Start a run of a job, or of any flow, now or later.

        Args:
            job: the job or its slug.
            run_input: any JSON value.
            delay: seconds, as `enqueue_in`.
            scheduled_at: as `enqueue_at`; it goes before `delay`.

        Raises:
            InvalidDelay, InvalidSchedule: as there.
            FlowNotFound, NotJson: as `start_flow`.

        Example:
            pgflow.enqueue("send_email", {"to": "ada@example.com"}, delay=60)
        """
        return self._performer.perform(calls.enqueue(job, run_input, delay, scheduled_at))

    def enqueue_in(self, job: Flow | str, run_input: object, seconds: float | timedelta) -> UUID:
        """Start a run of a job whose first tasks wait for so long.

        The run exists at once. pgmq counts in whole seconds, so the delay is rounded up.

        Args:
            job: the job or its slug; all steps of a flow that depend on nothing wait.
            run_input: any JSON value.
            seconds: from 0, which is now, to 2147483647 (68 years); or a timedelta.

        Raises:
            InvalidDelay: it is no such number; nothing is started.
            FlowNotFound, NotJson: as `start_flow`.

        Example:
            pgflow.enqueue_in("send_email", {"to": "ada@example.com"}, timedelta(hours=1))
        """
        return self._performer.perform(calls.enqueue_in(job, run_input, seconds))

    def enqueue_at(self, job: Flow | str, run_input: object, at: datetime) -> UUID:
        """Start a run of a job whose first tasks wait until then, by the database's clock.

        The run exists at once.

        Args:
            job: as `enqueue_in`.
            run_input: any JSON value.
            at: an aware datetime of any zone; what is past is now.

        Raises:
            InvalidSchedule: it is no aware datetime, or more than 2147483647 s (68 years) away;
                nothing is started.
            FlowNotFound, NotJson: as `start_flow`.

        Example:
            pgflow.enqueue_at("report", None, datetime(2027, 1, 1, tzinfo=timezone.utc))
        """
        return self._performer.perform(calls.enqueue_at(job, run_input, at))

    # Look

    def get_run(self, run_id: UUID | str) -> Run:
        """One run.

        Raises:
            RunNotFound: there is none; also where the text is no UUID.

        Example:
            pgflow.get_run(run_id).status
        """
        return self._performer.perform(calls.get_run(run_id))

    def get_run_with_states(self, run_id: UUID | str) -> Run:
        """One run with the states of its steps.

        Raises:
            RunNotFound: there is none; also where the text is no UUID.

        Example:
            [state.attempts for state in pgflow.get_run_with_states(run_id).step_states]
        """
        return self._performer.perform(calls.get_run_with_states(run_id))

    def get_step_output(self, run_id: UUID | str, step: Step[..., object] | str) -> Json:
        """What a step put out in a run, also while the run goes on.

        Args:
            run_id: the run.
            step: the step or its slug.

        Returns:
            Its output; of a map step, the list of its tasks' outputs.

        Raises:
            RunNotFound: there is no such run.
            StepNotFound: the run has no such step.
            StepNotCompleted: the step is not completed; the error has its status.

        Example:
            pgflow.get_step_output(run_id, "charge")
        """
        return self._performer.perform(calls.get_step_output(run_id, step))

    def get_flow_input(self, run_id: UUID | str) -> Json:
        """What a run was started with.

        Raises:
            RunNotFound: there is no such run.

        Example:
            pgflow.start_flow("order", pgflow.get_flow_input(run_id))  # the same again
        """
        return self._performer.perform(calls.get_flow_input(run_id))


class ClientCalls(RunCalls):
    """The calls of `PgFlow`, over what performs them on a database."""

    # Define

    def flow_exists(self, flow: Flow | str) -> bool:
        """Whether the database has a flow, in whatever shape.

        Raises:
            InvalidFlow: it is neither a flow nor the text of a slug.

        Example:
            if not pgflow.flow_exists(order):
                pgflow.ensure_flow(order)
        """
        return self._performer.perform(calls.flow_exists(flow))

    def ensure_flow(self, flow: Flow) -> tuple[str, ...]:
        """Create what is missing of a flow: the flow, its queue, steps. Nothing is ever deleted.

        In one transaction, and one at a time for each flow, so that many may do it at once.

        Returns:
            The statements that were run; none where all was there.

        Raises:
            FlowMismatch: what is there differs in more than missing steps; nothing is changed.
            CoreUnsupported: the core does not have what the flow uses.
            InvalidFlow: the flow's graph is wrong.

        Example:
            pgflow.ensure_flow(order)
        """
        return self._performer.perform(calls.ensure_flow(flow))

    def upsert_flow(
        self,
        slug: str,
        *,
        steps: Sequence[Mapping[str, object]],
        max_attempts: int = 3,
        base_delay: int = 1,
        timeout: int = 60,
    ) -> FlowUpserted:
        """Define a flow by plain data. One that is there is deleted first, with all its runs.

        In one transaction, so that no worker sees the flow half defined.

        Args:
            slug: the flow's.
            steps: mappings with `slug`, and, where they are wanted, `deps` (or `depends_on`, a list
                of slugs), `max_attempts`, `base_delay`, `timeout`, `start_delay` and `step_type`.
            max_attempts: how often each task is tried, at least 1.
            base_delay: seconds, at least 1; after attempt n a task waits base_delay * 2**n seconds.
            timeout: seconds that an attempt may take, at least 3.

        Returns:
            The slug, and whether it was `compiled` or `recompiled`.

        Raises:
            InvalidFlow: a slug, an option, a dependency or the graph is wrong, and of which step;
                nothing is changed.
            CoreUnsupported: the core does not have what a step uses.
            FlowBusy: others started and ended runs of it all the time.

        Example:
            steps = [{"slug": "check"}, {"slug": "pay", "deps": ["check"]}]
            pgflow.upsert_flow("order", steps=steps)
        """
        return self._performer.perform(
            calls.upsert_flow(
                slug, steps, max_attempts=max_attempts, base_delay=base_delay, timeout=timeout
            )
        )

    def delete_flow(self, flow: Flow | str) -> bool:
        """Delete a flow: its runs and tasks, its definition, its queue with the archive.

        In one transaction. A flow whose slug differs only by case has the same queue, and keeps it.

        Returns:
            Whether the flow was there. A queue that was left over is deleted all the same.

        Raises:
            InvalidFlow: no core has a flow of this slug.
            FlowBusy: others started and ended runs of it all the time; nothing is deleted.

        Example:
            pgflow.delete_flow("order")
        """
        return self._performer.perform(calls.delete_flow(flow))

    # Look after

    def recover_stalled_tasks(
        self, flow: Flow | str | None = None, *, grace: float | timedelta = 30.0
    ) -> Recovered:
        """Put tasks back whose worker is gone, or fail those that have no attempt left.

        Stalled is what has been started for longer than its timeout and the grace, in a run that
        goes on. Workers do this themselves; several may, at the same time. A core that does it
        (`pgflow.requeue_stalled_tasks`, 0.13.2 and newer) does it for all flows, in its own way.

        Args:
            flow: the flow or its slug (default: all flows).
            grace: seconds.

        Raises:
            InvalidDelay: the grace is no number of seconds.

        Example:
            pgflow.recover_stalled_tasks().requeued
        """
        return self._performer.perform(calls.recover_stalled_tasks(flow, grace))

    def prune_data(self, older_than: float | timedelta, flow: Flow | str | None = None) -> Pruned:
        """Delete runs that have been over for long, with their tasks and messages.

        A thousand runs in a transaction, so that nobody waits long; never a run that goes on.

        Args:
            older_than: seconds since the run was completed or failed, or a timedelta.
            flow: the flow or its slug (default: all flows).

        Raises:
            InvalidDelay: `older_than` is no number of seconds.
            FlowBusy: others were in the way all the time.

        Example:
            pgflow.prune_data(timedelta(days=30)).runs
        """
        return self._performer.perform(calls.prune_data(older_than, flow))

    def capabilities(self) -> Capabilities:
        """What the core in the database can do.

        Raises:
            CoreMissing, CoreUnsupported: there is none, or none that this library knows.

        Example:
            pgflow.capabilities().map_steps
        """
        return self._performer.perform(calls.capabilities())
