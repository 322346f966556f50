"""What the suite writes down while it runs: one JSON object a line.

A stream (`results.jsonl`) begins with one `suite` record, holds a `case` record for every case and
set of workers that it ran with, and closes with one `end` record. What people see, in a terminal or
in a browser, is made from this stream alone, so it can be made again, later and anywhere.

Keys that this version does not know are skipped, so an old reader can read a newer stream. A line
that does not say what it must is refused with its number: a report that quietly leaves out a case
is worse than none.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

from conformance.harness.fields import Fields, MalformedLine

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Outcome: TypeAlias = Literal[
    "passed", "failed", "deviation", "unexpected_pass", "unsupported", "error"
]
Status: TypeAlias = Literal["completed", "failed", "started"]

OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)
STATUSES: Final[tuple[Status, ...]] = get_args(Status)
BAD: Final[frozenset[Outcome]] = frozenset({"failed", "unexpected_pass", "error"})
"""The outcomes that make a run fail. A known deviation that passed is one: the list is stale."""

# Worker logs are other people's bytes: colour codes and bells must not reach a terminal, and a lone
# surrogate or a NUL must not reach an HTML file.
_ESCAPES: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|.)")
_UNPRINTABLE: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_SURROGATES: Final = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker under test, as its `hello` line introduced it."""

    name: str
    language: str
    version: str
    handler_input: str = ""
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Core:
    """A version of pgflow's core, as it was installed.

    Attributes:
        replaced: functions of the core for which the installer put in its own.
        stand_ins: functions from outside the core that the installer stood in for.
    """

    version: str
    pgmq: str
    replaced: tuple[str, ...] = ()
    stand_ins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Suite:
    """What ran: the first record of a stream.

    Attributes:
        seed: what random graphs, inputs and faults were made from.
    """

    version: str
    started_at: str
    platform: str
    python: str
    postgresql: str
    cores: tuple[Core, ...]
    workers: tuple[Worker, ...] = ()
    seed: int = 0

    @property
    def usual(self) -> Core:
        """The core that most cases ran on."""
        return self.cores[0]


@dataclass(frozen=True, slots=True)
class Deviation:
    """Why a worker is known, and allowed for now, not to keep a promise."""

    reason: str
    reference: str
    date: str


@dataclass(frozen=True, slots=True)
class Span:
    """One task in one worker's hands; seconds count from the start of the case.

    Attributes:
        run: a short id of the run.
        end: None for a task that was never reported, whose worker was killed, say.
    """

    worker: str
    step: str
    run: str
    start: float
    end: float | None
    status: Status


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that the harness did to a worker, or to the server; seconds as in `Span`.

    Attributes:
        worker: whom it was done to, or empty for all.
        what: in a few words, such as `kill after claim`.
    """

    at: float
    worker: str
    what: str


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a case's flow, for a drawing."""

    slug: str
    depends_on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Loss:
    """What became of a JSON value on one way: started by one worker, run by others in turn.

    Attributes:
        value: the name of the value.
        route: the workers on its way, in order.
        came: what it had become at the end, or empty where it is as it was.
        excuse: why that is known, with its reference, or empty.
    """

    value: str
    route: tuple[str, ...]
    came: str = ""
    excuse: str = ""


@dataclass(frozen=True, slots=True)
class Control:
    """What the suite found of a worker that is wrong on purpose.

    Attributes:
        worker: its name.
        does: what it does wrong, in a sentence.
        must_fail: the cases that name the promises it breaks.
        failed: the cases that did fail.
        passed: the cases that it passed.
    """

    worker: str
    does: str
    must_fail: tuple[str, ...]
    failed: tuple[str, ...]
    passed: tuple[str, ...]

    @property
    def caught(self) -> bool:
        """Whether exactly what it breaks has failed, and it broke something."""
        return bool(self.failed) and set(self.failed) == set(self.must_fail)


@dataclass(frozen=True, slots=True)
class Case:
    """One case with one set of workers: several in a mixed case, none in a case of the core.

    Attributes:
        tasks: how many tasks each worker completed.
        log: the tail of each worker's stderr.
        repeat: the one command that runs exactly this again.
        note: what else there is to say of a result, in a few words.
        script: SQL for psql that shows the problem.
        flow: the steps of its flow.
        faults: what was done to the workers.
    """

    id: str
    group: str
    promise: str
    reference: str
    core: str
    workers: tuple[str, ...]
    outcome: Outcome
    seconds: float
    problems: tuple[str, ...] = ()
    tasks: Mapping[str, int] = field(default_factory=dict)
    runs: int = 0
    calls: int = 0
    log: Mapping[str, str] = field(default_factory=dict)
    repeat: str = ""
    deviation: Deviation | None = None
    timeline: tuple[Span, ...] = ()
    note: str = ""
    script: str = ""
    flow: tuple[Step, ...] = ()
    faults: tuple[Fault, ...] = ()

    @property
    def mixed(self) -> bool:
        """Whether several workers shared the work."""
        return len(self.workers) > 1


@dataclass(frozen=True, slots=True)
class End:
    """The last record: how long it took and the exit code (0 good, 1 failures, 2 could not run)."""

    seconds: float
    exit: int


