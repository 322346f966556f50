"""Workers that a client runs: started, stopped, watched; of several flows in one process."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from pgflow_ref import (
    ConfigError,
    Flow,
    FlowMismatch,
    FlowNotFound,
    InvalidFlow,
    PgFlow,
    WorkerConfig,
    WorkerExists,
    WorkerNotFound,
    supervisor,
)
from pgflow_ref.supervisor import asked_by_signals
from tests.conftest import PATIENCE, wait_until
from tests.ways import Awaiting

if TYPE_CHECKING:
    from tests.conftest import Database
    from tests.ways import Way

QUICK = WorkerConfig(min_poll_interval=0.01, max_poll_interval=0.05)


def a_flow(slug: str) -> Flow:
    flow = Flow(slug)
    flow.step("echo")(lambda given, _ctx: [slug, given])
    return flow


def connections(database: Database) -> int:
    count: int = database.value(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    return count


def outcome(pgflow: Any, slug: str, given: object) -> Any:
    return pgflow.start_flow_sync(slug, given, timeout=PATIENCE, poll_interval=0.01).output


def test_flows_of_a_client_are_worked_on_while_it_is_open(way: Way, database: Database) -> None:
    flows = [database.add(a_flow("one")), database.add(a_flow("two"))]
    with way.client(database.url, flows=flows, config=QUICK) as pgflow:
        assert database.rows("SELECT queue_name FROM pgflow.workers ORDER BY started_at") == [
            ("one",),
            ("two",),
        ]
        assert outcome(pgflow, "one", 1) == {"echo": ["one", 1]}
        assert outcome(pgflow, "two", 2) == {"echo": ["two", 2]}
    assert database.value("SELECT count(*) FROM pgflow.workers WHERE stopped_at IS NULL") == 0
    wait_until(lambda: connections(database) == 0)


def test_a_worker_is_started_and_stopped(way: Way, database: Database) -> None:
    flow = database.add(a_flow("one"))
    with way.client(database.url, config=QUICK) as pgflow:
        worker_id = pgflow.start_worker(flow, max_concurrency=3, worker_name="mine")
        assert isinstance(worker_id, UUID)
        assert database.rows("SELECT worker_id, function_name FROM pgflow.workers") == [
            (worker_id, "mine")
        ]
        assert pgflow.list_flows() == (flow,)
        assert outcome(pgflow, "one", 1) == {"echo": ["one", 1]}
        with pytest.raises(WorkerExists, match="'one' runs here already"):
            pgflow.start_worker(flow)
        pgflow.stop_worker("one")
        assert database.value("SELECT count(*) FROM pgflow.workers WHERE stopped_at IS NULL") == 0
        for gone in ("one", "nobody", flow):
            with pytest.raises(WorkerNotFound):
                pgflow.stop_worker(gone)
        assert pgflow.start_worker("one") != worker_id


@pytest.mark.parametrize("kind", ["connection", "pool"])
def test_workers_have_connections_of_their_own(kind: str, way: Way, database: Database) -> None:
    """With the target's parameters, and its password, which none of them shows."""
    flow = database.add(a_flow("one"))
    opened = way.connect(database.url) if kind == "connection" else way.pool(database.url)
    with opened as target:
        pgflow = way.client(target, config=QUICK)
        pgflow.start_worker(flow)
        assert database.finish(database.start(flow, 1)).output == {"echo": ["one", 1]}
        pgflow.close()
        assert not target.closed


def test_a_stop_waits_for_what_runs(way: Way, database: Database, gate: threading.Event) -> None:
    flow, began = Flow("slow"), threading.Event()

    @flow.step()
    def wait(given: object, ctx: Any) -> object:
        began.set()
        wait_until(lambda: ctx.stopping.is_set() or gate.is_set())
        return given

    with way.client(database.url, flows=[database.add(flow)], config=QUICK) as pgflow:
        run_id = pgflow.start_flow(flow, 7)
        wait_until(lambda: database.tasks("started") == 1)
        pgflow.stop_worker(flow)
        assert pgflow.get_run(run_id).output == {"wait": 7}


