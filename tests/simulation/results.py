"""Results from outside or from other handlers: a program waits for them, or gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adapter.engine import commands as c
from adapter.engine.ids import workflow_id
from adapter.engine.types import Outcome
from tests.simulation.plan import Op
from tests.simulation.values import encode, request

if TYPE_CHECKING:
    from tests.simulation.program import Program


async def ask(program: Program, op: Op, path: str) -> Any:
    """Have somebody outside, or another handler, give a result."""
    if op.kind == "promise":
        id = str(program.attempt.target.object)
        result = program.issue(c.GetPromise(path))
    else:
        result = program.issue(c.Awakeable() if op.kind == "awakeable" else c.Signal(path))
        id = program.awakeable(result) if op.kind == "awakeable" else program.attempt.id
    if op.node >= 0:
        node = program.world.plan.nodes[op.node]
        data = request(node, program.trace, tell=[op.kind, id, path])
        call = program.issue(c.Send(node.target, data, kind=node.kind))
        program.sees_call(path, "send", op.node, call)
        return result

    async def closure() -> bytes:
        await program.process.work(0)
        program.world.outsiders.tell(op.kind, id, path, op, program.attempt.meta)
        return b""

    await program.issue(c.Run("tell", closure))
    return result


async def tell(program: Program, op: Op, path: str) -> None:
    """Give somebody a result, perhaps twice."""
    kind, id, name = program.input["tell"]
    for number in range(op.times):
        value = encode(f"{name}!{number}{'~' * op.size}")
        if kind == "awakeable":
            telling = program.issue(c.Complete(id, Outcome(value)))
        elif kind == "signal":
            telling = program.issue(c.SendSignal(id, name, Outcome(value)))
        else:
            telling = program.issue(c.CompletePromise(name, Outcome(value)))
        said = "perhaps" if op.how == "blindly" else await telling
        if kind == "promise":
            peeked = await program.issue(c.PeekPromise(name))
            target, purged = program.attempt.target, program.world.operators.acted.get("purge", ())
            forgotten = program.world.expiring or workflow_id(target.service, str(target.key)) in purged
            if not forgotten and not (peeked or "").startswith(f"{name}!0"):
                program.world.violation(f"promise {id}/{name} was kept, and is {peeked}")
        program.see(path, "told", kind, number, said)
