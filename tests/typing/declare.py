"""Declaring flows, as a type checker sees it. Checked by mypy and pyright; nobody runs it.

`assert_type` says what a thing is. A line with `type: ignore` is wrong use; where a checker does
not find it wrong, that checker says that the comment is needless, and the test fails.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import Any
from uuid import UUID

from typing_extensions import assert_type

from pgflow_ref import Context, Flow, Job, Step, TaskFailed

order = Flow("order", max_attempts=3, base_delay=1, timeout=30)


@order.step()
def check(order: dict[str, Any], ctx: Context) -> dict[str, bool]:
    assert_type(ctx.run_id, UUID)
    assert_type(ctx.attempt, int)
    assert_type(ctx.task_index, int)
    assert_type(ctx.worker_id, UUID)
    assert_type(ctx.stopping.is_set(), bool)
    ctx.attempt = 2  # type: ignore[misc]  # a context is read
    return {"valid": order["total"] > 0}


@order.step(depends_on=[check, "check"], timeout=30, start_delay=5)
async def pay(deps: dict[str, Any], ctx: Context) -> int:
    del ctx
    if "check" not in deps:
        raise TaskFailed("no check")
    return 1


@order.step("last", depends_on=[pay], max_attempts=1, base_delay=2)
def confirm(deps: dict[str, Any], ctx: Context) -> None:
    del deps, ctx


def a_step_is_still_the_function_that_it_was(ctx: Context) -> None:
    assert_type(check({"total": 1}, ctx), dict[str, bool])
    assert_type(check.handler({"total": 1}, ctx), dict[str, bool])
    promised: Coroutine[Any, Any, int] = pay({}, ctx)
    wrong: Coroutine[Any, Any, str] = pay({}, ctx)  # type: ignore[assignment]
    del promised, wrong
    assert_type(check.slug, str)
    check({"total": 1})  # type: ignore[call-arg]
    check("total", ctx)  # type: ignore[arg-type]
    check({"total": 1}, None)  # type: ignore[arg-type]


assert_type(order.slug, str)
assert_type(order.steps, Mapping[str, Step[..., object]])

send = Job("send", max_attempts=5)


@send.perform()
def send_email(email: dict[str, str], ctx: Context) -> str:
    del ctx
    return email["to"]


def a_job_is_a_flow(ctx: Context) -> None:
    assert_type(send_email({"to": "a@example.com"}, ctx), str)
    flow: Flow = send
    del flow


Flow("f", max_attempts="3")  # type: ignore[arg-type]
Flow("f", 3)  # type: ignore[call-arg]
Flow("f", retries=3)  # type: ignore[call-arg]
Flow()  # type: ignore[call-arg]
order.step(depends_on=[order])  # type: ignore[list-item]
order.step(depends_on=check)  # type: ignore[arg-type]
order.step(max_attempts=1.5)  # type: ignore[arg-type]
