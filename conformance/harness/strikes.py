"""Faults as acts: what is done to workers, to their connections and to the server.

Each is noted in `Stage.faults`, with the time at which it was done.
"""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import psycopg

from conformance.harness import disk, gates
from conformance.harness.processes import WorkerProblem
from conformance.harness.records import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from conformance.harness.proxy import Proxy
    from conformance.harness.servers import RestartableServer
    from conformance.harness.stage import Stage

_COMES_BACK_WITHIN: Final = 10.0  # seconds for a worker to look for a server that has gone
_LOOK_EVERY: Final = 0.02  # seconds

Holder = psycopg.Connection[tuple[Any, ...]]


def note(stage: Stage, role: str, what: str) -> None:
    """Write down that something is about to be done, to a worker or (no role) to all."""
    seconds = stage.value(
        "SELECT coalesce(extract(epoch FROM clock_timestamp() - min(at)), 0)::float8"
        " FROM conformance.events"
    )
    worker = stage.roles[role].name if role in stage.roles else ""
    stage.faults.append(Fault(round(float(seconds), 4), worker, what))


def proxy_of(stage: Stage) -> Proxy:
    """What stands between the workers and the database."""
    if stage.proxy is None:
        raise WorkerProblem("the case has no proxy: it needs an act that asks for one")
    return stage.proxy


def roles_of(stage: Stage, roles: str | list[str]) -> list[str]:
    """These roles; `all`: whoever has begun."""
    if roles == "all":
        return list(stage.roles)
    return [roles] if isinstance(roles, str) else roles


# Gates


def gate(stage: Stage, what: Mapping[str, str]) -> None:
    """Shut a gate."""
    slug = stage.case.shape.slug
    gates.shut(stage.database.connection, slug, what["at"], what["when"])
    stage.gate = f"{what['when']} the {what['at']}"


def reached(stage: Stage, role: str) -> None:
    """Wait until a statement of this worker waits at the gate."""

    def is_there() -> bool:
        backends = set(proxy_of(stage).backends(role))
        return bool(backends & gates.waiting(stage.database.connection))

    stage.wait(is_there, f"a statement of the {role} worker waits {stage.gate}")


def open_gate(stage: Stage, _: object) -> None:
    """Open the gate; what waits there goes on."""
    gates.open_(stage.database.connection)
    stage.gate = ""


def undo(stage: Stage, _: object) -> None:
    """End the statements that wait at the gate, and open it."""
    note(stage, "", f"undo {stage.gate}")
    if not gates.undo(stage.database.connection):
        raise WorkerProblem("nobody waits at the gate: there is nothing to undo")
    open_gate(stage, None)


# Workers


def kill(stage: Stage, roles: str | list[str]) -> None:
    """SIGKILL."""
    for role in roles_of(stage, roles):
        note(stage, role, _said(stage, "kill"))
        for worker in stage.working(role):
            worker.kill()


def pause(stage: Stage, roles: str | list[str]) -> None:
    """SIGSTOP."""
    for role in roles_of(stage, roles):
        note(stage, role, _said(stage, "pause"))
        for worker in stage.working(role):
            worker.send(signal.SIGSTOP)


def resume(stage: Stage, roles: str | list[str]) -> None:
    """SIGCONT."""
    for worker in stage.working(roles):
        worker.send(signal.SIGCONT)


# Connections


def cut(stage: Stage, roles: str | list[str]) -> None:
    """RST, both ways."""
    for role in roles_of(stage, roles):
        note(stage, role, _said(stage, "cut"))
        proxy_of(stage).cut(role)


def stall(stage: Stage, what: str | Mapping[str, Any]) -> None:
    """Forward nothing; or nothing this way, `up` to the server or `down` to the worker."""
    role, ways = (what, ()) if isinstance(what, str) else (what["of"], (what["way"],))
    note(stage, role, _said(stage, "stall"))
    proxy_of(stage).stall(role, *ways)


def refuse(stage: Stage, role: str) -> None:
    """Take no new connections."""
    note(stage, role, _said(stage, "refuse"))
    proxy_of(stage).refuse(role)


def heal(stage: Stage, role: str) -> None:
    """All is well again."""
    proxy_of(stage).heal(role)


def terminate(stage: Stage, role: str) -> None:
    """`pg_terminate_backend` for all connections of a worker.

    Behind a pooler for those that work for it now, and for those that it may get next.
    """
    note(stage, role, _said(stage, "terminate"))
    database = urlsplit(stage.database.url).path.removeprefix("/")
    resting = stage.database.way.resting(database)
    stage.value(
        "SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity"
        " WHERE pid = ANY(%(backends)s) AND datname = current_database()",
        {"backends": proxy_of(stage).backends(role) + resting},
    )


# The server


