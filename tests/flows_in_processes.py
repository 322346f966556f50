"""Handlers for processes: a module that a process imports, and what goes wrong in one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgflow_ref import Flow, TaskFailed

if TYPE_CHECKING:
    from pgflow_ref import Context

odd = Flow("odd", max_attempts=1, timeout=3)


class Unreadable(Exception):
    """Cannot be pickled, nor read."""

    def __init__(self) -> None:
        super().__init__(threading.Lock())

    def __str__(self) -> str:
        raise RuntimeError


def generate() -> Any:
    yield 1


async def agenerate() -> Any:
    yield 1


async def coroutine() -> int:
    return 1


def hang(path: str) -> None:
    """Note who hangs, and a process that it has started."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    Path(path).write_text(f"{os.getpid()} {child.pid}", encoding="ascii")
    threading.Event().wait()


@odd.step("do")
def do(given: Any, ctx: Context) -> Any:  # noqa: C901, PLR0911, PLR0912
    """Do what the input says."""
    what, *rest = given
    match what:
        case "echo":
            return rest[0]
        case "pid":
            return os.getpid()
        case "large":
            return "x" * rest[0]
        case "context":
            return [
                str(ctx.run_id),
                ctx.flow_slug,
                ctx.step_slug,
                ctx.task_index,
                ctx.attempt,
                str(ctx.worker_id),
                ctx.stopping.is_set(),
                ctx.flow_input == given,
            ]
        case "raise":
            raise ValueError(rest[0])
        case "fail":
            raise TaskFailed(rest[0])
        case "unreadable":
            raise Unreadable
        case "sys.exit":
            sys.exit(3)
        case "KeyboardInterrupt":
            raise KeyboardInterrupt
        case "GeneratorExit":
            raise GeneratorExit
        case "generator":
            return generate()
        case "async generator":
            return agenerate()
        case "coroutine":
            return coroutine()
        case "function":
            return lambda: None
        case "os._exit":
            os._exit(rest[0])
        case "signal":
            os.kill(os.getpid(), rest[0])
            threading.Event().wait()
        case "terminate":  # what a service manager does to all, and the worker decides
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)
            return "still here"
        case "fork":
            os.fork()
            return os.getpid()
        case "close all":
            os.closerange(3, 256)
            return None
        case "exit later":
            threading.Thread(target=lambda: os._exit(5)).start()
            return None
        case "hang":
            hang(rest[0])
        case "spin":
            Path(rest[0]).touch()
            while True:
                pass
        case "until stopping":
            Path(rest[0]).touch()
            while not ctx.stopping.is_set():
                time.sleep(0.01)
            return "stopped"
    raise AssertionError(what)


mixed = Flow("mixed")


@mixed.step()
async def in_the_loop(_given: object, _ctx: object) -> list[object]:
    return [os.getpid(), threading.current_thread() is threading.main_thread()]


@mixed.step(depends_on=[in_the_loop])
def in_a_process(deps: dict[str, Any], _ctx: object) -> list[object]:
    return [
        os.getpid(),
        deps["in_the_loop"][0],
        threading.current_thread() is threading.main_thread(),
    ]


each = Flow("each")


@each.map()
def item(element: Any, ctx: Context) -> Any:
    return [element, ctx.task_index, ctx.flow_input]


def local() -> Flow:
    """A flow that no module holds."""
    flow = Flow("local")
    flow.step("do")(lambda given, _ctx: given)
    return flow