# What keeps a worker from starting


def test_a_worker_that_cannot_start_says_why(way: Way, database: Database) -> None:
    there, absent, other = a_flow("there"), a_flow("absent"), Flow("there")
    other.step("another")(lambda given, _ctx: given)
    database.add(there)
    pgflow = way.client(database.url)
    with pytest.raises(FlowNotFound, match="'absent' is not in the database"):
        pgflow.start_worker(absent)
    with pytest.raises(FlowNotFound, match="'there' is not registered here"):
        pgflow.start_worker("there")
    with pytest.raises(ConfigError, match="unknown option 'speed'"):
        pgflow.start_worker(there, speed=3)
    with pytest.raises(InvalidFlow, match="another flow of this slug is registered here"):
        pgflow.start_worker(other)
    with pytest.raises(InvalidFlow, match="a flow to register is a Flow"):
        way.client(database.url, flows=["there"])
    with pytest.raises(FlowMismatch), way.client(database.url, flows=[other]):
        pass
    with pytest.raises(WorkerNotFound):
        pgflow.stop_worker("absent")
    pgflow.close()
    assert database.value("SELECT count(*) FROM pgflow.workers") == 0


def test_where_one_cannot_start_none_is_left(way: Way, database: Database) -> None:
    flows = [database.add(a_flow("one")), a_flow("absent")]
    with pytest.raises(FlowNotFound), way.client(database.url, flows=flows):
        pass
    assert database.value("SELECT count(*) FROM pgflow.workers WHERE stopped_at IS NULL") == 0
    wait_until(lambda: connections(database) == 0)


# Workers that die, and other workers: a stand-in that does as it is told


class Fake:
    """A worker that is ready at once, and ends when its test says so."""

    made: list[Fake]
    gets_ready = True

    def __init__(self, flow: Flow, url: str, config: WorkerConfig, **options: Any) -> None:
        self.flow, self.url, self.config = flow, url, config
        self.on_ready = options["on_ready"]
        self.stops = 0
        self.needs_stops = 1
        self.fault: BaseException | None = None
        self.told: asyncio.Event = asyncio.Event()
        self.loop: asyncio.AbstractEventLoop | None = None
        Fake.made.append(self)

    async def run_async(self) -> None:
        self.loop = asyncio.get_running_loop()
        if self.gets_ready:
            self.on_ready(uuid4())
        await self.told.wait()
        if self.fault is not None:
            raise self.fault

    def stop(self) -> None:
        self.stops += 1
        if self.stops >= self.needs_stops:
            self.told.set()

    def end(self, fault: BaseException | None = None) -> None:
        self.fault = fault
        assert self.loop is not None
        self.loop.call_soon_threadsafe(self.told.set)


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> list[Fake]:
    monkeypatch.setattr(supervisor, "Worker", Fake)
    monkeypatch.setattr(Fake, "made", [], raising=False)
    return Fake.made


NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


def test_a_worker_that_dies_is_heard_of(
    way: Way, fakes: list[Fake], caplog: pytest.LogCaptureFixture
) -> None:
    pgflow = way.client(NOWHERE, flows=[a_flow("one")])
    pgflow.start_worker("one")
    with caplog.at_level(logging.ERROR):
        fakes[0].end(RuntimeError("a mistake"))
        wait_until(lambda: "the worker of flow 'one' has died: a mistake" in caplog.text)
    with pytest.raises(RuntimeError, match="a mistake"):
        pgflow.stop_worker("one")
    with pytest.raises(WorkerNotFound):
        pgflow.stop_worker("one")
    pgflow.close()