def restart(stage: Stage, mode: str) -> None:
    """Stop the server and start it again.

    Not before those who waited at the gate have found it gone: whether one that asks but once more
    finds it there again, is not to depend on the machine. Behind a pooler nobody finds it gone: who
    asks again waits in the pooler's queue, or is turned away by that.
    """
    server = _own_server(stage)
    note(stage, "", f"restart {mode}")
    struck = [] if stage.database.way.is_pooled else _at_the_gate(stage)
    before = {role: proxy_of(stage).turned_away(role) for role in struck}

    def have_found_it_gone() -> None:
        give_up_at = time.monotonic() + _COMES_BACK_WITHIN
        while any(proxy_of(stage).turned_away(role) == count for role, count in before.items()):
            if time.monotonic() > give_up_at:
                return  # a worker may wait as long as it likes
            time.sleep(_LOOK_EVERY)

    server.restart(mode, have_found_it_gone)
    stage.database.close()  # not before: this connection holds the gate shut


def _at_the_gate(stage: Stage) -> list[str]:
    """The roles of which a statement waits at the gate, as far as it is shut."""
    if stage.proxy is None or not stage.gate:
        return []
    there = gates.waiting(stage.database.connection)
    return [role for role in stage.roles if there & set(stage.proxy.backends(role))]


def fill(stage: Stage, _: object) -> None:
    """Put the archive of the case's queue on a disk that is full."""
    server = _own_server(stage)
    owner = server.directory.joinpath("data").stat()
    small = stage.stack.enter_context(disk.SmallDisk((owner.st_uid, owner.st_gid)))
    # The database has to go before the tablespace, and that before the disk.
    stage.stack.callback(disk.drop, server.cluster, stage.database, small)
    note(stage, "", "fill the disk")
    disk.move(stage.database.connection, small, stage.case.shape.slug)
    small.fill()
    stage.disk = small


def denied(stage: Stage, least: int) -> None:
    """Wait until so many writes found no room; `true` is one."""
    small, server = _disk_of(stage), _own_server(stage)
    oid = stage.value(
        "SELECT oid FROM pg_tablespace WHERE spcname = %(name)s", {"name": small.name}
    )
    folder = f"pg_tblspc/{oid}/"
    stage.wait(
        lambda: disk.denials(server.directory, folder) >= least, f"{int(least)} writes find no room"
    )


def free(stage: Stage, _: object) -> None:
    """Make room again."""
    _disk_of(stage).free()


def _disk_of(stage: Stage) -> disk.SmallDisk:
    if stage.disk is None:
        raise WorkerProblem("the case has no disk that is full")
    return stage.disk


def _own_server(stage: Stage) -> RestartableServer:
    if stage.server is None:
        raise WorkerProblem("the case has no server of its own")
    return stage.server


def lock(stage: Stage, statement: str) -> None:
    """Do something in a transaction that stays open."""
    note(stage, "", "lock")
    holder, _ = hold(stage, statement, {})
    stage.locks.append(holder)


def hold(stage: Stage, statement: str, more: Mapping[str, Any]) -> tuple[Holder, int]:
    """A transaction that has done something, and stays open: its connection; how many rows."""
    holder = psycopg.connect(stage.database.url)
    stage.stack.callback(holder.close)
    cursor = holder.execute(statement.encode(), {**stage.names(), **more})
    return holder, cursor.rowcount


def unlock(stage: Stage, _: object) -> None:
    """End these transactions; nothing of them is done."""
    while stage.locks:
        stage.locks.pop().close()


# Time


def age(stage: Stage, _: object) -> None:
    """An hour goes by for all tasks that are started."""
    stage.value(
        "UPDATE pgflow.step_tasks SET queued_at = queued_at - interval '1 hour',"
        " started_at = started_at - interval '1 hour' WHERE status = 'started'"
    )


def _said(stage: Stage, what: str) -> str:
    return f"{what} {stage.gate}".strip()


STRIKES: Final[dict[str, Callable[[Stage, Any], None]]] = {
    "gate": gate,
    "reached": reached,
    "open": open_gate,
    "undo": undo,
    "kill": kill,
    "pause": pause,
    "resume": resume,
    "cut": cut,
    "stall": stall,
    "refuse": refuse,
    "heal": heal,
    "terminate": terminate,
    "restart": restart,
    "fill": fill,
    "denied": denied,
    "free": free,
    "lock": lock,
    "unlock": unlock,
    "age": age,
}
"""What each of these acts does."""

NEED_PROXY: Final = frozenset({"reached", "cut", "stall", "refuse", "heal", "terminate", "storm"})
"""Acts for which workers have to come through the proxy."""

NEED_SERVER: Final = frozenset({"restart", "fill"})
"""Acts for which a case has to have a server of its own."""
