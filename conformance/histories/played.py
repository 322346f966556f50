"""A case whose whole history is compared with the one that is recorded, or recorded anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from conformance.harness import cores, outputs
from conformance.harness.contract import mistake
from conformance.harness.processes import NotSupported
from conformance.harness.trial import Trial
from conformance.histories import recording, tracing
from conformance.histories.scrub import Call, Names, Seen, history, split

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from conformance.harness.stage import Stage

RECORD: Final = "--record"
_MOST: Final = 40  # lines of a difference that are shown


@dataclass
class Played(Trial):
    """One worker with a flow whose history is known.

    Attributes:
        records: whether to write down the history, in place of comparing it.
    """

    records: bool = False

    def _perform(self, stage: Stage, acts: Sequence[Mapping[str, Any]]) -> None:
        tracing.install(stage.database.connection, self.case.shape.slug)
        super()._perform(stage, acts)

    def _play(self, stage: Stage) -> None:
        super()._play(stage)
        names = Names(
            stage.run_ids,
            {str(found): role for role, found in _named(stage) if found is not None},
        )
        calls = history(tracing.read(stage.database.connection), _seen(stage), names)
        if self.records:
            self._record(calls)
        else:
            self._compare(calls)

    def _record(self, calls: Sequence[Call]) -> None:
        """Write the history down, unless something else was wrong."""
        if self.problems:
            self.problems.append("so its history is not recorded")
            return
        label = cores.of(self.core).label
        path = recording.path_of(self.case.id, label)
        text = recording.written(self.case.id, label, calls)
        path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists() or path.read_text(encoding="utf-8") != text
        outputs.replace(path, text)
        self.note = "recorded" if is_new else "recorded, and as it was"

    def _compare(self, calls: Sequence[Call]) -> None:
        """Say what is different from what was recorded.

        A core of which nothing is recorded is held against the known one that it is most like:
        what is the same is as promised, and what is not need not be wrong.
        """
        core = cores.of(self.core)
        path = recording.path_of(self.case.id, core.label)
        is_recorded = path.exists()
        if not is_recorded:
            path = recording.path_of(self.case.id, core.like)
        lines = recording.difference(recording.load(path), calls) if path.exists() else []
        again = f"./scripts/conformance {RECORD} --case {self.case.id} --core {self.core}"
        where = "/".join(path.parts[-4:])
        shown = "\n".join(lines[:_MOST])
        if len(lines) > _MOST:
            shown += f"\n… and {len(lines) - _MOST} more lines"
        if is_recorded and lines:
            self.problems.append(
                f"its history is not that of {where} (- recorded, + now):\n{shown}\n"
                f"If it is to be so: {again}"
            )
        elif not is_recorded and not self.problems:
            if path.exists() and not lines:
                self.note = f"as on {core.like}"
                return
            beside = f"; it is not that of {where} (- there, + now):\n{shown}" if lines else ""
            raise NotSupported(
                f"no history of core {core.label} is recorded; to record it: {again}{beside}"
            )


def _named(stage: Stage) -> Iterator[tuple[str, str | None]]:
    """What workers are called, whatever their language: by the order in which they began."""
    for number, worker in enumerate(stage.workers, 1):
        yield f"worker {number}", worker.worker_id
    yield "harness", stage.own_worker


def _seen(stage: Stage) -> Iterator[Seen]:
    """The calls of handlers, in the form that is the same for all workers."""
    steps = {step.slug: step for step in stage.case.stored.steps}
    for worker in stage.workers:
        for call in worker.of("call"):
            if mistake("call", call) or call["step_slug"] not in steps:
                continue  # which is a problem of its own
            step = steps[call["step_slug"]]
            is_root = not step.depends_on
            sees = split(
                call.get("input"), worker.handler_input, is_root=is_root, is_map=step.is_map
            )
            yield Seen(str(call["run_id"]), step.slug, int(call.get("task_index", 0)), sees)
