"""A TCP proxy between workers and the database, which can be cut, stalled and closed.

Every worker comes through a door of its own (a port of 127.0.0.1), so that what is done to one is
not done to the others, and so that the server's connections can be told apart by worker. One thread
does all the forwarding, and nobody else touches its sockets.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeVar
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from typing_extensions import Self

T = TypeVar("T")
Way = Literal["up", "down"]
"""From the worker to the server, or back."""
WAYS: Final[tuple[Way, ...]] = ("up", "down")

_CHUNK: Final = 65_536  # bytes that are under way in one direction at most
_CONNECT_WITHIN: Final = 5.0  # seconds for the server, on this machine, to take a connection
_HEAD: Final = 5  # bytes before what a message of PostgreSQL says
_GREETING: Final = frozenset(b"RSKNv")  # the messages up to the one that names the process
_LONGEST_GREETING: Final = 65_536  # bytes that wait for the end of a message
_ABORT: Final = struct.pack("ii", 1, 0)  # SO_LINGER: close at once, with RST


class Greeting:
    """What a server says first on a connection, as far as its process is named there.

    Messages are a letter, a length that counts itself, and that many bytes less four.
    BackendKeyData (`K`) names the process. Before all messages a server may say in one byte that it
    has no TLS.

    Attributes:
        pid: the server's process, or None while it is not known.
    """

    def __init__(self) -> None:
        self.pid: int | None = None
        self._kept = b""
        self._is_over = False
        self._has_begun = False

    def hear(self, came: bytes) -> None:
        """Take in what the server says next; after its greeting nothing is looked at."""
        if self._is_over:
            return
        self._kept += came
        if not self._has_begun:
            self._kept = self._kept.lstrip(b"N")  # the first message is never a notice
            self._has_begun = bool(self._kept)
        while len(self._kept) >= _HEAD and not self._is_over:
            letter, length = self._kept[0], int.from_bytes(self._kept[1:_HEAD], "big")
            if letter not in _GREETING or len(self._kept) > _LONGEST_GREETING:
                self._is_over = True  # TLS, or no PostgreSQL
                return
            if len(self._kept) < 1 + length:
                return
            body, self._kept = self._kept[_HEAD : 1 + length], self._kept[1 + length :]
            if letter == ord("K"):
                self.pid, self._is_over = int.from_bytes(body[:4], "big"), True


@dataclass(eq=False)
class _Link:
    """One connection: the worker's end, the server's end, and what is under way between them."""

    door: _Door
    ends: dict[Way, socket.socket]  # who sends this way
    waiting: dict[Way, bytes] = field(default_factory=lambda: {"up": b"", "down": b""})
    greeting: Greeting = field(default_factory=Greeting)

    def sink(self, way: Way) -> socket.socket:
        """Who receives what goes this way."""
        return self.ends["down" if way == "up" else "up"]


@dataclass(eq=False)
class _Door:
    """Where one worker comes in. The port is held by a socket that never listens."""

    name: str
    holder: socket.socket
    listener: socket.socket | None = None
    stalled: set[Way] = field(default_factory=set)
    turned_away: int = 0
    links: set[_Link] = field(default_factory=set)

    @property
    def port(self) -> int:
        """The port of 127.0.0.1."""
        port: int = self.holder.getsockname()[1]
        return port


class Proxy:
    """Forwards connections to a database, until it is told not to.

    Args:
        url: the database behind it, or a pooler before that.
        asked: who knows the server's processes by the ports from which this proxy has come; None
            where the server itself tells them. A pooler tells numbers of its own.

    Example:
        >>> with Proxy("postgresql://u:p@127.0.0.1:5432/x") as proxy:
        ...     url = proxy.url("first")
        ...     proxy.stall("first")
        ...     proxy.heal("first")
        >>> url.startswith("postgresql://u:p@127.0.0.1:"), url.endswith("/x")
        (True, True)
    """

    def __init__(
        self, url: str, asked: Callable[[Collection[int]], list[int]] | None = None
    ) -> None:
        self._url = urlsplit(url)
        self._asked = asked
        self._doors: dict[str, _Door] = {}
        self._selector = selectors.DefaultSelector()
        self._orders: deque[Callable[[], None]] = deque()
        self._bell, self._ear = socket.socketpair()
        self._ear.setblocking(False)  # the standard library's own signature
        self._selector.register(self._ear, selectors.EVENT_READ)
        self._is_over = False
        self._trouble: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._close)
        self._thread.join()
        for end in (self._bell, self._ear):
            end.close()
        self._selector.close()

    def url(self, name: str) -> str:
        """Where this worker finds the database; its door is made at the first call."""
        door = self._do(lambda: self._door(name))
        where = f"{self._url.username}:{self._url.password}@127.0.0.1:{door.port}"
        return urlunsplit(self._url._replace(netloc=where))

    def cut(self, name: str) -> int:
        """End all of a worker's connections with RST, both ways; how many there were."""
        return self._do(lambda: self._cut(self._door(name)))

    def stall(self, name: str, *ways: Way) -> None:
        """Forward nothing any more (or nothing this way), and keep all connections open."""
        self._do(lambda: self._stall(self._door(name), set(ways or WAYS)))

    def refuse(self, name: str) -> None:
        """Take no new connections: whoever comes is refused, as by a machine without a server."""
        self._do(lambda: self._refuse(self._door(name)))

    def heal(self, name: str) -> None:
        """Forward again, what was held up first, and take connections again."""
        self._do(lambda: self._heal(self._door(name)))

    def backends(self, name: str) -> list[int]:
        """The server's processes for this worker, by id, as the server told them.

        Not by ports: between here and the server the connection may be handed on once more. Behind
        a pooler they are those that work for it at this moment.
        """
        if self._asked is not None:
            return self._asked(self._do(lambda: self._ports(self._door(name))))
        return self._do(lambda: self._backends(self._door(name)))

    def turned_away(self, name: str) -> int:
        """How many of a worker's connections found no server behind the proxy."""
        return self._do(lambda: self._door(name).turned_away)

    # In the thread, from here on

    def _do(self, what: Callable[[], T]) -> T:
        """Have the thread do something, and wait for it."""
        done = threading.Event()
        came: list[T] = []
        trouble: list[Exception] = []

        def order() -> None:
            try:
                came.append(what())
            except Exception as error:  # noqa: BLE001  # it belongs to who asked
                trouble.append(error)
            finally:
                done.set()

        self._orders.append(order)
        self._bell.send(b".")
        while not done.wait(0.5):
            if not self._thread.is_alive():
                raise RuntimeError("the proxy's thread has died") from self._trouble
        if trouble:
            raise trouble[0]
        return came[0]

    def _run(self) -> None:
        try:
            self._forward()
        except Exception as error:  # noqa: BLE001  # told to whoever asks for something next
            self._trouble = error

    def _forward(self) -> None:
        while not self._is_over:
            ready = self._selector.select()
            for key, events in ready:
                if key.data is None:
                    self._ear.recv(4096)
                elif isinstance(key.data, _Door):
                    self._welcome(key.data)
                elif key.data in key.data.door.links:  # not dropped a moment ago
                    self._move(key.data, key.fileobj, events)  # type: ignore[arg-type]
            while self._orders:
                self._orders.popleft()()

    def _door(self, name: str) -> _Door:
        if name not in self._doors:
            holder = _socket()
            holder.bind(("127.0.0.1", 0))
            self._doors[name] = _Door(name, holder)
            self._heal(self._doors[name])
        return self._doors[name]

    def _welcome(self, door: _Door) -> None:
        assert door.listener is not None
        try:
            worker, _ = door.listener.accept()
        except OSError:
            return  # it has gone again
        try:
            where = (self._url.hostname or "127.0.0.1", self._url.port or 5432)
            server = socket.create_connection(where, _CONNECT_WITHIN)
        except OSError:
            _abort(worker)
            door.turned_away += 1
            return
        link = _Link(door, {"up": worker, "down": server})
        for end in link.ends.values():
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        door.links.add(link)
        self._watch(link)

    def _move(self, link: _Link, end: socket.socket, events: int) -> None:
        """Forward what can be forwarded from and to this end."""
        mine: Way = "up" if end is link.ends["up"] else "down"
        theirs: Way = "down" if mine == "up" else "up"
        try:
            if events & selectors.EVENT_READ:
                came = end.recv(_CHUNK)
                if not came:
                    self._drop(link)
                    return
                link.waiting[mine] = came
                if mine == "down":
                    link.greeting.hear(came)
                self._push(link, mine)
            if events & selectors.EVENT_WRITE:
                self._push(link, theirs)
        except OSError:
            self._drop(link, abort=True)
            return
        self._watch(link)

    def _push(self, link: _Link, way: Way) -> None:
        with contextlib.suppress(BlockingIOError):
            sent = link.sink(way).send(link.waiting[way])
            link.waiting[way] = link.waiting[way][sent:]

    def _watch(self, link: _Link) -> None:
        """Look at an end where it may send and nothing of it waits, or where it is to receive."""
        for way in WAYS:
            back: Way = "down" if way == "up" else "up"
            stalled = link.door.stalled
            reads = way not in stalled and not link.waiting[way]
            writes = back not in stalled and bool(link.waiting[back])
            events = selectors.EVENT_READ * reads | selectors.EVENT_WRITE * writes
            end = link.ends[way]
            known = self._selector.get_map().get(end)
            if known is not None and known.events != events:
                self._selector.unregister(end)
            if events and (known is None or known.events != events):
                self._selector.register(end, events, link)

    def _drop(self, link: _Link, *, abort: bool = False) -> None:
        link.door.links.discard(link)
        for end in link.ends.values():
            with contextlib.suppress(KeyError):
                self._selector.unregister(end)
            if abort:
                _abort(end)
            else:
                end.close()

    def _cut(self, door: _Door) -> int:
        links = list(door.links)
        for link in links:
            self._drop(link, abort=True)
        return len(links)

    def _stall(self, door: _Door, ways: set[Way]) -> None:
        door.stalled |= ways
        for link in door.links:
            self._watch(link)

    def _refuse(self, door: _Door) -> None:
        if door.listener is not None:
            self._selector.unregister(door.listener)
            door.listener.close()
            door.listener = None

    def _heal(self, door: _Door) -> None:
        if door.listener is None:
            door.listener = _socket()
            door.listener.bind(("127.0.0.1", door.port))
            door.listener.listen()
            door.listener.setblocking(False)
            self._selector.register(door.listener, selectors.EVENT_READ, door)
        door.stalled.clear()
        for link in door.links:
            self._watch(link)

    def _backends(self, door: _Door) -> list[int]:
        pids = [link.greeting.pid for link in door.links]
        return [pid for pid in pids if pid is not None]

    def _ports(self, door: _Door) -> list[int]:
        return [link.ends["down"].getsockname()[1] for link in door.links]

    def _close(self) -> None:
        self._is_over = True
        for door in self._doors.values():
            self._refuse(door)
            self._cut(door)
            door.holder.close()


def _socket() -> socket.socket:
    """A socket that may share its port with others of this process."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return made


def _abort(end: socket.socket) -> None:
    """Close with RST in place of FIN."""
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
    end.close()
