"""What must hold of the invocations that run in one session, such as those of a key's inbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapter.engine import batches
from adapter.engine.records import Meta
from adapter.engine.session import Session

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.program import Program
    from tests.simulation.world import World

CROWDED = {"crowd", "backlog"}
"""The switches that are on where one session may run many invocations."""


def check_session(world: World, program: Program) -> None:
    """A program begins to run.

    The session's memory is bounded by the number of invocations that it runs. If it continues an attempt on a former
    deployment, it begins nothing that may run on the current one.
    """
    session = program.process.engine.process.active.get(program.ref.id)
    if not isinstance(session, Session):
        return
    if (count := len(session._admission.hosted)) > batches.MAX_HOSTED + 1:
        world.violation(f"{count} invocations run in one session of {program.process}, not {batches.MAX_HOSTED + 1}")
    root, record = session.root, world.store._record(program.ref.id)
    former = program.process.deployment != world.functions.current(program.process.function)
    if former and root.meta.epoch > 1 and record is not None and record.ref != root.ref and not record.deployment:
        world.violation(f"{record.id} begins on {program.process.deployment}, where an earlier attempt is continued")


def check_time(world: World, process: Process) -> None:
    """A process is stopped at its deadline. No invocation of a crowd takes two seconds, so it should have ended before.

    If requests are slow, those that are under way when a client's wait ends may take too long. A process whose client
    gives up is taken for busy until its deadline.
    """
    undisturbed = not (world.faulty or world.operators.acted or "impatience" in world.reach)
    if undisturbed and world.reach & CROWDED and world.jitter <= 0.02:
        world.violation(f"{process} runs out of time")


def check_deployment(world: World, old: Meta, new: Meta) -> None:
    """A record of a crowd changes. An invocation does not begin on older code than that which accepted it.

    A process that stood still may take an invocation that has not begun.
    """
    late = world.network.writer is None or world.network.writer.paused > 0
    if late or old.deployment in ("", new.deployment) or not world.reach & CROWDED:
        return
    number = len(world.functions.replaced)
    before, after = (world.functions.replaced.get(meta.deployment, number) for meta in (old, new))
    if after < before:
        world.violation(f"{new.id} goes back from {old.deployment} to {new.deployment}")
