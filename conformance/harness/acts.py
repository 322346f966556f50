"""What the harness does in a case, act by act. `conformance/CASES.md` lists them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from conformance.harness import databases, delivery, own_worker
from conformance.harness.storms import storm
from conformance.harness.strikes import STRIKES
from conformance.harness.values import same, show

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from conformance.harness.stage import Stage


def perform(stage: Stage, acts: Iterable[Mapping[str, Any]]) -> None:
    """Do these acts.

    Raises:
        WorkerProblem: a worker did not do its part, and the case cannot go on.
        NotSupported: a worker says that it cannot do it.
    """
    for act in acts:
        for verb, what in act.items():
            ACTS[verb](stage, what)


def _start(stage: Stage, what: str | Mapping[str, Any]) -> None:
    who, most = (what, None) if isinstance(what, str) else (what["by"], what["runs"])
    if who == "harness":
        stage.start_runs_itself(most)
    elif who == "all":
        stage.start_runs(stage.adapters, most)
    else:
        stage.start_runs([stage.adapter_of(who)], most)


def _work(stage: Stage, roles: str | list[str]) -> None:
    if roles == "all":
        roles = list(stage.everybody())
    begun = [stage.begin(role) for role in ([roles] if isinstance(roles, str) else roles)]
    for worker in begun:
        worker.wait_ready()


def _wait(stage: Stage, what: str | Mapping[str, Any]) -> None:
    if isinstance(what, str):
        _wait_until_over(stage)
    elif "calls" in what:
        of = what.get("of")
        for worker in stage.working(of or "all"):
            worker.wait_for_calls(what["calls"], stage.within)
    elif "exit" in what:
        for worker in stage.working(what["exit"]):
            worker.wait_gone(stage.within)
    elif "end" in what:
        for worker in list(stage.working(what["end"])):
            worker.wait_stopped(stage.within, "when it should have ended")
    elif "step" in what:
        stage.wait(lambda: own_worker.task_is(stage, what), own_worker.words(what))
    elif "over" in what:
        run_id = stage.run_ids[what["over"] - 1]
        over = "SELECT status <> 'started' FROM pgflow.runs WHERE run_id = %(run_id)s"
        stage.wait(
            lambda: bool(stage.value(over, {"run_id": run_id})), f"run {what['over']} is over"
        )
    else:
        until = what["until"]
        stage.wait(lambda: bool(stage.value(until)), what.get("says", until))


def _wait_until_over(stage: Stage) -> None:
    def still_open() -> int:
        return int(stage.value("SELECT count(*) FROM pgflow.runs WHERE status = 'started'"))

    stage.wait(lambda: not still_open(), f"all {len(stage.case.runs)} runs are over")


def _check(stage: Stage, what: Mapping[str, Any]) -> None:
    found = stage.value(what["sql"])
    if not same(found, what["is"]):
        said = what.get("says", " ".join(what["sql"].split()))
        stage.problems.append(f"{said}: it is {show(found)}, not {show(what['is'])}")


def _stop(stage: Stage, roles: str | list[str]) -> None:
    asked = list(stage.working(roles))
    for worker in asked:
        worker.ask_to_stop()
    for worker in asked:
        worker.wait_stopped(stage.within, "after SIGTERM")


def _ask(stage: Stage, roles: str | list[str]) -> None:
    for worker in list(stage.working(roles)):
        worker.ask_to_stop()


ACTS: Final[dict[str, Callable[[Stage, Any], None]]] = {
    "start": _start,
    "work": _work,
    "wait": _wait,
    "sql": lambda stage, statement: stage.value(statement),
    "check": _check,
    "hide": lambda stage, _: databases.hide_messages(stage.database, stage.case.shape.slug),
    "show": lambda stage, _: databases.show_messages(stage.database, stage.case.shape.slug),
    "hold": delivery.hold,
    "deliver": delivery.deliver,
    "claim": own_worker.claim,
    "complete": own_worker.complete,
    "fail": own_worker.fail,
    "add": lambda stage, step: stage.value(stage.case.statement_of(step["slug"])),
    "stop": _stop,
    "ask": _ask,
    **STRIKES,
    "storm": storm,
}
"""What each act does."""

_CALM: Final = frozenset(
    {
        *("start", "work", "wait", "sql", "check", "hide", "show", "stop", "ask"),
        *("claim", "complete", "fail", "add", "gate", "reached", "open", "lock", "unlock", "age"),
        *("denied", "free", "hold", "deliver"),
    }
)


def is_calm(act: Mapping[str, Any]) -> bool:
    """Whether workers have nothing to be excused for after this act."""
    waits_for_end = isinstance(act.get("wait"), dict) and "exit" in act["wait"]
    return act.keys() <= _CALM and not waits_for_end
