"""What must be true of the whole when all is over: each theme has a module, and here is their order."""

from __future__ import annotations

from tests.simulation import costs, edges, histories, observations, outcomes, repeats, stored, told, waits
from tests.simulation.aftermath import Aftermath
from tests.simulation.world import World


def check(world: World) -> None:
    """Look for anything that is not as it should be, and report it to the world."""
    after = Aftermath(world)
    for meta in after.store.metas():
        if meta.live and (meta.input or meta.input_parts):  # not a promise
            after.fail(f"{meta.id} ({meta.target}) stays {meta.status}: {meta}")
    for end in after.ends.values():
        outcomes.ended(after, end)
    if world.violations:
        return
    for id in world.operators.done.get("kill", ()):
        if "killed" not in [end.output for end in after.by_id[id]]:
            after.fail(f"{id} was killed, and ended with {after.by_id[id]}")
    outcomes.once(after)
    outcomes.answers(after)
    for ref in after.outputs:
        observations.observed(after, after.ends[ref].meta)
        edges.check(after, after.ends[ref], after.outputs[ref]["t"])
        observations.children(after, after.ends[ref].meta)
    repeats.loose(after)
    histories.keys(after)
    histories.edits(after)
    histories.arrivals(after)
    stored.leftovers(after)
    if world.encodes:
        stored.encoded(after)
    if not world.expiring and not world.swept:
        told.calls(after)
        if after.plan.hosted:
            stored.exchanges(after)
    if not world.faulty and not world.lambdas:
        if not world.operators.acted:
            repeats.steps(after)
        if not world.swept and not world.operators.acted.keys() - {"cancel", "kill"}:
            told.in_time(after)
    if "step-counts" in world.reach:
        repeats.counts(after)
    unclear = after.plan.tangled or world.expiring or world.swept or bool(world.operators.restarts)
    unclear = unclear or (bool(after.plan.hosted) and world.disagreement > 0)  # each sleep may be longer
    if "waits" in world.reach and not unclear:
        waits.check(after)
    if costs.applies(world):
        costs.check(world)
