"""What two cores do: the model, which knows what each version does, against both databases.

Every behaviour that a profile names is shown by a short history of calls, and random histories look
for what no profile names. A core that nobody has a profile of is held against that of the version
which it is most like; whatever it does otherwise is made as short as it gets, and told as a script.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

import psycopg

from conformance.core import evidence, examples, subject
from conformance.core.history import Counts, Difference, History
from conformance.core.machine import play_one
from conformance.core.statements import statement
from conformance.regress.about import case_about
from conformance.regress.findings import Finding
from conformance.regress.schemas import concerns
from pgflow_ref.profiles import changes, load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from conformance.core.subject import Subject
    from conformance.harness.databases import Cluster
    from conformance.regress.findings import Kind, Who
    from conformance.regress.sides import Side
    from pgflow_ref.model import Behaviour
    from pgflow_ref.model.calls import Call

    Place = tuple[str, ...]

HISTORIES: Final = 60
"""Random histories for each core, of some 40 calls."""

_CASE: Final = "core.does_what_its_model_does"
_SHORTENING: Final = 8.0  # seconds for each difference
_MOST: Final = 20  # differences that are told; a core that has more is another core altogether
_REFUSED: Final = frozenset[str]({"read_with_poll_in_core", "workers_are_stopped"})
"""Behaviours at whose end a statement of workers is refused."""
_VARIES: Final = re.compile(r"\(.*?\)|\[\d+\]|\d+")
_CALLED: Final = re.compile(r"^SELECT \* FROM ([a-z_.]+)\(")


@dataclass
class Played:
    """What histories have shown of a core.

    Attributes:
        calls: how many were made.
        shown: the behaviours whose own history went as the model says.
        differences: by what is different after which call, the first history that shows it.
    """

    calls: int = 0
    shown: set[Behaviour] = field(default_factory=set)
    differences: dict[Place, Difference] = field(default_factory=dict)


def compare(  # noqa: PLR0913  # two cores, where they go, and how much
    base: Side,
    candidate: Side,
    cluster: Cluster,
    say: Callable[[str], None],
    histories: int = HISTORIES,
    *,
    pgmq: str | None = None,
    seed: int = 0,
) -> list[Finding]:
    """Play histories on both cores, and say what they do otherwise.

    Args:
        base: the one core.
        candidate: the other.
        cluster: a server whose user is a superuser.
        say: is told what takes long.
        histories: how many random ones for each.
        pgmq: the pgmq that both get, or None for the usual one.
        seed: what the random ones are made from, the same for both.

    Raises:
        PgflowError: a core cannot be installed.
        psycopg.Error: the base has not what its profile says.
    """
    chances = [_chance(seed, number) for number in range(histories)]
    old = _played(base, cluster, say, chances, pgmq)
    try:
        new = _played(candidate, cluster, say, chances, pgmq)
    except psycopg.Error as error:
        said = f"{error.diag.message_primary or error} ({error.sqlstate})"
        detail = (
            f"{candidate.label} cannot be held against the model of core {candidate.like}: it has"
            f" not all tables and columns that the model knows: {said}."
        )
        return [Finding("broken", "operators", "tables that the model knows", detail)]
    return findings(base, candidate, old, new)


def _chance(seed: int, number: int) -> str:
    """What one random history is made from: another for each number and each seed."""
    return f"{seed}:{number}"


def _played(
    side: Side,
    cluster: Cluster,
    say: Callable[[str], None],
    chances: Sequence[str],
    pgmq: str | None,
) -> Played:
    """Play on a database of the side's own."""
    name = f"regress_model_{side.role}"
    try:
        subject.create(cluster, name, side.profile, core=(side.core, pgmq))
        with psycopg.connect(cluster.url_of(name)) as connection:
            say(f"comparing {side.label} with the model of core {side.like}")
            played = play(subject.Subject(connection, side.profile), chances)
            connection.rollback()
    finally:
        cluster.drop(name)
    return played


def play(core: Subject, chances: Iterable[str]) -> Played:
    """Play the histories that show the behaviours of its profile, and random ones.

    Args:
        core: where to play them.
        chances: what each of the random ones is made from.
    """
    profile, found = core.profile, Played()
    for name, listed in examples.examples(profile.core).items():
        difference = _difference(core, found, partial(_make, listed))
        if difference is None:
            found.shown.add(name)
    for one in chances:
        if len(found.differences) >= _MOST:
            break
        chance = random.Random(one)  # noqa: S311  # no secret
        _difference(core, found, partial(play_one, chance=chance))
    return found


def _make(calls: Iterable[Call], history: History) -> None:
    for call in calls:
        history.call(call)


