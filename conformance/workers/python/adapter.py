"""The Python adapter: pgflow_ref behind the worker contract (../../CONTRACT.md)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from instructions import KNOWN, World, perform

from pgflow_ref import (
    Context,
    CoreUnsupported,
    Flow,
    PgFlow,
    PgflowError,
    Worker,
    __version__,
)
from pgflow_ref.compile import compile_flow
from pgflow_ref.json_contract import decode, encode

if TYPE_CHECKING:
    from uuid import UUID

# Behind a pooler that hands out the server's connections by transaction, nothing is prepared.
PREPARES = "PGFLOW_POOLING" not in os.environ
OPTIONS = {  # the contract's names for this worker's options
    "name": "worker_name",
    "max_concurrency": "max_concurrency",
    "batch_size": "batch_size",
    "visibility_timeout": "visibility_timeout",
    "heartbeat_interval": "heartbeat_interval",
    "grace": "stop_timeout",
}
HELLO = {
    "type": "hello",
    "contract": 1,
    "name": "pgflow-ref",
    "language": "python",
    "version": __version__,
    "handler_input": "split",
    "capabilities": ["map_steps", "recovery", "start_delay"],
}
STEP_OPTIONS = ("max_attempts", "base_delay", "timeout", "start_delay")
KEYS = {  # all that a fixture may have; what else there is comes from a later contract
    "fixture": {"flow", "worker"},
    "flow": {"slug", "steps", "max_attempts", "base_delay", "timeout"},
    "step": {"slug", "handler", "depends_on", "step_type", *STEP_OPTIONS},
    "worker": {*OPTIONS, "poll_interval", "recover"},
}


def main() -> None:
    """Do what the word on the command line says."""
    words = {"compile": do_compile, "start": do_start, "work": do_work}
    word, contract = sys.argv[-1], os.environ.get("PGFLOW_CONTRACT", "1")
    if contract != "1" or word not in {"hello", *words}:
        unsupported(f"contract {contract}, word {word!r}")
    if word == "hello":
        say(**HELLO)
        return
    fixture = decode(Path(os.environ["PGFLOW_FIXTURE"]).read_text(encoding="utf-8"))
    assert isinstance(fixture, dict)
    check_keys(fixture)
    try:
        words[word](fixture)
    except CoreUnsupported as error:
        unsupported(str(error))
    except PgflowError as error:
        sys.exit(f"{type(error).__name__}: {error}")


def check_keys(fixture: dict[str, Any]) -> None:
    """Refuse what this adapter does not know: ignoring it would make the case another."""
    flow, worker = fixture["flow"], fixture.get("worker", {})
    for kind, given in ("fixture", fixture), ("flow", flow), ("worker", worker):
        known_keys(kind, given)
    for step in flow["steps"]:
        known_keys("step", step)


def known_keys(kind: str, given: dict[str, Any]) -> None:
    """Refuse a key that is not known."""
    if unknown := given.keys() - KEYS[kind]:
        unsupported(f"{kind} with {', '.join(sorted(unknown))}")


def do_compile(fixture: dict[str, Any]) -> None:
    """Print the SQL of the flow."""
    print(json.dumps(compile_flow(flow_of(fixture).shape)))


def do_start(fixture: dict[str, Any]) -> None:
    """Start a run for each line of stdin."""
    slug = fixture["flow"]["slug"]
    with PgFlow(os.environ["PGFLOW_DATABASE_URL"], prepare=PREPARES) as pgflow:
        for line in sys.stdin:
            say(run_id=str(pgflow.start_flow(slug, decode(line))))


def do_work(fixture: dict[str, Any]) -> None:
    """Serve the flow until SIGTERM."""
    say(**HELLO)
    given = fixture.get("worker", {})
    options = {OPTIONS[name]: value for name, value in given.items() if name in OPTIONS}
    if "poll_interval" in given:
        options["min_poll_interval"] = options["max_poll_interval"] = given["poll_interval"]
    # The contract's recovery is sooner than this worker's own, and off where it is not asked for.
    recovers = given.get("recover", False)
    options.update(recovery_interval=0.5, stale_grace=1) if recovers else options.update(
        recovery_interval=None
    )
    worker = Worker(
        flow_of(fixture),
        os.environ["PGFLOW_DATABASE_URL"],
        prepare=PREPARES,
        on_ready=say_ready,
        **options,
    )
    worker.run()
    say(type="stopped")


def flow_of(fixture: dict[str, Any]) -> Flow:
    """The fixture's flow, with handlers that perform its instructions."""
    given = fixture["flow"]
    flow = Flow(given["slug"], **options_of(given))
    for step in given["steps"]:
        for instruction in step["handler"]:
            if not KNOWN & instruction.keys() or instruction.keys() - KNOWN - {"attempts"}:
                unsupported(f"instruction {instruction}")
        needs, options = step.get("depends_on", []), options_of(step)
        if is_map(step):
            declare = flow.map(needs[0] if needs else None, step["slug"], **options)
        else:
            declare = flow.step(step["slug"], depends_on=needs, **options)
        declare(handler_of(step))
    return flow


def handler_of(step: dict[str, Any]) -> Any:
    """The handler of one step."""

    async def handler(argument: Any, ctx: Context) -> object:
        say(
            type="call",
            run_id=str(ctx.run_id),
            step_slug=ctx.step_slug,
            task_index=ctx.task_index,
            attempt=ctx.attempt,
            input=argument,
        )
        if is_map(step):
            inputs = {"element": argument}
        else:
            dependencies = argument if step.get("depends_on") else {}
            inputs = {"run": ctx.flow_input, **dependencies}
        world = World(ctx.attempt, asyncio.sleep, hang, os._exit)
        return await perform(step["handler"], argument, inputs, world)

    return handler


def is_map(step: dict[str, Any]) -> bool:
    """Whether it has a task for each element of an array."""
    return bool(step.get("step_type") == "map")


def options_of(given: dict[str, Any]) -> dict[str, Any]:
    """The options of a flow or a step that are given."""
    return {name: given[name] for name in STEP_OPTIONS if name in given}


async def hang() -> None:
    """Never end, whoever asks."""
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)


def say(**line: object) -> None:
    """Print one line for the suite; `encode` because an input may hold what `json` cannot write."""
    sys.stdout.write(encode(line) + "\n")
    sys.stdout.flush()


def say_ready(worker_id: UUID) -> None:
    """Print that the worker is registered."""
    say(type="ready", worker_id=str(worker_id))


def unsupported(what: str) -> NoReturn:
    """Say that this adapter cannot do it."""
    print(f"not supported: {what}", file=sys.stderr)
    sys.exit(3)


if __name__ == "__main__":
    main()
