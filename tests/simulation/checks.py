"""What must be true of the whole when all is over."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from typing import Any

from adapter.engine.records import Head, InboxEntry, Meta, Part, StateEntry, Status, Waiter
from adapter.engine.types import Kind, ObjectKey
from tests.simulation.program import digest
from tests.simulation.watch import WatchedStore
from tests.simulation.world import World


def check(world: World) -> None:
    """Look for anything that is not as it should be, and report it to the world."""
    Checker(world).run()


class Checker:
    def __init__(self, world: World) -> None:
        self.world = world
        self.store: WatchedStore = world.store
        self.plan = world.plan
        self.by_node: dict[int, list[Meta]] = defaultdict(list)
        self.outputs: dict[str, dict[str, Any]] = {}
        for meta in self.store.metas():
            self.by_node[json.loads(self.input(meta))["n"]].append(meta)

    def fail(self, what: str) -> None:
        self.world.violation(what)

    def payload(self, meta: Meta, name: str) -> bytes:
        parts = [p for p in self.store.items(meta.id, Part, meta.generation) if p.name == name]
        return b"".join(part.data for part in parts)

    def input(self, meta: Meta) -> bytes:
        return meta.input if meta.input is not None else self.payload(meta, "input")

    def text(self, meta: Meta) -> str:
        """What an invocation ended with."""
        assert meta.outcome is not None
        if meta.outcome.failure is not None:
            return meta.outcome.failure.message
        return (self.payload(meta, f"output-{meta.epoch}") if meta.output_parts else meta.outcome.value or b"").decode()

    def run(self) -> None:
        for meta in self.store.metas():
            self.ended(meta)
        if self.world.violations:
            return
        self.once()
        self.answers()
        for meta in self.store.metas():
            self.observations(meta)
            self.children(meta)
        self.keys()
        self.arrivals()
        self.leftovers()

    def ended(self, meta: Meta) -> None:
        """Everything has completed, as its program says."""
        if meta.status is not Status.COMPLETED:
            self.fail(f"{meta.id} ({meta.target}) stays {meta.status}: {meta}")
            return
        text = self.text(meta)
        try:
            output = json.loads(text)
        except ValueError:
            self.fail(f"{meta.id} ends with {text}")
            return
        node = output["n"]
        self.outputs[meta.id] = output
        if node != json.loads(self.input(meta))["n"] or output["i"] != meta.id:
            self.fail(f"{meta.id} ends with the output of another: {text}")
        elif self.plan.fails(node) != (meta.outcome is not None and meta.outcome.failure is not None):
            self.fail(f"{meta.id} (node {node}) ends with {meta.outcome}")

    def once(self) -> None:
        """What was to run ran once, and nothing else ran."""
        accepted = [asked.root.node for asked in self.world.asked if asked.answered is not None]
        begun = [root.node for root in self.plan.roots if self.by_node.get(root.node)]
        for node in sorted(self.plan.below([*accepted, *begun])):
            if len(self.by_node.get(node, ())) != 1:
                self.fail(f"node {node} ({self.plan.nodes[node].target}) ran {len(self.by_node.get(node, ()))} times")
        for node in sorted(set(self.by_node) - self.plan.below([*accepted, *begun])):
            self.fail(f"node {node} ran, and was not to")

    def answers(self) -> None:
        """Clients and callers were told what is stored, and one client only that it began it."""
        first: dict[str, int] = defaultdict(int)
        for asked in self.world.asked:
            if asked.id is None:
                continue
            meta = self.store._record(asked.id)
            if meta is None:
                self.fail(f"{asked.id} was accepted, and is not there")
                continue
            first[asked.id] += asked.accepted
            if asked.outcome is None:
                self.fail(f"{asked.id} was never answered")
            else:
                failure = asked.outcome.failure
                told = failure.message if failure else (asked.outcome.value or b"").decode()
                if told != self.text(meta):
                    self.fail(f"{asked.id} was answered with {told}, it ended with {self.text(meta)}")
        for id, count in first.items():
            if count > 1:
                self.fail(f"{count} requests have made {id}")

    def observations(self, meta: Meta) -> None:
        """What attempts had observed when they did something is what the last one observed."""
        trace = self.outputs[meta.id]["t"]
        for length, seen in self.world.snapshots.get(meta.ref, ()):
            if json.dumps(trace[:length]) != seen:
                self.fail(f"{meta.id} had observed {seen}, and then {json.dumps(trace[:length])}")
                return
        last = -1
        for path, what, *values in trace:
            if what in ("value", "error"):
                text = self.text(self.by_node[values[0]][0])
                if digest(json.loads(text) if what == "value" else text) != values[1]:
                    self.fail(f"{meta.id} was told {what} {values[1]} of node {values[0]}, which ended with {text}")
            if what == "peek" and "/" not in path:
                if values[0] < last:
                    self.fail(f"{meta.id} saw {meta.target.object} go back from {last} to {values[0]}")
                last = values[0]

    def children(self, meta: Meta) -> None:
        """What it called and sent is there, made when it had observed as much as it did in the end."""
        trace = self.outputs[meta.id]["t"]
        order: dict[ObjectKey, int] = {}
        for place, (path, what, *values) in enumerate(trace):
            if what not in ("call", "caught", "send", "join", "forget"):
                continue
            node = self.plan.nodes[values[0]]
            child = self.by_node[node.id][0]
            if child.id != values[1]:
                self.fail(f"{meta.id} called {values[1]}, which is {child.id}")
            if node.idempotency is not None:
                continue
            length, seen = json.loads(self.input(child))["t"]
            if "fan" not in [op.kind for op in self.plan.nodes[self.outputs[meta.id]["n"]].ops] and length != place:
                self.fail(f"{meta.id} made {child.id} at {length}, and says at {place}")
            if digest(trace[:length]) != seen:
                self.fail(f"{meta.id} made {child.id} when it had observed something else than {trace[:length]}")
            if node.kind is Kind.EXCLUSIVE and child.parent is not None or child.kind is Kind.EXCLUSIVE:
                seq = self.seq(child)
                key = child.target.object
                delayed = what == "send" and self._delay(meta, path)
                if not delayed:
                    if order.get(key, -1) >= seq:
                        self.fail(f"{meta.id}: {child.id} came to {key} as number {seq}, after number {order[key]}")
                    order[key] = seq

    def _delay(self, meta: Meta, path: str) -> bool:
        """Whether the send at this place has a delay."""
        ops = self.plan.nodes[self.outputs[meta.id]["n"]].ops
        op = None
        for step in path[1:].replace("/", "./").split("."):
            if step.startswith("/"):
                assert op is not None
                ops = op.branches[int(step[1:])]
            else:
                op = ops[int(step)]
        assert op is not None
        return op.n > 0

    def seq(self, meta: Meta) -> int:
        """An exclusive invocation's place in its key's history, as it found it itself."""
        return int(self.outputs[meta.id]["t"][0][2])

    def keys(self) -> None:
        """Each key's history is serial, and leaves the state that a plain model has."""
        histories: dict[ObjectKey, list[Meta]] = defaultdict(list)
        for meta in self.store.metas():
            if meta.kind.exclusive:
                histories[meta.target.object].append(meta)
        heads = {head.key: head for head in self.store.heads_()}
        for key, metas in histories.items():
            metas.sort(key=self.seq)
            if [self.seq(meta) for meta in metas] != list(range(len(metas))):
                self.fail(f"{key}: {[(self.seq(meta), meta.id) for meta in metas]} is not serial")
                continue
            state: dict[str, str] = {}
            for meta in metas:
                self.model(meta, state)
            if {name: value for name, value in self.state(heads[key]).items()} != state:
                self.fail(f"{key} is {self.state(heads[key])}, not {state}")

    def state(self, head: Head) -> dict[str, str]:
        values = dict(head.state)
        for entry in self.store.items(head.key, StateEntry):
            if head.spilled and entry.generation == head.state_generation:
                values.setdefault(entry.name, entry.value)
        return {name: digest(json.loads(value)) for name, value in values.items()}

    def model(self, meta: Meta, state: dict[str, str]) -> None:
        """What an invocation did to the state, and whether it saw what it should."""
        for entry in self.outputs[meta.id]["t"]:
            match entry:
                case [_, "seq", place]:
                    state["seq"] = digest(place + 1)
                case [_, "get", name, seen]:
                    if state.get(name, "null") != seen:
                        self.fail(f"{meta.id} read {name} = {seen} of {meta.target.object}, it is {state.get(name)}")
                case [_, "keys", seen]:
                    if sorted(state) != seen:
                        self.fail(f"{meta.id} listed {seen} of {meta.target.object}, not {sorted(state)}")
                case [_, "set", name, value]:
                    state[name] = digest(value) if name in ("list", "seq", "total") else value
                case [_, "clear", name]:
                    state.pop(name, None)
                case [_, "clear-all"]:
                    state.clear()

    def arrivals(self) -> None:
        """What was accepted before something else was asked for came to its key before it."""
        by_key: dict[ObjectKey, list[tuple[float, float, int, str]]] = defaultdict(list)
        for asked in self.world.asked:
            node = self.plan.nodes[asked.root.node]
            if asked.id is None or not asked.accepted or asked.answered is None or node.kind is not Kind.EXCLUSIVE:
                continue
            if not asked.arrived:
                continue
            meta = self.store._record(asked.id)
            assert meta is not None
            by_key[meta.target.object].append((asked.began, asked.answered, self.seq(meta), meta.id))
        for key, entries in by_key.items():
            for one in entries:
                for two in entries:
                    if one[1] < two[0] and one[2] > two[2]:
                        self.fail(f"{key}: {one} was accepted before {two} was asked for, and came after it")

    def leftovers(self) -> None:
        """Nothing is held, nobody waits."""
        for head in self.store.heads_():
            if head.owner is not None or head.waiting:
                self.fail(f"{head.key} is still held: {head}")
        for record in self.store.records():
            if isinstance(record, Waiter | InboxEntry):
                self.fail(f"{record} is left over")


def short(data: bytes) -> str:
    """What stands for bytes in a history."""
    return hashlib.sha1(data).hexdigest()[:8] if len(data) > 60 else data.decode(errors="replace")
