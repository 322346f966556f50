"""Threads for handlers. Nothing here sleeps: events say when a job goes on."""

from __future__ import annotations

import threading
from functools import partial
from queue import SimpleQueue

import pytest

from pgflow_ref.threads import Threads

PATIENCE = 30  # seconds, which only a test that fails takes


def threads_of(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(f"{name}-")]


def end(threads: Threads, name: str) -> None:
    threads.close()
    for thread in threads_of(name):
        thread.join(PATIENCE)
    assert threads_of(name) == []


def wait_until_idle(threads: Threads, count: int) -> None:
    """A thread says that it is idle a moment after its job is over."""
    given_up = threading.Event()
    timer = threading.Timer(PATIENCE, given_up.set)
    timer.start()
    while threads._idle < count and not given_up.is_set():
        pass
    timer.cancel()
    assert threads._idle == count


class Job:
    """Waits until it may end, and then says who performed it."""

    def __init__(self) -> None:
        self.may_end = threading.Event()
        self.performed_by = SimpleQueue[str]()

    def __call__(self) -> None:
        assert self.may_end.wait(PATIENCE)
        self.performed_by.put(threading.current_thread().name)

    def finish(self) -> str:
        self.may_end.set()
        return self.performed_by.get(timeout=PATIENCE)


def test_every_job_is_performed_once() -> None:
    threads, done = Threads("many"), SimpleQueue[int]()
    for number in range(1_000):
        threads.submit(partial(done.put, number))
    assert sorted(done.get(timeout=PATIENCE) for _ in range(1_000)) == list(range(1_000))
    end(threads, "many")
    assert done.empty()


def test_jobs_that_wait_for_each_other_all_run_at_once() -> None:
    threads, meeting = Threads("meeting"), threading.Barrier(21)

    def meet() -> None:
        meeting.wait(PATIENCE)

    for _ in range(20):
        threads.submit(meet)
    meet()  # raises unless all come
    end(threads, "meeting")


def test_a_hanging_job_holds_up_nobody() -> None:
    threads, hanging, done = Threads("hanging"), Job(), SimpleQueue[int]()
    threads.submit(hanging)
    for number in range(50):
        threads.submit(partial(done.put, number))
        assert done.get(timeout=PATIENCE) == number
    assert hanging.finish()
    end(threads, "hanging")


def test_an_idle_thread_takes_the_next_job() -> None:
    threads = Threads("reuse")
    for _ in range(20):
        job = Job()
        threads.submit(job)
        assert job.finish() == "reuse-1"
        wait_until_idle(threads, 1)
    end(threads, "reuse")


def test_there_are_as_many_threads_as_jobs_at_once() -> None:
    threads = Threads("count")
    for _ in range(5):
        jobs = [Job(), Job(), Job()]
        for job in jobs:
            threads.submit(job)
        for job in jobs:
            job.finish()
        wait_until_idle(threads, 3)
    assert {thread.name for thread in threads_of("count")} == {"count-1", "count-2", "count-3"}
    end(threads, "count")


def test_threads_do_not_keep_a_process_alive() -> None:
    threads, job = Threads("daemon"), Job()
    threads.submit(job)
    assert [thread.daemon for thread in threads_of("daemon")] == [True]
    job.finish()
    end(threads, "daemon")


def test_close_lets_running_jobs_end() -> None:
    threads, job = Threads("close"), Job()
    threads.submit(job)
    threads.close()
    assert len(threads_of("close")) == 1
    assert job.finish() == "close-1"
    end(threads, "close")


def test_close_without_jobs() -> None:
    end(Threads("none"), "none")


def test_a_job_that_comes_after_the_end_is_refused() -> None:
    threads = Threads("closed")
    threads.close()
    with pytest.raises(RuntimeError, match="closed"):
        threads.submit(lambda: None)