def test_a_worker_that_died_is_raised_at_the_end(way: Way, fakes: list[Fake]) -> None:
    with pytest.raises(RuntimeError, match="a mistake"):  # noqa: PT012, SIM117
        with way.client(NOWHERE, flows=[a_flow("one"), a_flow("two"), a_flow("three")]):
            fakes[1].end(RuntimeError("a mistake"))
            wait_until(fakes[1].told.is_set)
    assert [fake.stops for fake in fakes] == [1, 1, 1]


def test_what_the_block_raised_goes_before_it(way: Way, fakes: list[Fake]) -> None:
    with pytest.raises(KeyError, match="mine"):  # noqa: PT012, SIM117
        with way.client(NOWHERE, flows=[a_flow("one")]):
            fakes[0].end(RuntimeError("a mistake"))
            wait_until(fakes[0].told.is_set)
            raise KeyError("mine")


def test_a_worker_that_is_given_up_before_it_is_ready(
    fakes: list[Fake], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Fake, "gets_ready", False)
    way = Awaiting()
    pgflow = way.client(NOWHERE)
    work = way.raw(pgflow).start_worker(a_flow("one"))
    starting = asyncio.run_coroutine_threadsafe(work, way.loop)
    wait_until(lambda: fakes and fakes[0].loop)
    starting.cancel()
    wait_until(lambda: fakes[0].stops == 2)
    pgflow.close()
    way.close()


def test_a_worker_that_leaves_before_it_is_ready(
    way: Way, fakes: list[Fake], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Fake, "gets_ready", False)
    pgflow = way.client(NOWHERE)

    def leave() -> None:
        wait_until(lambda: fakes and fakes[0].loop)
        fakes[0].end()

    leaving = threading.Thread(target=leave)
    leaving.start()
    with pytest.raises(WorkerNotFound):
        pgflow.start_worker(a_flow("one"))
    leaving.join()
    pgflow.close()


def test_a_worker_that_died_can_be_started_again(way: Way, fakes: list[Fake]) -> None:
    pgflow = way.client(NOWHERE)
    flow = a_flow("one")
    pgflow.start_worker(flow)
    fakes[0].end(RuntimeError("a mistake"))
    wait_until(fakes[0].told.is_set)
    wait_until(lambda: started_again(pgflow, flow))
    pgflow.close()
    assert len(fakes) >= 2


def started_again(pgflow: Any, flow: Flow) -> bool:
    try:
        pgflow.start_worker(flow)
    except WorkerExists:
        return False
    return True


def test_options_go_over_those_of_the_client(way: Way, fakes: list[Fake]) -> None:
    config = WorkerConfig(max_concurrency=3, batch_size=2)
    with way.client(NOWHERE, config=config) as pgflow:
        pgflow.start_worker(a_flow("one"), batch_size=5)
        pgflow.start_worker(a_flow("two"))
    assert fakes[0].config == WorkerConfig(max_concurrency=3, batch_size=5)
    assert fakes[1].config == config
    assert fakes[0].url == NOWHERE


# run


def test_run_ends_when_all_workers_have_left(way: Way, fakes: list[Fake]) -> None:
    pgflow = way.client(NOWHERE, flows=[a_flow("one"), a_flow("two")])

    def leave() -> None:
        wait_until(lambda: len(fakes) == 2 and fakes[1].loop)
        for fake in fakes:
            fake.end()

    leaving = threading.Thread(target=leave)
    leaving.start()
    pgflow.run(signals=False)
    leaving.join()
    assert [fake.stops for fake in fakes] == [1, 1]


def test_run_raises_what_a_worker_died_of_and_stops_the_others(way: Way, fakes: list[Fake]) -> None:
    pgflow = way.client(NOWHERE, flows=[a_flow("one"), a_flow("two")])

    def die() -> None:
        wait_until(lambda: len(fakes) == 2 and fakes[1].loop)
        fakes[0].end(RuntimeError("a mistake"))

    dying = threading.Thread(target=die)
    dying.start()
    with pytest.raises(RuntimeError, match="a mistake"):
        pgflow.run(signals=False)
    dying.join()
    assert fakes[1].stops == 1


