"""Fleets of two to eight workers on one queue, with a flow, inputs and workers from the seed."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Any, Final

from conformance.harness.cases import Case, RunOf
from conformance.harness.trial import Trial
from conformance.mixed import verdict
from conformance.mixed.graphs import flow_of, input_of
from conformance.mixed.oracle import expected

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from conformance.harness import records
    from conformance.harness.adapters import Adapter
    from conformance.harness.databases import Cluster
    from conformance.harness.deviations import Deviation
    from conformance.harness.servers import RestartableServer
    from conformance.harness.session import Session

SIZES: Final = {"two": 2, "three": 3, "four": 4, "five": 5, "eight": 8}
TASKS: Final = 600
"""About how many tasks a fleet has."""
QUICK_TASKS: Final = 150
_CORES_WITH_MAPS: Final = ">=0.7"
_ACTS: Final = (
    {"start": "first"},
    {"hide": True},
    {"work": "all"},
    {"show": True},
    {"wait": "over"},
    {"stop": "all"},
)
_PROMISE: Final = (
    "Workers in several languages do all tasks of any graph together, once each and rightly; each"
    " of them does its share, and no task waits for ever."
)


def cases_of(_: Sequence[Adapter]) -> list[Case]:
    """Fleets of several sizes, one with map steps; all else comes from the seed."""
    return [
        _case("fleet.two"),
        _case("fleet.three", quick=True),
        _case("fleet.five"),
        _case("fleet.eight"),
        _case("fleet.map_four", core=_CORES_WITH_MAPS, needs=("map_steps",)),
    ]


def _case(
    case_id: str, core: str = "", needs: tuple[str, ...] = (), *, quick: bool = False
) -> Case:
    return Case(
        id=case_id,
        promise=_PROMISE,
        reference="pgflow.read_with_poll, start_tasks, complete_task and fail_task, core 0.5.0",
        flow={"slug": "fleet", "steps": []},
        worker={},
        runs=(),
        acts=_ACTS,
        core=core,
        needs=needs,
        quick=quick,
        within=90,
    )


def crew(random: Random, adapters: Sequence[Adapter], size: int) -> list[Adapter]:
    """So many workers of at least two languages, as they come.

    Args:
        random: what decides.
        adapters: who may take part; several may speak one language.
        size: how many.
    """
    first = random.choice(adapters)
    others = [one for one in adapters if one.language != first.language]
    chosen = [first, random.choice(others), *random.choices(adapters, k=size - 2)]
    random.shuffle(chosen)
    return chosen


def runs_for(random: Random, flow: dict[str, Any], tasks: int) -> tuple[RunOf, ...]:
    """Runs until there are about so many tasks."""
    runs: list[RunOf] = []
    count = 0
    while count < tasks:
        run = RunOf(input_of(random, len(runs)), {})
        runs.append(run)
        count += sum(len(one["whole"]) for one in expected(flow, run.input).inputs.values())
    return tuple(runs)


@dataclass
class Fleet(Trial):
    """A fleet's trial, with the seed that it was made from.

    Attributes:
        seed: of the whole run.
    """

    seed: int = 0

    @classmethod
    def of(cls, case: Case, session: Session, folder: Path, core: str) -> Fleet:
        """The fleet of a case: its flow, inputs, workers and their options come from the seed."""
        random = Random(f"{session.seed} {case.id}")  # noqa: S311  # for tests, not for secrets
        able = [
            one
            for one in session.adapters
            if not (one.hello.name and set(case.needs) - set(one.hello.capabilities))
        ]
        size = SIZES[case.id.partition(".")[2].rpartition("_")[2]]
        flow = flow_of(random, "fleet", maps="map_steps" in case.needs)
        options = {
            "max_concurrency": random.randint(2, 4),
            "batch_size": random.randint(2, 4),
            "poll_interval": 0.1,
            "visibility_timeout": 30,  # no message comes back while its task runs
        }
        runs = runs_for(random, flow, QUICK_TASKS if session.quick else TASKS)
        made = replace(case, flow=flow, worker=options, runs=runs)
        return cls(
            made, crew(random, able, size), folder, session.patience, core, seed=session.seed
        )

    def run(self, cluster: Cluster, server: RestartableServer | None = None) -> None:
        """Try the case, and compare all that was done with the oracle."""
        super().run(cluster, server)
        if self.seen is None or self.outcome == "unsupported":
            return
        told = [expected(self.case.flow, run.input) for run in self.case.runs]
        if len(self.seen.run_ids) == len(told):
            self.problems.extend(verdict.problems(self.seen, told))
        if self.problems:
            self.outcome = "failed"

    def record(self, repeat: str, known: Deviation | None) -> records.Case:
        """What the report says of it: with the flow, which is nowhere else, if it went wrong."""
        record = super().record(repeat, known)
        steps = len(self.case.flow["steps"])
        crew_in_words = _counted(adapter.name for adapter in self.adapters)
        note = f"{crew_in_words}; {steps} steps, {len(self.case.runs)} runs"
        problems = record.problems
        if problems:
            made = json.dumps({"flow": self.case.flow, "worker": self.case.worker})
            problems = (*problems, f"with seed {self.seed}, {crew_in_words}, and {made}")
        workers = tuple(dict.fromkeys(record.workers))
        return replace(record, workers=workers, note=note, problems=problems)


def _counted(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(f"{listed.count(name)} {name}" for name in dict.fromkeys(listed))
