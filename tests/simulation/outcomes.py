"""How invocations ended, how often they ran, and what their clients were told."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from pydantic_core import from_json

from tests.simulation import edges
from tests.simulation.clock import EPOCH, SKEW
from tests.simulation.watch import Ended

if TYPE_CHECKING:
    from tests.simulation.aftermath import Aftermath


def ended(after: Aftermath, end: Ended) -> None:
    """It ended as its program says."""
    meta, text = end.meta, end.output
    node = from_json(end.input)["n"]
    if node in after.noticing and text in ("cancelled", "killed"):
        if text == "cancelled" and meta.ref in after.world.runs.snapshots:
            after.fail(f"{meta.id} was cancelled, and could not clean up what its steps did")
        return
    if after.plan.tangled and text.startswith("deadlock"):
        if after.world.operators.reports(meta.target.service):
            after.fail(f"{meta.id} ends with {text}, and was to be left to an operator")
        return
    if after.plan.mortal(node) and text.startswith("gave up after"):
        return
    if any(op.kind == "excess" for op in after.plan.reached(node)):
        edges.check_excess(after, end)
        return
    try:
        output = from_json(text)
    except ValueError:
        after.fail(f"{meta.id} ends with {text}")
        return
    node = output["n"]
    after.outputs[meta.ref] = output
    if node != from_json(end.input)["n"] or output["i"] != meta.id:
        after.fail(f"{meta.id} ends with the output of another: {text}")
    elif node in after.noticing:
        return
    elif (failure := meta.outcome and meta.outcome.failure) and not after.world.endpoints.is_of(node, failure.metadata):
        after.fail(f"{meta.id} (node {node}) fails with {failure}, which lacks its metadata")
    elif after.plan.fails(node) != (meta.outcome is not None and meta.outcome.failure is not None):
        after.fail(f"{meta.id} (node {node}) ends with {meta.outcome}")


def once(after: Aftermath) -> None:
    """What was to run ran once, and nothing else ran; but for what is restarted, or purged and asked for again."""
    again: dict[int, int] = defaultdict(int)
    copied: dict[int, int] = defaultdict(int)
    for node, act, _ in after.world.operators.restarts:
        for below in after.plan.below([node], again=True):
            again[below] += 1
            copied[below] += below != node and after.plan.acts[act].first > 0
    purged = {
        node
        for id in after.world.operators.acted.get("purge", ())
        for end in after.by_id[id]
        for node in [after.node(end)]
    }
    forgotten = after.plan.below(list(purged))
    accepted = [asked.root.node for asked in after.world.clients.asked if asked.answered is not None]
    begun = [root.node for root in after.plan.roots if after.by_node.get(root.node)]
    expected = after.plan.below([*accepted, *begun])
    for node in sorted(expected):
        count, times = len(after.by_node.get(node, ())), 1 + again[node]
        if count > times and not after.world.expiring and node not in forgotten:
            after.fail(f"node {node} ({after.plan.nodes[node].target}) ran {count} times, not {times}")
        least = times - copied[node]  # a call whose result was copied does not run again
        if count < least and not (count and after.world.expiring) and node not in after.shaken:
            after.fail(f"node {node} ({after.plan.nodes[node].target}) ran {count} times")
    for node in sorted(set(after.by_node) - expected):
        after.fail(f"node {node} ran, and was not to")


def answers(after: Aftermath) -> None:
    """Clients and callers were told what is stored, and one client only that it began it."""
    first: dict[str, int] = defaultdict(int)
    for asked in after.world.clients.asked:
        if asked.id is None:
            continue
        ends = after.by_id[asked.id]
        if not ends:
            after.fail(f"{asked.id} was accepted, and is not there")
            continue
        first[asked.id] += asked.accepted
        if not asked.accepted and all(_gone(after, end) < asked.began_at - SKEW for end in ends if end.meta.expires):
            after.fail(f"{asked.id} is said to be there already, and had expired")
        purges = after.world.operators.purged.get(asked.id, ())
        before = [since for since, until in purges if until < asked.began - SKEW / 1000]
        if before and all(_began(after, end) < max(before) for end in ends):
            after.fail(f"{asked.id} was asked for after it was purged, and did not run again")
        if asked.outcome is None and after.world.forgets(asked.id):
            continue
        if asked.outcome is None:
            after.fail(f"{asked.id} was never answered")
        else:
            failure = asked.outcome.failure
            told = failure.message if failure else after.world.decoded(asked.outcome.value or b"").decode()
            expired = after.world.forgets(asked.id) and failure is not None and failure.code == 404
            if told not in [end.output for end in ends] and not expired:
                after.fail(f"{asked.id} was answered with {told}, it ended with {ends}")
    for id, count in first.items():
        if count > len(after.by_id[id]):
            after.fail(f"{count} requests have made {id}")


def _gone(after: Aftermath, end: Ended) -> int:
    """When an invocation had expired. One that is kept for no time expires once its completion is stored."""
    return max(end.meta.expires or 0, EPOCH + int(after.world.waits.ended[end.meta.ref] * 1000))


def _began(after: Aftermath, end: Ended) -> float:
    """When an invocation was asked for, in seconds. A process that stands still may store it much later, after a purge
    of the one before."""
    made = after.world.waits.made[end.meta.ref]
    return made if after.world.pauses else (end.meta.created - EPOCH + SKEW) / 1000