Record: TypeAlias = Suite | Case | Loss | Control | End


def printable(text: str) -> str:
    """Take out of a text what a terminal would obey or a file could not hold."""
    text = _ESCAPES.sub("", text.replace("\r\n", "\n"))
    return _SURROGATES.sub("\ufffd", _UNPRINTABLE.sub("\ufffd", text))


def to_line(record: Record) -> str:
    """Write a record as one line of JSON, without the line's end.

    Example:
        >>> to_line(End(seconds=1.5, exit=0))
        '{"type": "end", "seconds": 1.5, "exit": 0}'
    """
    kind = type(record).__name__.lower()
    return json.dumps({"type": kind, **asdict(record)}, allow_nan=False)


def from_line(line: str, number: int = 1) -> Record:
    """Read one line.

    Raises:
        MalformedLine: with `number` and what is wrong.
    """
    try:
        value: object = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise MalformedLine(number, f"not JSON: {error}") from None
    fields = Fields(value, number)
    kind = fields.text("type")
    if kind == "suite":
        return _suite(fields)
    if kind == "case":
        return _case(fields)
    if kind == "loss":
        return _loss(fields)
    if kind == "control":
        return _control(fields)
    if kind == "end":
        return End(seconds=fields.seconds("seconds"), exit=fields.count("exit"))
    return fields.refuse(f"type is {kind!r}, not suite, case, loss, control or end")


def worker(value: object) -> Worker:
    """Read a worker's introduction.

    Raises:
        MalformedLine: it is none.
    """
    return _worker(Fields(value, 1))


def read_records(path: Path) -> list[Record]:
    """Read a whole stream; empty lines are skipped.

    Raises:
        MalformedLine: at the first line that cannot be read.
    """
    records: list[Record] = []
    # Bytes, because a broken character must be pinned to its line too.
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise MalformedLine(number, f"not UTF-8: {error.reason}") from None
        if text.strip():
            records.append(from_line(text, number))
    return records


def _suite(fields: Fields) -> Suite:
    return Suite(
        version=fields.text("version"),
        started_at=fields.text("started_at"),
        platform=fields.text("platform"),
        python=fields.text("python"),
        postgresql=fields.text("postgresql"),
        # Before there could be several, the one core's keys stood in the record itself.
        cores=tuple(map(_core, fields.objects("cores")))
        if "cores" in fields.data
        else (Core(fields.text("core"), *_installed(fields)),),
        workers=tuple(map(_worker, fields.objects("workers"))),
        seed=fields.count("seed", 0),
    )


def _core(fields: Fields) -> Core:
    return Core(fields.text("version"), *_installed(fields))


def _installed(fields: Fields) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    return fields.text("pgmq"), fields.texts("replaced"), fields.texts("stand_ins")


def _worker(fields: Fields) -> Worker:
    name, language = fields.text("name"), fields.text("language")
    return Worker(
        name,
        language,
        fields.text("version"),
        fields.text("handler_input", ""),
        fields.texts("capabilities"),
    )


def _case(fields: Fields) -> Case:
    deviation = fields.object_or_none("deviation")
    return Case(
        id=fields.text("id"),
        group=fields.text("group"),
        promise=fields.text("promise"),
        reference=fields.text("reference"),
        core=fields.text("core"),
        workers=fields.texts("workers", needed=True),
        outcome=fields.one_of("outcome", OUTCOMES),
        seconds=fields.seconds("seconds"),
        problems=fields.texts("problems"),
        tasks=fields.counts_by_name("tasks"),
        runs=fields.count("runs", 0),
        calls=fields.count("calls", 0),
        log=fields.texts_by_name("log"),
        repeat=fields.text("repeat", ""),
        deviation=None if deviation is None else _deviation(deviation),
        timeline=tuple(map(_span, fields.objects("timeline"))),
        note=fields.text("note", ""),
        script=fields.text("script", ""),
        flow=tuple(map(_step, fields.objects("flow"))),
        faults=tuple(map(_fault, fields.objects("faults"))),
    )


def _step(fields: Fields) -> Step:
    return Step(fields.text("slug"), fields.texts("depends_on"))


def _fault(fields: Fields) -> Fault:
    return Fault(fields.seconds("at"), fields.text("worker"), fields.text("what"))


def _loss(fields: Fields) -> Loss:
    route = fields.texts("route", needed=True)
    return Loss(fields.text("value"), route, fields.text("came", ""), fields.text("excuse", ""))


def _control(fields: Fields) -> Control:
    return Control(
        fields.text("worker"),
        fields.text("does"),
        fields.texts("must_fail", needed=True),
        fields.texts("failed", needed=True),
        fields.texts("passed", needed=True),
    )


def _deviation(fields: Fields) -> Deviation:
    return Deviation(fields.text("reason"), fields.text("reference"), fields.text("date"))


def _span(fields: Fields) -> Span:
    return Span(
        worker=fields.text("worker"),
        step=fields.text("step"),
        run=fields.text("run"),
        start=fields.seconds("start"),
        end=fields.seconds_or_none("end"),
        status=fields.one_of("status", STATUSES),
    )
