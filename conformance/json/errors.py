"""Fail tasks with every text of `fixtures/json/errors.yaml`, and with outputs that are no JSON.

Each is a step of one flow, and tried once: the text is stored at the first attempt, and the second
is far off, so that no run fails and takes the others with it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from conformance.harness.cases import FIXTURES, Case, RunOf
from conformance.harness.trial import Trial
from conformance.harness.values import show
from conformance.json.losses import Station, Verdict, judge
from conformance.json.values import load
from pgflow_ref.compile import compile_flow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.harness import records
    from conformance.harness.adapters import Adapter
    from conformance.harness.deviations import Deviation
    from conformance.harness.stage import Stage
    from conformance.json.values import Value

ERRORS: Final = FIXTURES / "json" / "errors.yaml"
FAIL: Final = "fail"
RETURN: Final = "return"
_NOT_TEXT: Final = re.compile("[\x00\ud800-\udfff]")  # what text of PostgreSQL cannot hold
_FAR_OFF: Final = 3600  # seconds to the second attempt
_UNTRIED: Final = "SELECT count(*) FROM pgflow.step_tasks WHERE attempts_count = 0"
_FAILED: Final = """
SELECT step_slug, coalesce(error_message, '') FROM pgflow.step_tasks
WHERE attempts_count > 0 AND status = 'queued'
"""


@dataclass(frozen=True)
class Failure:
    """One way to fail, and the step that does.

    Attributes:
        slug: the step.
        how: the instruction, `fail` or `return`.
        value: the text, or the output.
    """

    slug: str
    how: str
    value: Value

    @property
    def name(self) -> str:
        """How reports call it."""
        return f"{'error' if self.how == FAIL else 'output'} {self.value.name}"


def failures() -> list[Failure]:
    """All that is tried."""
    kinds = ((FAIL, "values"), (RETURN, "outputs"))
    listed = [(how, value) for how, section in kinds for value in load(ERRORS, section)]
    return [Failure(f"step_{number}", how, value) for number, (how, value) in enumerate(listed)]


def cases_of(_: Sequence[Adapter]) -> list[Case]:
    """The one case, for every worker alone."""
    steps = [
        {"slug": one.slug, "handler": [{one.how: json.loads(one.value.text)}]} for one in failures()
    ]
    return [
        Case(
            id="json.errors",
            promise="A task that fails keeps the text that it failed with, whatever that is; an"
            " output that jsonb cannot hold fails its task.",
            reference="pgflow.fail_task, core 0.5.0: step_tasks.error_message is text",
            flow={"slug": "errors", "max_attempts": 2, "base_delay": _FAR_OFF, "steps": steps},
            worker={"poll_interval": 0.05},
            runs=(RunOf({}, {}),),
            quick=True,
            within=60,
        )
    ]


def station(failure: Failure, worker: str, said: str | None) -> Station:
    """What there is of a failure, against what is expected of it.

    Args:
        failure: what was to happen.
        worker: who was to fail.
        said: the text that is stored, or None where the task has not failed.
    """
    known = failure.value.lost.get((worker, failure.how))
    text = json.loads(failure.value.text)
    if said is None:
        good, shown = False, "no failure: its task stays started"
    elif failure.how == RETURN:
        good, shown = bool(said), show(said)
    else:
        # What PostgreSQL cannot store may be written in another way.
        good, shown = all(part in said for part in _NOT_TEXT.split(text)), show(said)
        good = good if _NOT_TEXT.search(text) else said == text
    becomes = None if known is None or known.becomes is None else json.loads(known.becomes)
    return Station(good if known is None else said == becomes, good, True, shown)


@dataclass
class Failing(Trial):
    """One worker with all failures.

    Attributes:
        verdict: what became of each.
    """

    verdict: Verdict = field(default_factory=Verdict)

    def record(self, repeat: str, known: Deviation | None) -> records.Case:
        """What the report says of it."""
        return self.verdict.put_into(super().record(repeat, known), "fixtures/json/errors.yaml")

    def _play(self, stage: Stage) -> None:
        connection = stage.database.connection
        for statement in compile_flow(self.case.shape):
            connection.execute(statement.encode())
        stage.database.let_in(self.case.shape.slug)
        stage.start_runs_itself()
        worker = stage.begin("first")
        worker.wait_ready()
        try:
            stage.wait(lambda: not stage.value(_UNTRIED), "every task is begun")
            worker.stop(stage.within)
        finally:
            self.problems.extend(worker.problems)
            said = {str(slug): str(text) for slug, text in connection.execute(_FAILED)}
            for failure in failures():
                there = station(failure, worker.adapter.name, said.get(failure.slug))
                value = replace(failure.value, name=failure.name)
                judge(value, [worker.adapter.name], [there, there], self.verdict, [failure.how])
            self.problems.extend(self.verdict.problems)
