"""Rings of calls: whoever is failed because it is part of a deadlock is part of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from adapter.engine.records import Head, Meta, Ref, Status, Waiter
from adapter.local.changes import head_address

if TYPE_CHECKING:
    from tests.simulation.plan import Op
    from tests.simulation.watch import WatchedStore


def check(store: WatchedStore, queued: Meta, ring: str) -> None:
    """Whoever is failed for a ring would have waited for ever: its key's owner cannot go on without it."""
    live = {meta.ref: meta for meta in store.metas() if meta.live and meta.ref != queued.ref} | {queued.ref: queued}
    needs: dict[Ref, list[list[Ref]]] = {ref: [] for ref in live}
    """What each waits for: of several in one list, one is enough to go on."""
    selects: dict[tuple[Ref, Op], list[Ref]] = {}
    calls = store.world.plan.calls()
    for meta in live.values():
        if meta.status is Status.QUEUED:
            head = cast("Head | None", store._lookup(head_address(meta.target.object)))
            needs[meta.ref] += [[head.owner]] if head is not None and head.owner is not None else []
        if meta.parent is not None and meta.parent.ref in needs:
            _, op, outer = calls[store.world.node(meta)]
            if outer.kind == "select" and outer.how != "await":
                selects.setdefault((meta.parent.ref, outer), []).append(meta.ref)
            elif op.how != "forget" and (outer.kind != "timeout" or outer.how == "await"):
                needs[meta.parent.ref].append([meta.ref])
    for (ref, op), children in selects.items():
        needs[ref] += [children] if len(children) == len(op.branches) else []
    for record in store.records():
        if isinstance(record, Waiter) and record.waiter in needs:
            needs[record.waiter].append([Ref(record.id, record.generation)])
    stuck = set(live)
    while free := {ref for ref in stuck if not any(stuck.issuperset(others) for others in needs[ref])}:
        stuck -= free
    if queued.ref not in stuck:
        store.world.violation(f"{queued.id} is failed for a {ring}, which is none")
