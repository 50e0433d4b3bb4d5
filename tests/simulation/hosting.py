"""The handlers of a function: each runs the programs that are for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from adapter.engine.deployment import HandlerSpec
from adapter.engine.types import Kind, Options, RetryPolicy
from tests.simulation import edges
from tests.simulation.program import Program

if TYPE_CHECKING:
    from adapter.engine.commands import Issuer
    from tests.simulation.process import Process


def handlers(process: Process) -> list[HandlerSpec]:
    """Every handler of the function that a process runs."""

    async def native(issuer: Issuer, data: bytes) -> bytes:
        return await Program(process, issuer, data).run()

    hosted = None
    if process.world.plan.hosted:
        from tests.simulation import sdk  # which needs Restate's SDK

        hosted = sdk.Endpoint(process)

    initial = timedelta(milliseconds=process.world.random.choice((10, 50, 500)))
    retention = timedelta(seconds=process.world.retention)
    specs = []
    for service, function in process.world.plan.functions.items():
        if function == process.function:
            if service[0] == "S":
                kinds = {"do": Kind.SERVICE}
            elif service[0] == "O":
                kinds = {"do": Kind.EXCLUSIVE, "look": Kind.SHARED}
            else:
                kinds = {"run": Kind.WORKFLOW, "look": Kind.SHARED}
            limit = process.world.plan.limits.get(service)
            retry = RetryPolicy(initial)
            if limit is not None:
                retry = RetryPolicy(initial, attempts=limit.attempts, exhausted=limit.exhausted)
            options = Options(
                retry=retry,
                idempotency_retention=retention,
                workflow_retention=retention,
                journal_retention=retention,
                lazy_state=process.world.lazy_state,
                inactivity_timeout=process.world.inactivity,
                batch=process.world.batch,
                deadlocks="report" if process.world.operators.reports(service) else "fail",
                abort_timeout=edges.abort_timeout(process.world, service),
            )
            coder = process.world.coder
            for name, kind in kinds.items():
                code: Callable[[Issuer, bytes], Awaitable[bytes]] = native
                if hosted is not None and service in process.world.plan.hosted:
                    code = hosted.handler(service, name, lazy=options.lazy_state)
                specs.append(coder.handler(HandlerSpec(service, name, kind, code, options)))
    return specs


def kind_of(service: str, handler: str) -> Kind | None:
    """The kind of any handler."""
    return {
        ("S", "do"): Kind.SERVICE,
        ("O", "do"): Kind.EXCLUSIVE,
        ("O", "look"): Kind.SHARED,
        ("W", "run"): Kind.WORKFLOW,
        ("W", "look"): Kind.SHARED,
    }.get((service[:1], handler))
