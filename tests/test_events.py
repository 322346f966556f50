"""Every event is told, with what `docs/reference/events.md` says that it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from docs.write import events_as_told
from pgflow_ref import Flow, PgFlow
from tests.conftest import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgflow_ref import Context, Event
    from tests.conftest import Database, Working

watched = Flow("watched", max_attempts=1)


@watched.step()
def obey(given: str, _ctx: Context) -> str:
    if given == "fail":
        raise ValueError(given)
    return given


def test_events_are_told_as_the_page_says(database: Database, work: Callable[..., Working]) -> None:
    heard: list[Event] = []
    with PgFlow(database.url, listeners=[heard.append]) as pgflow:
        pgflow.ensure_flow(watched)
        for given in ("work", "fail", "lost"):
            run_id = pgflow.start_flow(watched, given)
        leave_stalled(database, str(run_id))
        worker = work(watched, listeners=[heard.append], recovery_interval=0.1)
        wait_until(lambda: not pgflow.health_check().flows[0].running)
        worker.stop()
        pgflow.delete_flow(watched)

    told: dict[str, set[tuple[str, ...]]] = {}
    for event in heard:
        told.setdefault(event.name, set()).add(tuple(sorted(event.metadata())))
    promised = {name: {tuple(sorted(one["with"]))} for name, one in events_as_told().items()}
    assert told == promised


def leave_stalled(database: Database, run_id: str) -> None:
    """What a worker leaves that claimed a run's task and was never heard of again."""
    database.rows(
        "UPDATE pgflow.step_tasks SET status = 'started', attempts_count = 1,"
        " queued_at = now() - interval '2 hours', started_at = now() - interval '1 hour'"
        " WHERE run_id = %s::uuid",
        run_id,
    )
