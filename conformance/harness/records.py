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
from typing import TYPE_CHECKING, Final, Literal, NoReturn, TypeAlias, TypeVar, cast, get_args

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

_Word = TypeVar("_Word", bound=str)
_MAX_NUMBER: Final = 1e12  # seconds or tasks; what is beyond is a mistake, not a measurement

# Worker logs are other people's bytes: colour codes and bells must not reach a terminal, and a lone
# surrogate or a NUL must not reach an HTML file.
_ESCAPES: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|.)")
_UNPRINTABLE: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_SURROGATES: Final = re.compile("[\ud800-\udfff]")


class MalformedLine(ValueError):
    """A line of the stream does not say what it must.

    Attributes:
        number: the line, counted from 1.
        reason: what is wrong with it.
    """

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(f"line {number}: {reason}")
        self.number = number
        self.reason = reason


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
    fields = _Fields(value, number)
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
    return _worker(_Fields(value, 1))


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


class _Fields:
    """The keys of one JSON object, each read as what it must be or refused."""

    def __init__(self, value: object, number: int, inside: str = "") -> None:
        self._number = number
        self._inside = inside
        if not isinstance(value, dict):
            self.refuse(f"{inside or 'the record'} is not an object")
        self.data = cast("dict[str, object]", value)

    def refuse(self, reason: str) -> NoReturn:
        raise MalformedLine(self._number, reason)

    def _wrong(self, key: str, expected: str) -> NoReturn:
        name = f"{self._inside}.{key}" if self._inside else key
        found = "is missing" if key not in self.data else f"is not {expected}"
        self.refuse(f"{name} {found}")

    def text(self, key: str, default: str | None = None) -> str:
        value = self.data.get(key, default)
        return value if isinstance(value, str) else self._wrong(key, "text")

    def seconds(self, key: str) -> float:
        value = self.data.get(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self._wrong(key, "a number")
        # An integer can be too long for a float, and JSON's 1e999 is read as infinity.
        return float(value) if abs(value) < _MAX_NUMBER else self._wrong(key, "a sensible number")

    def seconds_or_none(self, key: str) -> float | None:
        return None if self.data.get(key) is None else self.seconds(key)

    def count(self, key: str, default: int | None = None) -> int:
        value = self.data.get(key, default)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MAX_NUMBER:
            return value
        return self._wrong(key, "a count")

    def one_of(self, key: str, words: tuple[_Word, ...]) -> _Word:
        value = self.data.get(key)
        for word in words:
            if word == value:
                return word
        return self._wrong(key, f"one of {', '.join(words)}")

    def texts(self, key: str, *, needed: bool = False) -> tuple[str, ...]:
        return tuple(
            item if isinstance(item, str) else self._wrong(key, "a list of texts")
            for item in self._list(key, needed=needed)
        )

    def objects(self, key: str) -> list[_Fields]:
        items = self._list(key, needed=False)
        return [_Fields(item, self._number, f"{key}[{at}]") for at, item in enumerate(items)]

    def object_or_none(self, key: str) -> _Fields | None:
        value = self.data.get(key)
        return None if value is None else _Fields(value, self._number, key)

    def counts_by_name(self, key: str) -> dict[str, int]:
        inner = self.object_or_none(key)
        return {} if inner is None else {name: inner.count(name) for name in inner.data}

    def texts_by_name(self, key: str) -> dict[str, str]:
        inner = self.object_or_none(key)
        return {} if inner is None else {name: inner.text(name) for name in inner.data}

    def _list(self, key: str, *, needed: bool) -> list[object]:
        value = self.data.get(key)
        if value is None and not needed:
            return []
        return (
            cast("list[object]", value) if isinstance(value, list) else self._wrong(key, "a list")
        )


def _suite(fields: _Fields) -> Suite:
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


def _core(fields: _Fields) -> Core:
    return Core(fields.text("version"), *_installed(fields))


def _installed(fields: _Fields) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    return fields.text("pgmq"), fields.texts("replaced"), fields.texts("stand_ins")


def _worker(fields: _Fields) -> Worker:
    name, language = fields.text("name"), fields.text("language")
    return Worker(
        name,
        language,
        fields.text("version"),
        fields.text("handler_input", ""),
        fields.texts("capabilities"),
    )


def _case(fields: _Fields) -> Case:
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


def _step(fields: _Fields) -> Step:
    return Step(fields.text("slug"), fields.texts("depends_on"))


def _fault(fields: _Fields) -> Fault:
    return Fault(fields.seconds("at"), fields.text("worker"), fields.text("what"))


def _loss(fields: _Fields) -> Loss:
    route = fields.texts("route", needed=True)
    return Loss(fields.text("value"), route, fields.text("came", ""), fields.text("excuse", ""))


def _control(fields: _Fields) -> Control:
    return Control(
        fields.text("worker"),
        fields.text("does"),
        fields.texts("must_fail", needed=True),
        fields.texts("failed", needed=True),
        fields.texts("passed", needed=True),
    )


def _deviation(fields: _Fields) -> Deviation:
    return Deviation(fields.text("reason"), fields.text("reference"), fields.text("date"))


def _span(fields: _Fields) -> Span:
    return Span(
        worker=fields.text("worker"),
        step=fields.text("step"),
        run=fields.text("run"),
        start=fields.seconds("start"),
        end=fields.seconds_or_none("end"),
        status=fields.one_of("status", STATUSES),
    )
