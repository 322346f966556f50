"""Flows that tests give to the command line."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pgflow_ref import Flow, TaskFailed

if TYPE_CHECKING:
    from pgflow_ref import Context

hello = Flow("hello", max_attempts=2)


@hello.step()
def greet(name: object, _ctx: Context) -> str:
    return f"Hello, {name}!"


@hello.step(depends_on=[greet], timeout=30)
async def shout(deps: dict[str, str], _ctx: Context) -> str:
    return deps["greet"].upper()


patient = Flow("patient")


@patient.step("wait")
def wait_for_the_end(_given: object, ctx: Context) -> str:
    while not ctx.stopping.is_set():
        time.sleep(0.01)
    return "ended early"


stubborn = Flow("stubborn")


@stubborn.step("wait")
def wait_for_ever(path: str, ctx: Context) -> None:
    """Say in a file that the worker is to stop, and go on."""
    while not ctx.stopping.is_set():
        time.sleep(0.01)
    Path(path).touch()
    threading.Event().wait()


fragile = Flow("fragile", max_attempts=1)


@fragile.step("fall")
def fall(_given: object, _ctx: Context) -> None:
    raise TaskFailed("it broke\nin two")


no_flow = "hello"