def _difference(
    core: Subject, found: Played, play_it: Callable[[History], None]
) -> Difference | None:
    """Play one history; a difference of a new kind is made short and kept."""
    counts = Counts()
    try:
        play_it(History(core, core.profile, counts))
    except Difference as difference:
        if place_of(difference) not in found.differences:
            short = evidence.shorten(difference, core, _SHORTENING)
            found.differences.setdefault(place_of(difference), short)
        return difference
    finally:
        found.calls += counts.calls
    return None


def place_of(difference: Difference) -> Place:
    """What makes two differences the same one: the call, and what is different after it."""
    call, _ = difference.history[-1]
    places = {_VARIES.sub("", problem.partition(": the ")[0]) for problem in difference.problems}
    return (type(call).__name__, *sorted(places))


def findings(base: Side, candidate: Side, old: Played, new: Played) -> list[Finding]:
    """What the histories of two cores come to. Pure."""
    return [
        *_named(base, candidate, old, new),
        *_unnamed(base, candidate, old, new),
        *_same(base, candidate, old, new),
    ]


def _named(base: Side, candidate: Side, old: Played, new: Played) -> Iterator[Finding]:
    """The behaviours that begin and end, each shown by a history on the side that has it."""
    between = changes(base.like, candidate.like)
    for entry in between.begins:
        if entry.name in new.shown:
            detail = f"Since {entry.since}: {entry.says} {entry.means} ({entry.where})"
            script = _script(candidate, entry.name)
            case = _case(entry.name, base, candidate)
            yield Finding("changed", entry.concerns, _words(entry.name), detail, case, script)
    for ending in between.ends:
        entry = ending.entry
        if entry.name in old.shown:
            kind: Kind = "broken" if entry.name in _REFUSED else "changed"
            detail = (
                f"No more since {ending.until}: {entry.says} Instead: {ending.says}"
                f" ({ending.where})"
            )
            script = _script(base, entry.name)
            case = _case(entry.name, base, candidate)
            yield Finding(kind, entry.concerns, _words(entry.name), detail, case, script)


def _words(name: Behaviour) -> str:
    return name.replace("_", " ")


def _case(name: Behaviour, base: Side, candidate: Side) -> str:
    """A case that is about this behaviour; else the one that plays histories as is done here."""
    return case_about(name, (base.wanted.version, candidate.wanted.version)) or _CASE


def _script(side: Side, name: Behaviour) -> str:
    calls = examples.examples(side.like)[name]
    return f"-- on {side.label}\n{examples.script(calls, side.profile)}"


def _unnamed(base: Side, candidate: Side, old: Played, new: Played) -> Iterator[Finding]:
    """What no profile has a name for: where a core is not what its model says."""
    for place, difference in new.differences.items():
        if place not in old.differences:
            detail = f"{candidate.label} does not do what core {candidate.like} does: "
            yield _told(difference, detail, _kind(difference))
    for place, difference in old.differences.items():
        if place not in new.differences:
            detail = f"{candidate.label} does what core {candidate.like} does, {base.label} not: "
            yield _told(difference, detail, "changed")


def _kind(difference: Difference) -> Kind:
    """A call that is refused is a break; anything else is another result."""
    refused = "the model expects that it is accepted, the database refused it"
    return "broken" if difference.problems[0].startswith(refused) else "changed"


def _told(difference: Difference, before: str, kind: Kind) -> Finding:
    call, _ = difference.history[-1]
    called = _CALLED.match(statement(call, difference.profile))
    what = called[1] if called else type(call).__name__
    problems = difference.problems
    more = f" (and {len(problems) - 1} more, see the script)" if len(problems) > 1 else ""
    who: Who = concerns(what)
    script = evidence.script(difference)
    detail = f"{before}{problems[0]}{more}."
    return Finding(kind, who, f"after {what}", detail, _CASE, script)


def _same(base: Side, candidate: Side, old: Played, new: Played) -> Iterator[Finding]:
    shared = old.shown & new.shown
    entries = load(candidate.like).entries
    for who in ("workers", "clients"):
        names = sorted(_words(name) for name in shared if entries[name].concerns == who)
        if names:
            what = f"{len(names)} behaviours that concern {who}"
            yield Finding("same", who, what, f"{', '.join(names)}.")
    sides = [(base, old), (candidate, new)]
    clean = [_counted(side, played) for side, played in sides if not played.differences]
    if len(clean) == len(sides):
        detail = f"As the model says, after every call: {' and '.join(clean)}."
        yield Finding("same", "operators", "what no profile names", detail)


def _counted(side: Side, played: Played) -> str:
    return f"{played.calls:,} on {side.label}"
