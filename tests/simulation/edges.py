"""What handlers do at the edges of what the engine promises.

- ``slow``: a step takes longer than the handler's ``abort_timeout`` a few times.
- ``base``: a step raises an error that is no ``Exception``, or one that has no text.
- ``stranger``: a command names an invocation or a handler that does not exist, an awakeable that is none, or the
  invocation that issues it.
- ``bloated``: a value is larger than values may be.
- ``outwait``: a workflow's shared handler waits for a promise that nobody keeps, until the workflow has expired.
"""

from __future__ import annotations

from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any

from adapter.engine import commands as c
from adapter.engine.ids import awakeable_id
from adapter.engine.records import Ref
from adapter.engine.types import Kind, Outcome, Target
from adapter.errors import TerminalError
from tests.simulation.clock import SKEW

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.simulation.aftermath import Aftermath
    from tests.simulation.program import Program
    from tests.simulation.watch import Ended
    from tests.simulation.world import World

EDGES = ("aborts", "strangers", "bounds", "base-errors")
"""The switches of these."""

ABORT = timedelta(seconds=2)
"""The ``abort_timeout`` of handlers. Their other steps take up to a second."""

MOST = 100_000
"""The largest value in a run with ``bounds``, in bytes: what is too large for it costs little."""

NOBODY = Ref(f"inv_{'a' * 32}", "nothing")
"""An invocation that does not exist."""

NEVER_KEPT = "is over, and its promise was not completed"


def draw(random: Random, reach: Sequence[str]) -> tuple[str, str]:
    """Draw one of the edges: what kind of operation, and how it does it."""
    kinds = [name for name in EDGES if name in reach]
    match random.choice(kinds):
        case "aborts":
            return "step", "slow"
        case "strangers":
            return "stranger", random.choice(
                ("attach", "output", "cancel", "signal", "complete", "forge", "call", "own")
            )
        case "base-errors":
            return "step", "base"
        case _:
            return "bloated", random.choice(("step", "set", "call", "send", "signal"))


async def outlast(program: Program, began: float) -> None:
    """Let a step take longer than it may."""
    process = program.process
    program.world.waits.runs_step(program.ref, ABORT.total_seconds())
    await process.work(2 * ABORT.total_seconds())
    if not process.paused:
        program.world.violation(f"{program.ref.id} ran a step for {program.world.loop.time() - began} s")


def abort_timeout(world: World, service: str) -> timedelta | None:
    """The ``abort_timeout`` of a service's handlers. To a handler of the SDK's it would be one of whole exchanges."""
    return ABORT if "aborts" in world.reach and service not in world.plan.hosted else None


def is_aborted(program: Program, began: float) -> bool:
    """Whether a step that is cut short has taken as long as it may."""
    limited = abort_timeout(program.world, program.node.target.service) is not None
    return limited and program.world.loop.time() - began > ABORT.total_seconds() - 0.002


async def stranger(program: Program, how: str, path: str) -> None:
    """Name in a command what is not there, or is not what it is taken for."""
    match how:
        case "attach":
            await _refused(program, path, c.Attach(NOBODY.id), 404)
        case "own":
            await _refused(program, path, c.Attach(program.attempt.id), 508)
        case "call":
            await _refused(program, path, c.Call(Target(program.node.target.service, "nothing"), b""), 404)
        case "output":
            found = await program.issuer.issue(c.Output(NOBODY.id), lambda data: data or b"")
            _same(program, path, found.decode(), "not found")
        case "cancel":
            _same(program, path, await program.issue(c.Cancel(NOBODY.id)), "not found")
        case "signal":
            _same(program, path, await program.issue(c.SendSignal(NOBODY.id, "s", Outcome(b"1"))), "not found")
        case "complete":
            _same(program, path, await program.issue(c.Complete(awakeable_id(NOBODY, 1), Outcome(b"1"))), "not found")
        case _:  # forge the result of a sleep
            sleep = program.sleep(20)
            forged = awakeable_id(program.ref, sleep.n)
            await program.issue(c.Complete(forged, Outcome(b'"forged"')))
            _same(program, path, await sleep, None)


async def bloated(program: Program, how: str, path: str) -> None:
    """Give a value that is too large."""
    value = b'"' + b"x" * MOST + b'"'

    async def closure() -> bytes:
        await program.process.work(0)
        return value

    commands: dict[str, c.Command] = {
        "step": c.Run("large", closure),
        "call": c.Call(program.node.target, value, kind=program.node.kind),
        "send": c.Send(program.node.target, value, kind=program.node.kind),
        "signal": c.SendSignal(program.attempt.id, "s", Outcome(value)),
        "set": c.SetState("large", value),
    }
    await _refused(program, path, commands[how], 413)


def check_excess(after: Aftermath, end: Ended) -> None:
    """Look at how a program ended whose output is too large."""
    failure = end.meta.outcome.failure if end.meta.outcome is not None else None
    begin, last = f"the output of {end.meta.target} has ", f" bytes; the most is {MOST}"
    if failure is None or failure.code != 413 or not (end.output.startswith(begin) and end.output.endswith(last)):
        after.fail(f"{end.meta.id} has an output that is too large, and ends with {end.output[:100]}")
    if end.meta.failed is not None and not after.world.faulty:
        after.fail(f"{end.meta.id} is tried again, and its output is too large: {end.meta}")


async def _refused(program: Program, path: str, command: c.Command, code: int) -> None:
    """Issue a command that ends with a terminal error."""
    cancellations = program.cancellations
    refused: int | None = None
    try:
        await program.issue(command)
    except TerminalError as error:
        if program.cancellations > cancellations or error.message == "cancelled":
            raise
        refused = error.code
    program.see(path, "found", refused, code)


def _same(program: Program, path: str, found: Any, expected: Any) -> None:
    program.see(path, "found", found, expected)


async def outwait(program: Program, path: str) -> None:
    """Wait for a promise that nobody keeps."""
    try:
        value = await program.issue(c.GetPromise(f"never{path}"))
    except TerminalError as error:
        if error.code != 410:
            raise
        program.see(path, "outwaited", error.message)
    else:
        program.world.violation(f"{program.attempt.id} was given {value!r} for a promise that nobody kept")


def check(after: Aftermath, end: Ended, trace: list[Any]) -> None:
    """Look for results of edges that cannot be."""
    for _, what, *values in trace:
        if what == "outwaited":
            _outwaited(after, end, *values)
        elif what == "gone" and (end.meta.ref, values[0]) in after.store.attached:
            after.fail(f"{end.meta.id} waited for a result with command {values[0]}, and was told that there is none")


def _outwaited(after: Aftermath, end: Ended, message: str) -> None:
    """A promise was given up, but not before a run of its workflow had expired, or had never been."""
    key, now = end.meta.target.object, end.meta.completed or 0
    if message != f"{key} {NEVER_KEPT}":
        after.fail(f"{end.meta.id} was told {message!r} of a promise of {key}")
    others = (each.meta for each in after.ends.values())
    runs = [meta for meta in others if meta.kind is Kind.WORKFLOW and meta.target.object == key]
    if runs and not any(meta.expires is not None and meta.expires <= now + SKEW for meta in runs):
        after.fail(f"{end.meta.id} was told that {key} is over, and it had not expired")
