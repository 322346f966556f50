"""Send JSON values through three workers, one after the other.

No JSON of Python stands between: the text of a value goes to the client's stdin as it is, and what
is there in the end is compared by the server.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from conformance.harness import databases
from conformance.harness.processes import WorkerProblem
from conformance.harness.trial import Trial
from conformance.json.losses import Station, Verdict, expected, judge, refused
from conformance.json.routes import FIRST, SECOND
from pgflow_ref.compile import compile_flow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conformance.harness import records
    from conformance.harness.deviations import Deviation
    from conformance.harness.stage import Stage
    from conformance.json.values import Value

# The second step's messages wait for the third worker.
_HOLD: Final = """
CREATE FUNCTION conformance.hold() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.message ->> 'step_slug' = '{second}' THEN
        NEW.vt := 'infinity';
    END IF;
    RETURN NEW;
END;
$$;
CREATE TRIGGER hold BEFORE INSERT ON pgmq.q_{flow}
    FOR EACH ROW EXECUTE FUNCTION conformance.hold();
CREATE TABLE conformance.sent (number int PRIMARY KEY, run_id uuid, value jsonb);
CREATE TABLE conformance.changed (number int, station int, value jsonb, lost boolean);
"""

_RELEASE: Final = "DROP TRIGGER hold ON pgmq.q_{flow}"

_STATIONS: Final = """
WITH task AS (
    SELECT run_id, step_slug, status, error_message,
        CASE WHEN status = 'completed' THEN coalesce(output, 'null') END AS output
    FROM pgflow.step_tasks
)
SELECT sent.number,
    found.value IS NOT DISTINCT FROM CASE WHEN lost THEN changed.value ELSE sent.value END,
    found.value = sent.value,
    written.same,
    coalesce(left(written.text, 60) || repeat('…', (length(written.text) > 60)::int),
        'nothing (' || coalesce(found.error, 'it did not come so far') || ')')
FROM conformance.sent
JOIN pgflow.runs AS run USING (run_id)
LEFT JOIN task AS one ON one.run_id = run.run_id AND one.step_slug = '{first}'
LEFT JOIN task AS two ON two.run_id = run.run_id AND two.step_slug = '{second}'
CROSS JOIN LATERAL (VALUES
    (0, run.input, NULL),
    (1, one.output, one.error_message),
    (2, two.output, two.error_message),
    (3, run.output -> '{second}', NULL)
) AS found (station, value, error)
LEFT JOIN conformance.changed USING (number, station)
CROSS JOIN LATERAL (
    SELECT found.value::text AS text, found.value::text = sent.value::text AS same
    OFFSET 0
) AS written
ORDER BY sent.number, found.station
"""

_WAITING: Final = """
SELECT count(*) FROM pgflow.step_tasks
WHERE step_slug = %(step)s AND status IN ('queued', 'started')
"""

_STORED: Final = "SELECT value::text FROM conformance.sent WHERE number = %s"

_STRAY: Final = """
SELECT count(*) FROM pgflow.step_tasks
WHERE step_slug = %(step)s AND last_worker_id IS DISTINCT FROM %(worker)s
"""


@dataclass
class Passage(Trial):
    """All values on one route: its three workers are the trial's adapters, in order.

    Attributes:
        values: what is sent.
        verdict: what became of them.
    """

    values: Sequence[Value] = ()
    verdict: Verdict = field(default_factory=Verdict)
    _runs: dict[str, str] = field(default_factory=dict)
    _refused: dict[str, str] = field(default_factory=dict)

    def record(self, repeat: str, known: Deviation | None) -> records.Case:
        """What the report says of it."""
        record = super().record(repeat, known)
        workers = tuple(dict.fromkeys(record.workers))
        record = replace(record, workers=workers, runs=len(self.values))
        return self.verdict.put_into(record, "fixtures/json/values.yaml")

    def _play(self, stage: Stage) -> None:
        names = {"flow": self.case.shape.slug, "first": FIRST, "second": SECOND}
        connection = stage.database.connection
        # The event log would keep each of the large values a dozen times.
        connection.execute("DROP FUNCTION conformance.note CASCADE")
        for statement in compile_flow(self.case.shape):
            connection.execute(statement.encode())
        connection.execute(_HOLD.format(**names).encode())
        stage.database.let_in(self.case.shape.slug)
        try:
            self._start(stage)
            self._work(stage, "second", FIRST)
            connection.execute(_RELEASE.format(**names).encode())
            databases.show_messages(stage.database, self.case.shape.slug)
            self._work(stage, "third", SECOND)
        finally:
            for worker in self.workers:
                self.problems.extend(worker.problems)
            if self._runs:
                self._judge(stage, _STATIONS.format(**names))

    def _start(self, stage: Stage) -> None:
        """Start the runs, and alone those that the worker refuses, or is known to refuse."""
        first = self.adapters[0]
        word = (first.name, "start")
        willing = [
            one for one in self.values if (loss := one.lost.get(word)) is None or loss.becomes
        ]
        alone = [one for one in self.values if one not in willing]
        try:
            ids = stage.start_texts(first, [value.text for value in willing])
            self._runs.update(zip((value.name for value in willing), ids, strict=True))
        except WorkerProblem:
            alone = list(self.values)
        for value in alone:
            self._start_alone(stage, value)

    def _start_alone(self, stage: Stage, value: Value) -> None:
        try:
            [self._runs[value.name]] = stage.start_texts(self.adapters[0], [value.text])
        except WorkerProblem as problem:
            self._refused[value.name] = str(problem)

    def _work(self, stage: Stage, role: str, step: str) -> None:
        """Let one worker do all tasks of one step, and nobody else any of them."""
        worker = stage.begin(role)
        worker.wait_ready()
        names = {"step": step, "worker": worker.worker_id}
        stage.wait(
            lambda: not stage.value(_WAITING, names), f"{worker.name}: all tasks of {step} are over"
        )
        worker.stop(stage.within)
        stray = stage.value(_STRAY, names)
        if stray:
            self.problems.append(f"{stray} tasks of {step} were not done by {worker.name}")

    def _judge(self, stage: Stage, query: str) -> None:
        route = [adapter.name for adapter in self.adapters]
        connection = stage.database.connection
        for number, value in enumerate(self.values):
            connection.execute(
                "INSERT INTO conformance.sent VALUES (%s, %s, %s::text::jsonb)",
                [number, self._runs.get(value.name), value.text],
            )
            if value.stored is not None:
                is_so = connection.execute(_STORED, [number]).fetchone()
                if is_so != (value.stored,):
                    self.problems.append(f"{value.name}: jsonb makes {is_so} of it")
            at_first = value.text if value.stored is None else value.stored
            for place, there in enumerate(expected(value, route)):
                if there != at_first:
                    connection.execute(
                        "INSERT INTO conformance.changed VALUES (%s, %s, %s::text::jsonb, true)",
                        [number, place, there],
                    )
        found: dict[object, list[Station]] = {}
        for row in connection.execute(query.encode()):
            station = Station(bool(row[1]), bool(row[2]), bool(row[3]), str(row[4]))
            found.setdefault(row[0], []).append(station)
        for number, value in enumerate(self.values):
            stations = found.get(number) or refused(value, route, self._refused[value.name])
            judge(value, route, stations, self.verdict)
        self.problems.extend(self.verdict.problems)
