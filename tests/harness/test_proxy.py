"""The proxy does to one worker's connections what it is told, and to no others."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from conformance.harness.proxy import Greeting, Proxy

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

WITHIN = 10.0
PID = 4711


def message(letter: bytes, said: bytes) -> bytes:
    return letter + (len(said) + 4).to_bytes(4, "big") + said


KEY = message(b"K", PID.to_bytes(4, "big") + bytes(4))


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends back whatever it gets."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer(end: socket.socket) -> None:
            with closing(end):
                try:
                    while came := end.recv(65536):
                        end.sendall(came)
                except OSError:
                    pass

        def serve() -> None:
            while True:
                try:
                    end, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(end,), daemon=True).start()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.fixture
def proxy(echo: int) -> Iterator[Proxy]:
    with Proxy(f"postgresql://user:secret@127.0.0.1:{echo}/there") as made:
        yield made


def connect(proxy: Proxy, name: str = "first") -> socket.socket:
    return socket.create_connection(("127.0.0.1", port_of(proxy, name)), WITHIN)


def port_of(proxy: Proxy, name: str = "first") -> int:
    port = urlsplit(proxy.url(name)).port
    assert port is not None
    return port


def says(end: socket.socket, text: bytes) -> bool:
    """Whether this comes back."""
    end.sendall(text)
    came = b""
    while len(came) < len(text):
        more = end.recv(65536)
        if not more:
            return False
        came += more
    return came == text


def test_it_forwards_both_ways_as_much_as_there_is(proxy: Proxy) -> None:
    text = bytes(range(256)) * 20_000
    with connect(proxy) as end:
        came = bytearray()

        def hear() -> None:
            while len(came) < len(text):
                came.extend(end.recv(65536))

        ear = threading.Thread(target=hear)
        ear.start()
        end.sendall(text)
        ear.join(WITHIN)
        assert bytes(came) == text


def test_each_door_has_a_url_of_its_own_to_the_same_database(proxy: Proxy) -> None:
    first, second = urlsplit(proxy.url("first")), urlsplit(proxy.url("second"))
    assert first.port != second.port
    assert proxy.url("first") == first.geturl()
    assert (first.username, first.password, first.path) == ("user", "secret", "/there")


def test_the_end_of_one_side_is_the_end_of_the_other(proxy: Proxy) -> None:
    with connect(proxy) as end:
        assert says(end, KEY)
        assert proxy.backends("first") == [PID]
    give_up_at = time.monotonic() + WITHIN
    while proxy.backends("first"):  # each question makes the thread go round once
        assert time.monotonic() < give_up_at


def test_cut_ends_the_connections_of_one_worker_with_rst(proxy: Proxy) -> None:
    with connect(proxy) as end, connect(proxy, "second") as other:
        assert says(end, b"before")
        assert says(other, b"before")
        assert proxy.cut("first") == 1
        with pytest.raises(ConnectionResetError):
            end.recv(1)
        assert says(other, b"after")
        assert proxy.cut("first") == 0
    with connect(proxy) as again:
        assert says(again, b"again")


@pytest.mark.parametrize("way", ["up", "down"])
def test_stalled_is_held_up_and_not_lost(way: str, proxy: Proxy) -> None:
    with connect(proxy) as end, connect(proxy, "second") as other:
        assert says(end, b"before")
        assert says(other, b"before")
        proxy.stall("first", way)  # type: ignore[arg-type]
        end.sendall(b"held up")
        assert says(other, b"after")  # what was sent before this would have come by now
        end.setblocking(False)
        with pytest.raises(BlockingIOError):
            end.recv(100)
        end.settimeout(WITHIN)
        proxy.heal("first")
        assert end.recv(100) == b"held up"


def test_a_connection_that_comes_while_stalled_is_taken_and_waits(proxy: Proxy) -> None:
    proxy.url("first")
    proxy.stall("first")
    with connect(proxy) as end:
        end.sendall(b"patient")
        proxy.heal("first")
        assert end.recv(100) == b"patient"


def test_refused_is_refused_until_healed_and_on_the_same_port(proxy: Proxy) -> None:
    with connect(proxy) as end:
        url = proxy.url("first")
        proxy.refuse("first")
        proxy.refuse("first")
        with pytest.raises(ConnectionRefusedError):
            connect(proxy)
        assert says(end, b"those that are there stay")
        proxy.heal("first")
        assert proxy.url("first") == url
        with connect(proxy) as again:
            assert says(again, b"again")


def test_it_knows_the_processes_that_the_server_tells(proxy: Proxy) -> None:
    with connect(proxy) as end, connect(proxy) as other:
        assert says(end, KEY)
        assert says(other, message(b"K", (PID + 1).to_bytes(4, "big") + bytes(4)))
        assert sorted(proxy.backends("first")) == [PID, PID + 1]
        assert proxy.backends("second") == []


GREETING = message(b"R", bytes(4)) + message(b"S", b"a\0b\0") + message(b"N", b"\0") + KEY


@pytest.mark.parametrize("pieces", [1, 2, 7, 1000])
@pytest.mark.parametrize("before", [b"", b"N", b"NN"])
def test_a_greeting_is_heard_in_whatever_pieces_it_comes(pieces: int, before: bytes) -> None:
    text, greeting = before + GREETING, Greeting()
    for at in range(0, len(text), pieces):
        assert greeting.pid is None
        greeting.hear(text[at : at + pieces])
    assert greeting.pid == PID
    greeting.hear(message(b"K", bytes(8)))
    assert greeting.pid == PID


@pytest.mark.parametrize(
    "said", [b"S\x16\x03\x01", b"HTTP/1.1 400 Bad Request", message(b"Z", b"I")]
)
def test_what_is_no_greeting_is_not_looked_at(said: bytes) -> None:
    greeting = Greeting()
    greeting.hear(said)
    greeting.hear(bytes(1000))
    assert greeting.pid is None


def test_behind_a_pooler_it_is_asked_who_works_for_a_worker(echo: int) -> None:
    came: list[int] = []

    def asked(ports: Collection[int]) -> list[int]:
        came[:] = ports
        return [PID]

    with (
        Proxy(f"postgresql://u:p@127.0.0.1:{echo}/x", asked) as proxy,
        closing(connect(proxy)) as end,
        closing(connect(proxy, "second")) as other,
    ):
        assert says(end, b"hello")
        assert says(other, b"hello")
        assert proxy.backends("first") == [PID]
        (first,) = came
        proxy.backends("second")
        (second,) = came
        assert first != second
        assert {first, second}.isdisjoint({end.getsockname()[1], other.getsockname()[1]})


def test_without_a_server_a_connection_ends_at_once() -> None:
    with socket.socket() as nobody:  # it holds the port, and never listens
        nobody.bind(("127.0.0.1", 0))
        with Proxy(f"postgresql://u:p@127.0.0.1:{nobody.getsockname()[1]}/x") as proxy:
            assert proxy.turned_away("first") == 0
            # Perhaps before `connect` has returned.
            with pytest.raises(ConnectionResetError), connect(proxy) as end:
                end.recv(1)
            assert (proxy.turned_away("first"), proxy.turned_away("second")) == (1, 0)


def test_nothing_is_left_at_the_end(echo: int) -> None:
    with Proxy(f"postgresql://u:p@127.0.0.1:{echo}/x") as proxy:
        end = connect(proxy)
        assert says(end, b"before")
        port = port_of(proxy)
    with closing(end), pytest.raises(ConnectionResetError):
        end.recv(1)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), WITHIN)
