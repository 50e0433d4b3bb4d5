"""Apps of Restate's Python SDK in a Lambda function: what is begun ends before the function answers."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import restate

from adapter.aws.entry import LambdaEntry
from adapter.hosting import hosting
from tests.unit.test_entry import Function

slow = restate.Service(
    "Slow",
    inactivity_timeout=timedelta(milliseconds=10),
    abort_timeout=timedelta(milliseconds=40),
    invocation_retry_policy=restate.InvocationRetryPolicy(max_attempts=1, on_max_attempts="kill"),
)
left: list[str] = []


@slow.handler()
async def step(ctx: restate.Context) -> None:
    try:
        await ctx.run_typed("step", asyncio.Event().wait)
    finally:
        await asyncio.sleep(0.01)
        left.append("step")


def test_no_stream_is_open_when_the_function_answers() -> None:
    app: Any = restate.app(services=[slow])
    function = Function()
    function.entry = LambdaEntry(hosting(app), function._connect)
    status, body, _ = function.http("/Slow/step")  # which checks that no task is left
    assert status == 500, body
    assert left == ["step"]
