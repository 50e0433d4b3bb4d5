"""A program's calls and messages: it starts them, cancels them, and looks at their results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adapter.engine import commands as c
from adapter.engine.ports import Unavailable
from adapter.errors import TerminalError
from tests.simulation.plan import AWAITED, Op
from tests.simulation.values import decode, digest, request

FAR = 600_000
"""Milliseconds of a delay in which a message is cancelled, whatever goes wrong."""

if TYPE_CHECKING:
    from tests.simulation.program import Program


async def invoke(program: Program, op: Op, path: str) -> None:
    """Call or send something, and wait for it if it is to be waited for."""
    call = start(program, op, path)
    if op.how == "withdrawn":
        await _withdraw(program, op, path, call)
        return
    if op.how == "cancelled":
        if op.n:
            await program.sleep(op.n)
        await program.cancel(call)
        program.see(path, "cancels")
    if op.how in ("call", "caught", "join", "cancelled"):
        await result(program, op, path, call)
    if op.how == "glance":
        await _glance(program, op, path, call)


def start(program: Program, op: Op, path: str) -> Any:
    """Call or send something."""
    node = program.world.plan.nodes[op.node]
    data = request(node, None if node.idempotency is not None else program.trace)
    try:
        if op.how in ("send", "join", "glance", "withdrawn"):
            call = program.issue(c.Send(node.target, data, op.n, node.idempotency, kind=node.kind))
        else:
            call = program.issue(c.Call(node.target, data, node.idempotency, kind=node.kind))
    except Unavailable as error:
        program.world.violation(f"{program.attempt.id} was told by its host: {error!r}")
        raise
    program.sees_call(path, op.how, op.node, call)
    return call


async def result(program: Program, op: Op, path: str, call: Any) -> None:
    """Wait for the result of a call, and look at it."""
    try:
        value = await call
    except TerminalError as error:
        if error.message.startswith("deadlock: "):
            program.see(path, "deadlock", op.node, error.message)
        else:
            program.see(path, "error", op.node, digest(error.message))
            if error.message.startswith('{"n":') and not program.world.endpoints.is_of(op.node, error.metadata):
                program.world.violation(f"{program.attempt.id} was told of node {op.node} with {error.metadata}")
        if op.how in AWAITED and not _has_expired(program, error, op, path, call):
            raise
    else:
        program.see(path, "value", op.node, digest(value))
        if value["n"] != op.node:
            program.world.violation(f"{program.attempt.id} was given {value}, not node {op.node}'s output")


def _has_expired(program: Program, error: TerminalError, op: Op, path: str, call: Any) -> bool:
    """Whether a program is told that what it attaches to has expired, and goes on as if that had succeeded."""
    if error.code != 404 or not error.message.startswith("there is no invocation") or not program.world.expiring:
        return False
    program.see(path, "gone", getattr(call, "n", -1))  # a handler of the SDK's does not know its command
    return not program.world.plan.fails(op.node)


async def _withdraw(program: Program, op: Op, path: str, call: Any) -> None:
    """Cancel a message, and wait for its end. One that was far from its time does not run."""
    if op.times:
        await program.sleep(op.times)
    said = await program.issue(c.Cancel(call.id))
    program.see(path, "withdraws", said)
    try:
        value = await call
    except TerminalError as error:
        program.see(path, "error", op.node, digest(error.message))
        return
    program.see(path, "value", op.node, digest(value))
    if op.n >= FAR:
        program.world.violation(f"{call.id} was cancelled long before its time ({said}), and ran")


async def _glance(program: Program, op: Op, path: str, call: Any) -> None:
    """Look at an output as it stands."""
    try:
        found = await program.issuer.issue(c.Output(call.id), lambda data: data or b"")
    except TerminalError as error:
        program.see(path, "error", op.node, digest(error.message))
        return
    if found.startswith(c.READY):
        program.see(path, "value", op.node, digest(decode(found.removeprefix(c.READY))))
    else:
        program.see(path, "glanced", found.decode())
        if found != c.NOT_READY and not program.world.expiring:
            program.world.violation(f"{call.id} was sent, and is {found.decode()}")
