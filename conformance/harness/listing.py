"""What there is to try, for people: all cases in a list, or one case in full."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from conformance.harness import cores
from conformance.harness.cases import TOGETHER, USUAL, Case
from conformance.harness.selection import case_of, id_of, parameter
from conformance.harness.values import show
from pgflow_ref.drawings import graph_drawing
from pgflow_ref.json_contract import encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import pytest
    from rich.console import RenderableType

    from conformance.harness.deviations import Deviation

SCRIPT: Final = "./scripts/conformance"


@dataclass(frozen=True)
class Entry:
    """A case with all that it is tried with.

    Attributes:
        id: the case's.
        case: the case; None for a test that names none.
        workers: with which workers it is tried one by one.
        cores: on which cores.
        about: what the test says of itself.
    """

    id: str
    case: Case | None
    workers: tuple[str, ...]
    cores: tuple[str, ...]
    about: str = ""

    @property
    def group(self) -> str:
        """Under which heading it is listed."""
        return self.id.partition(".")[0] if self.case else "more"

    @property
    def promise(self) -> str:
        """What it checks."""
        return self.case.promise if self.case else self.about


def entries(items: Iterable[pytest.Item]) -> list[Entry]:
    """One entry for each case, in the order of the tests."""
    tests: dict[str, list[pytest.Item]] = {}
    for item in items:
        tests.setdefault(id_of(item), []).append(item)
    return [
        Entry(
            name,
            case_of(made[0]),
            _each(parameter(item, "worker_name") for item in made),
            _each(_label(parameter(item, "core")) for item in made),
            _sentence(getattr(getattr(made[0], "function", None), "__doc__", None)),
        )
        for name, made in tests.items()
    ]


def list_drawing(listed: Sequence[Entry], width: int | None = None) -> RenderableType:
    """All entries in groups; `width` is that of the promises, None does not break them."""
    groups: dict[str, list[Entry]] = {}
    for entry in listed:
        groups.setdefault(entry.group, []).append(entry)
    parts: list[RenderableType] = []
    for group, members in groups.items():
        table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style="dim")
        for title in ("case", "cores", "needs", "workers", ""):
            table.add_column(title, no_wrap=True)
        table.add_column("promise", max_width=width, no_wrap=width is None)
        for entry in members:
            case = entry.case
            table.add_row(
                entry.id,
                ", ".join(entry.cores) or "-",
                ", ".join(case.needs) if case and case.needs else "-",
                ", ".join(entry.workers) or "-",
                "quick" if case and case.quick else "",
                entry.promise,
            )
        count = f"{len(members)} case{'s' * (len(members) != 1)}"
        parts += [Text(f"{group}: {count}", style="bold"), Padding(table, (0, 0, 1, 2))]
    return Group(*parts, Text(f"{len(listed)} in all"))


def explanation(entry: Entry, known: Sequence[Deviation]) -> RenderableType:
    """Everything that there is to know of a case, without trying it."""
    case = entry.case
    head = [Text(entry.id, style="bold"), Text(entry.promise)]
    command = Text(f"{SCRIPT} --case {entry.id}", style="cyan")
    if case is None:
        return Group(*head, Text(), *_part("To run it", command))
    facts = Table.grid(padding=(0, 2, 0, 0))
    for label, value in (
        ("promised by", case.reference),
        ("cores", f"{case.core or 'all'} (in this run: {', '.join(entry.cores) or 'none'})"),
        ("needs", ", ".join(case.needs) or "nothing that not every worker has"),
        ("workers", ", ".join(entry.workers) or "all that take part, together"),
        ("quick run", "yes" if case.quick else "no"),
        ("patience", f"{case.within:g} s for anything that is waited for"),
    ):
        facts.add_row(Text(label, style="dim"), Text(value))
    parts: list[RenderableType] = [*head, Text(), facts, Text()]
    if case.flow.get("steps"):
        parts += _part("Flow", Group(graph_drawing(case.shape), Text(), _handlers(case)))
    if case.worker:
        parts += _part("Worker's options", Text(encode(case.worker)))
    acts = case.acts or (USUAL if entry.workers else TOGETHER)
    if case.runs:
        parts += _part("What is done", _numbered(map(in_words, acts)))
        parts += _part("What is expected", _expectations(case))
    parts += _part("Known deviations", _deviations(known))
    return Group(*parts, *_part("To run it", command))


def in_words(act: Mapping[str, Any]) -> str:
    """An act of a case as a sentence.

    Example:
        >>> in_words({"kill": "first"})
        'first: it is killed (SIGKILL)'
    """
    (verb, what), *_ = act.items()
    return WORDS[verb](what) if verb in WORDS else f"{verb}: {encode(what)}"


def _wait(what: str | Mapping[str, Any]) -> str:
    if isinstance(what, str):
        return "wait until all runs are over"
    return f"wait until {next(_UNTIL[key](what) for key in _UNTIL if key in what)}"


def _until_step(what: Mapping[str, Any]) -> str:
    after = f" after {what['attempts']} attempts" if "attempts" in what else ""
    return f"step {what['step']} of run {what.get('run', 1)} is {what['status']}{after}"


_UNTIL: Final[dict[str, Callable[[Mapping[str, Any]], str]]] = {
    "calls": lambda what: f"{_who(what.get('of', 'all'))} called {what['calls']} handlers",
    "exit": lambda what: f"the process of {_who(what['exit'])} has ended by itself",
    "end": lambda what: f"{_who(what['end'])} has ended in good order",
    "over": lambda what: f"run {what['over']} is over",
    "step": _until_step,
    "until": lambda what: str(what.get("says", _line(what["until"]))),
}


def _check(what: Mapping[str, Any]) -> str:
    return f"check: {what.get('says', _line(what['sql']))} is {show(what['is'])}"


def _start(who: str | Mapping[str, Any]) -> str:
    if not isinstance(who, str):
        return f"{_start(who['by'])}: the next {who['runs']}"
    if who == "harness":
        return "the harness starts the runs, with pgflow.start_flow"
    return f"the clients of {_who(who)} start the runs"


def _to(what: str) -> Callable[[Any], str]:
    return lambda roles: f"{_who(roles)}: it {what}"


WORDS: Final[dict[str, Callable[[Any], str]]] = {
    "start": _start,
    "work": lambda roles: f"{_who(roles)}: it begins to work, and is ready",
    "wait": _wait,
    "sql": lambda sql: f"SQL: {_line(sql)}",
    "check": _check,
    "hide": lambda _: "no message of the queue is visible any more",
    "show": lambda _: "all messages of the queue are visible",
    "hold": lambda _: "each message that is sent from now on is hidden until it is delivered",
    "deliver": lambda most: f"{_messages(most)} visible, one when the one before is dealt with",
    "stop": _to("is asked to stop (SIGTERM), and ends as it should"),
    "kill": _to("is killed (SIGKILL)"),
    "pause": _to("stands still (SIGSTOP)"),
    "resume": _to("goes on (SIGCONT)"),
    "ask": _to("is asked to stop (SIGTERM), and the case goes on at once"),
    "claim": lambda what: f"the harness claims {_task(what)} as a worker of its own",
    "complete": lambda what: f"the harness completes {_task(what)}, whoever has it",
    "fail": lambda what: f"the harness fails {_task(what)}, whoever has it",
    "add": lambda step: f"the database gets step {step['slug']}, which no worker knows",
    "gate": lambda what: f"whoever comes to {what['at']} waits there, {what['when']} it is done",
    "reached": _to("waits at the gate"),
    "open": lambda _: "the gate is opened",
    "undo": lambda _: "what waits at the gate is ended, so that it is not done; the gate is opened",
    "cut": _to("loses all its connections (RST)"),
    "stall": lambda what: f"nothing is forwarded between the database and {_stalled(what)}",
    "refuse": _to("gets no new connection"),
    "heal": _to("is forwarded again, and gets connections again"),
    "terminate": _to("has its connections ended by the server (pg_terminate_backend)"),
    "restart": lambda how: f"the server stops ({how}), and starts again",
    "fill": lambda what: f"the {what} of the queue is on a small disk, which is full",
    "denied": lambda least: f"wait until {int(least)} writes found no room there",
    "free": lambda _: "there is room again",
    "lock": lambda sql: f"another transaction stays open: {_line(sql)}",
    "unlock": lambda _: "that transaction is undone",
    "age": lambda _: "an hour goes by for all tasks that are started",
    "storm": lambda what: f"{what['faults']} faults, drawn from the seed",
}
"""What each act is in words."""


def _messages(most: str | int) -> str:
    if most == 1:
        return "the next message becomes"
    return f"{'all messages' if most == 'all' else f'the next {most} messages'} become"


def _task(what: Mapping[str, Any]) -> str:
    return f"the task of step {what['step']} of run {what.get('run', 1)}"


def _stalled(what: str | Mapping[str, Any]) -> str:
    if isinstance(what, str):
        return _who(what)
    way = {"up": "to the server", "down": "to the worker"}.get(what.get("way", ""), "both ways")
    return f"{_who(what['of'])} ({way})"


def _who(roles: str | Sequence[str]) -> str:
    if roles == "all":
        return "every worker"
    return roles if isinstance(roles, str) else " and ".join(roles)


def _line(sql: str) -> str:
    return " ".join(sql.split())


def _label(core: str | None) -> str | None:
    return None if core is None else cores.of(core).label


def _each(values: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value for value in values if value is not None))


def _sentence(text: str | None) -> str:
    return " ".join((text or "").strip().partition("\n\n")[0].split())


def _part(title: str, body: RenderableType) -> list[RenderableType]:
    return [Text(title, style="bold"), Padding(body, (0, 0, 1, 2))]


def _numbered(lines: Iterable[str]) -> RenderableType:
    grid = Table.grid(padding=(0, 1, 0, 0))
    for number, line in enumerate(lines, 1):
        grid.add_row(Text(f"{number}."), Text(line))
    return grid


def _handlers(case: Case) -> RenderableType:
    grid = Table.grid(padding=(0, 2, 0, 0))
    for step in case.flow["steps"]:
        handler = step.get("handler", [])
        grid.add_row(Text(f"{step['slug']}:"), Text(", then ".join(map(encode, handler)) or "null"))
    return grid


def _expectations(case: Case) -> RenderableType:
    grid = Table.grid(padding=(0, 2, 0, 0))
    for number, run in enumerate(case.runs, 1):
        said = "; ".join(f"{key} {show(value)}" for key, value in run.expect.items())
        grid.add_row(Text(f"run {number}"), Text(f"with {show(run.input)}: {said or 'nothing'}"))
    for key, value in case.expect.items():
        grid.add_row(Text("all"), Text(f"{key} {show(value)}"))
    grid.add_row(Text("always"), Text("the contract's lines, and what holds of any history"))
    return grid


def _deviations(known: Sequence[Deviation]) -> RenderableType:
    if not known:
        return Text("none")
    return Group(*(Text(f"{one.who}: {one.reason} ({one.reference})") for one in known))