def test_a_client_that_runs_is_closed_by_another_thread(way: Way, fakes: list[Fake]) -> None:
    pgflow = way.client(NOWHERE, flows=[a_flow("one"), a_flow("two")])

    def close() -> None:
        wait_until(lambda: len(fakes) == 2 and fakes[1].loop)
        pgflow.close()

    closing = threading.Thread(target=close)
    closing.start()
    pgflow.run(signals=False)
    closing.join(PATIENCE)
    assert not closing.is_alive()
    assert all(fake.stops for fake in fakes)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_run_and_a_second_one_hurries(
    number: signal.Signals, way: Way, fakes: list[Fake]
) -> None:
    pgflow = way.client(NOWHERE, flows=[a_flow("one")])

    def send() -> None:
        wait_until(lambda: fakes and fakes[0].loop)
        fakes[0].needs_stops = 2
        os.kill(os.getpid(), number)
        wait_until(lambda: fakes[0].stops == 1)
        os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    sender = threading.Thread(target=send)
    sender.start()
    way.run(pgflow)
    sender.join()
    assert fakes[0].stops == 2
    assert signal.getsignal(number) is before


PROGRAM = """
import asyncio, sys
from pgflow_ref import AsyncPgFlow, Flow, PgFlow

flow = Flow("one")
flow.step("echo")(lambda given, ctx: given)
client = (PgFlow if sys.argv[1] == "blocking" else AsyncPgFlow)(sys.argv[2], flows=[flow])
asyncio.run(client.run()) if sys.argv[1] == "awaiting" else client.run()
print("over")
"""


def test_a_program_that_runs_ends_at_sigterm(way: Way, database: Database) -> None:
    database.add(a_flow("one"))
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, way.name, database.url], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            wait_until(lambda: database.value("SELECT count(*) FROM pgflow.workers") == 1)
            process.terminate()
            assert process.communicate(timeout=PATIENCE)[0] == "over\n"
        finally:
            process.kill()
    assert process.returncode == 0
    assert database.value("SELECT stopped_at IS NOT NULL FROM pgflow.workers")


def test_several_threads_start_and_stop_workers(database: Database) -> None:
    flows = [database.add(a_flow(f"flow_{n}")) for n in range(4)]
    with PgFlow(database.url, config=QUICK) as pgflow:
        threads = [threading.Thread(target=pgflow.start_worker, args=[flow]) for flow in flows]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert database.value("SELECT count(*) FROM pgflow.workers") == 4
        assert outcome(pgflow, "flow_3", 1) == {"echo": ["flow_3", 1]}
    assert database.value("SELECT count(*) FROM pgflow.workers WHERE stopped_at IS NULL") == 0


def test_a_signal_that_another_thread_gets_is_heard() -> None:
    """As it happens now and then; the main thread, which waits for a lock, does not wake up."""
    asked = threading.Event()
    main = threading.get_ident()

    looks: list[tuple[object, int]] = []

    def is_blocked() -> bool:
        frame = sys._current_frames()[main]
        looks.append((frame.f_code, frame.f_lasti))
        return looks.count((threading.Condition.wait.__code__, frame.f_lasti)) > 20

    def get_it() -> None:
        wait_until(is_blocked)
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

    with asked_by_signals(asked.set):
        threading.Thread(target=get_it).start()
        assert asked.wait(PATIENCE)


def test_an_event_loop_that_listens_already_goes_on_hearing() -> None:
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    before = signal.set_wakeup_fd(writer.fileno())
    asked = threading.Event()
    try:
        with asked_by_signals(asked.set):
            signal.raise_signal(signal.SIGINT)
            assert asked.wait(PATIENCE)
        assert signal.set_wakeup_fd(before) == writer.fileno()
    finally:
        signal.set_wakeup_fd(before)
        writer.close()
    assert reader.recv(64) == bytes([signal.SIGINT])
    reader.close()
