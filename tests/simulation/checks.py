"""What must be true of the whole when all is over."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from pydantic_core import from_json, to_json

from adapter.engine.ids import child_id
from adapter.engine.journal import CANCEL, CommandIssued, NotificationDelivered, ResultDelivered
from adapter.engine.records import (
    Head,
    InboxEntry,
    JournalSegment,
    Meta,
    Notification,
    Part,
    Record,
    Ref,
    StateEntry,
    Waiter,
)
from adapter.engine.types import Kind, ObjectKey
from tests.simulation import costs, edges, waits
from tests.simulation.plan import Op
from tests.simulation.program import digest
from tests.simulation.watch import EPOCH, SKEW, Ended, WatchedStore
from tests.simulation.world import World

SOON = 20_000
"""Milliseconds after which a cancellation has come down to what its receiver called."""


def check(world: World) -> None:
    """Look for anything that is not as it should be, and report it to the world."""
    Checker(world).run()


class Checker:
    def __init__(self, world: World) -> None:
        self.world = world
        self.store: WatchedStore = world.store
        self.plan = world.plan
        self.ends = {ref: end for ref, end in world.store.archive.items() if end.input}
        self.shaken = self.plan.shaken()
        self.noticing = self.plan.noticing()
        self.by_node: dict[int, list[Ended]] = defaultdict(list)
        self.by_id: dict[str, list[Ended]] = defaultdict(list)
        self.outputs: dict[Ref, dict[str, Any]] = {}
        self._results: dict[int, dict[str, bool]] = {}
        for end in self.ends.values():
            self.by_node[from_json(end.input)["n"]].append(end)
            self.by_id[end.meta.id].append(end)

    def fail(self, what: str) -> None:
        self.world.violation(what)

    def run(self) -> None:
        for meta in self.store.metas():
            if meta.live and (meta.input or meta.input_parts):  # not a promise
                self.fail(f"{meta.id} ({meta.target}) stays {meta.status}: {meta}")
        for end in self.ends.values():
            self.ended(end)
        if self.world.violations:
            return
        for id in self.world.operators.done.get("kill", ()):
            if "killed" not in [end.output for end in self.by_id[id]]:
                self.fail(f"{id} was killed, and ended with {self.by_id[id]}")
        self.once()
        self.answers()
        for ref in self.outputs:
            self.observations(self.ends[ref].meta)
            edges.check(self, self.ends[ref], self.outputs[ref]["t"])
            self.children(self.ends[ref].meta)
        self.loose()
        self.keys()
        self.edits()
        self.arrivals()
        self.leftovers()
        if self.world.encodes:
            self.encoded()
        if not self.world.expiring and not self.world.swept:
            self.told()
            if self.plan.hosted:
                self.exchanges()
        if not self.world.faulty and not self.world.lambdas:
            if not self.world.operators.acted:
                self.steps()
            if not self.world.swept and not self.world.operators.acted.keys() - {"cancel", "kill"}:
                self.trees()
        if "step-counts" in self.world.reach:
            self.counts()
        unclear = self.plan.tangled or self.world.expiring or self.world.swept or bool(self.world.operators.restarts)
        unclear = unclear or (bool(self.plan.hosted) and self.world.disagreement > 0)  # each sleep may be longer
        if "waits" in self.world.reach and not unclear:
            waits.check(self)
        if costs.applies(self.world):
            costs.check(self.world)

    def ended(self, end: Ended) -> None:
        """It ended as its program says."""
        meta, text = end.meta, end.output
        node = from_json(end.input)["n"]
        if node in self.noticing and text in ("cancelled", "killed"):
            if text == "cancelled" and meta.ref in self.world.runs.snapshots:
                self.fail(f"{meta.id} was cancelled, and could not clean up what its steps did")
            return
        if self.plan.tangled and text.startswith("deadlock"):
            if self.world.operators.reports(meta.target.service):
                self.fail(f"{meta.id} ends with {text}, and was to be left to an operator")
            return
        if self.plan.mortal(node) and text.startswith("gave up after"):
            return
        try:
            output = from_json(text)
        except ValueError:
            self.fail(f"{meta.id} ends with {text}")
            return
        node = output["n"]
        self.outputs[meta.ref] = output
        if node != from_json(end.input)["n"] or output["i"] != meta.id:
            self.fail(f"{meta.id} ends with the output of another: {text}")
        elif node in self.noticing:
            return
        elif (failure := meta.outcome and meta.outcome.failure) and not self.world.endpoints.is_of(
            node, failure.metadata
        ):
            self.fail(f"{meta.id} (node {node}) fails with {failure}, which lacks its metadata")
        elif self.plan.fails(node) != (meta.outcome is not None and meta.outcome.failure is not None):
            self.fail(f"{meta.id} (node {node}) ends with {meta.outcome}")

    def once(self) -> None:
        """What was to run ran once, and nothing else ran; but for what is restarted, or purged and asked for again."""
        again: dict[int, int] = defaultdict(int)
        copied: dict[int, int] = defaultdict(int)
        for node, act, _ in self.world.operators.restarts:
            for below in self.plan.below([node], again=True):
                again[below] += 1
                copied[below] += below != node and self.plan.acts[act].first > 0
        purged = {
            node
            for id in self.world.operators.acted.get("purge", ())
            for end in self.by_id[id]
            for node in [self.node(end)]
        }
        forgotten = self.plan.below(list(purged))
        accepted = [asked.root.node for asked in self.world.clients.asked if asked.answered is not None]
        begun = [root.node for root in self.plan.roots if self.by_node.get(root.node)]
        expected = self.plan.below([*accepted, *begun])
        for node in sorted(expected):
            count, times = len(self.by_node.get(node, ())), 1 + again[node]
            if count > times and not self.world.expiring and node not in forgotten:
                self.fail(f"node {node} ({self.plan.nodes[node].target}) ran {count} times, not {times}")
            least = times - copied[node]  # a call whose result was copied does not run again
            if count < least and not (count and self.world.expiring) and node not in self.shaken:
                self.fail(f"node {node} ({self.plan.nodes[node].target}) ran {count} times")
        for node in sorted(set(self.by_node) - expected):
            self.fail(f"node {node} ran, and was not to")

    def trace(self, end: Ended) -> list[Any]:
        """What an invocation observed, if it says so."""
        return self.outputs[end.meta.ref]["t"] if end.meta.ref in self.outputs else []

    @staticmethod
    def node(end: Ended) -> int:
        """The program that an invocation ran."""
        return int(from_json(end.input)["n"])

    def steps(self) -> None:
        """Without faults, each step ran as often as it takes; but for those under way where something else fails."""
        for (id, path), times in self.world.runs.stumbled.items():
            if len(self.by_id[id]) == 1:
                end = self.by_id[id][0]
                if not any(at == path and what == "step" for at, what, *_ in self.trace(end)):
                    continue  # nobody waited for it
                op = self.op(end.meta, path)
                node = from_json(self.by_id[id][0].input)["n"]
                if node in self.shaken:
                    continue
                by_sdk = self.plan.nodes[node].target.service in self.plan.hosted  # then a failure ends all of them
                if any(other.times and (by_sdk or other.how != "retry") for other in self.plan.reached(node)):
                    continue
                # A deferred one runs again after a conflict, as its result was not committed.
                again = times > op.times + 1 and op.how != "defer"
                if op.kind == "step" and (again or times < op.times + 1):
                    self.fail(f"{id} ran {op} at {path} {times} times, nothing having gone wrong")

    def loose(self) -> None:
        """A step that is not awaited has ended before its invocation has."""
        for ref in self.outputs:
            for path, what, *_ in self.trace(self.ends[ref]):
                refs = [ref, *(copied.ref for copied in self.ends[ref].meta.copied)]
                if what == "loose" and not any((each, path) in self.world.runs.finished for each in refs):
                    self.fail(f"{ref.id} completed before its step at {path} had")

    def counts(self) -> None:
        """No step began again but in a new attempt, or after a failure."""
        for (ref, path), times in self.world.runs.begun.items():
            if ref in self.ends:
                failures = sum(count for (id, _), count in self.world.runs.stumbled.items() if id == ref.id)
                if times > self.ends[ref].meta.epoch + failures:
                    epochs = self.ends[ref].meta.epoch
                    self.fail(f"{ref.id} began its step at {path} {times} times, in {epochs} epochs")

    def answers(self) -> None:
        """Clients and callers were told what is stored, and one client only that it began it."""
        first: dict[str, int] = defaultdict(int)
        for asked in self.world.clients.asked:
            if asked.id is None:
                continue
            ends = self.by_id[asked.id]
            if not ends:
                self.fail(f"{asked.id} was accepted, and is not there")
                continue
            first[asked.id] += asked.accepted
            if not asked.accepted and all(self.gone(end) < asked.began_at - SKEW for end in ends if end.meta.expires):
                self.fail(f"{asked.id} is said to be there already, and had expired")
            if asked.outcome is None and self.world.forgets(asked.id):
                continue
            if asked.outcome is None:
                self.fail(f"{asked.id} was never answered")
            else:
                failure = asked.outcome.failure
                told = failure.message if failure else self.world.decoded(asked.outcome.value or b"").decode()
                expired = self.world.forgets(asked.id) and failure is not None and failure.code == 404
                if told not in [end.output for end in ends] and not expired:
                    self.fail(f"{asked.id} was answered with {told}, it ended with {ends}")
        for id, count in first.items():
            if count > len(self.by_id[id]):
                self.fail(f"{count} requests have made {id}")

    def gone(self, end: Ended) -> int:
        """When an invocation had expired. One that is kept for no time expires once its completion is stored."""
        return max(end.meta.expires or 0, EPOCH + int(self.world.waits.ended[end.meta.ref] * 1000))

    def observations(self, meta: Meta) -> None:
        """What attempts had observed when they did something is what the last one observed."""
        trace = self.outputs[meta.ref]["t"]
        for length, seen in self.world.runs.snapshots.get(meta.ref, ()):
            if to_json(trace[:length]) != seen:
                self.fail(f"{meta.id} had observed {seen!r}, and then {to_json(trace[:length])!r}")
                return
        last = -1
        for path, what, *values in trace:
            again = what == "told" and values[0] != "signal" and values[1] and values[2] == "accepted"
            if again and not (values[0] == "promise" and self.world.expiring):  # perhaps to the workflow's next run
                self.fail(f"{meta.id} has given a {values[0]} its result number {values[1]}, it is said")
            given = what in ("awakeable", "promise") and not self.world.forgets(meta.id)
            if given and (teller := self.op(meta, path).node) in self.by_node:
                said = [
                    entry[4]
                    for end in self.by_node[teller]
                    for entry in self.trace(end)
                    if entry[1:4] == ["told", what, 0]
                ]
                if not {"accepted", "perhaps"} & set(said):
                    self.fail(f"{meta.id} was given its {what} at {path}, and who gave it was told {said}")
            if what == "error" and values[1] == digest("cancelled") and values[0] in self.shaken | self.shaken_by(meta):
                continue
            if what == "found" and values[0] != values[1]:
                self.fail(f"{meta.id} was given {values[0]!r} at {path}, not {values[1]!r}")
            if what == "id" and values[1] != self.made(meta, values[0]):
                self.fail(f"{meta.id} was told that node {values[0]} runs as {values[1]}")
            if what == "deadlock":
                names = values[1].removeprefix("deadlock: ").split(" → ")
                keys = all(name.count("/") == 1 and name[0] in "OW" for name in names)
                if not self.plan.tangled or (keys and not self.plan.ring(names)):
                    self.fail(f"{meta.id} was told of a {values[1]}, which cannot be")
            if what in ("value", "error"):
                right = self.results_of(values[0]).get(values[1]) is (what == "error")
                if not right and not (what == "error" and self.expired(values)):
                    texts = [end.output for end in self.by_node[values[0]]]
                    self.fail(f"{meta.id} was told {what} {values[1]} of node {values[0]}, which ended with {texts}")
            if what == "peek" and "/" not in path:
                cleared = values[0] == 0 and self.plan.clears(str(meta.target.object))  # and then written again
                if values[0] < last and not cleared:
                    self.fail(f"{meta.id} saw {meta.target.object} go back from {last} to {values[0]}")
                last = values[0]

    def results_of(self, node: int) -> dict[str, bool]:
        """The digests of the results of a node's invocations, with whether each is a failure."""
        if node not in self._results:
            told = self._results[node] = {}
            for end in self.by_node[node]:
                failed = end.meta.outcome is not None and end.meta.outcome.failure is not None
                told.setdefault(digest(end.output if failed else from_json(end.output)), failed)
        return self._results[node]

    def expired(self, values: list[Any]) -> bool:
        """Whether an error of a node says that its record expired: its receiver attached to it only after a crash, and
        nobody swept up before."""
        gone = (f"there is no invocation {end.meta.id}, or it has expired" for end in self.by_node[values[0]])
        return self.world.expiring and values[1] in map(digest, gone)

    def shaken_by(self, meta: Meta) -> set[int]:
        """What an invocation that may be cancelled waits for: then that may surface in its place."""
        node = self.outputs[meta.ref]["n"]
        return {op.node for op in self.plan.reached(node) if op.kind == "invoke"} if node in self.shaken else set()

    def children(self, meta: Meta) -> None:
        """What it called and sent is there, made when it had observed as much as it did in the end."""
        trace = self.outputs[meta.ref]["t"]
        order: dict[ObjectKey, int] = {}
        for place, (path, what, *values) in enumerate(trace):
            if what not in ("call", "caught", "send", "join", "forget", "cancelled", "glance"):
                continue
            node = self.plan.nodes[values[0]]
            if node.idempotency is not None:
                continue
            ends = self.by_id[self.child(meta, values)]
            if (self.world.expiring and node.kind is Kind.WORKFLOW) or (self.plan.tangled and not ends):
                continue
            if len(ends) != 1 or ends[0] not in self.by_node[node.id]:
                called = self.child(meta, values)
                self.fail(f"{meta.id} called {called} to run node {node.id}, which {self.by_node[node.id]} did")
                continue
            child = ends[0].meta
            length, seen = from_json(ends[0].input)["t"]
            if "fan" not in [op.kind for op in self.plan.nodes[self.outputs[meta.ref]["n"]].ops] and length != place:
                self.fail(f"{meta.id} made {child.id} at {length}, and says at {place}")
            if digest(trace[:length]) != seen:
                self.fail(f"{meta.id} made {child.id} when it had observed something else than {trace[:length]}")
            if child.kind is Kind.EXCLUSIVE and self.seq(child) is not None:
                seq = self.seq(child)
                key = child.target.object
                assert seq is not None
                delayed = what == "send" and self.op(meta, path).n > 0
                if not delayed:
                    if order.get(key, -1) >= seq:
                        self.fail(f"{meta.id}: {child.id} came to {key} as number {seq}, after number {order[key]}")
                    order[key] = seq

    def child(self, meta: Meta, values: list[Any]) -> str:
        """The id of what an invocation called or sent. A handler of the SDK's is not told at once."""
        return str(values[1] or self.made(meta, values[0]))

    def made(self, meta: Meta, node: int) -> str:
        """The id of what a handler of the SDK's called or sent. Attempts that are undone may have used another."""
        stored = [id for id in self.world.endpoints.made[meta.ref, node] if self.by_id.get(id)]
        if len(stored) != 1:
            self.fail(f"{meta.id} invoked node {node} as {' and '.join(stored) or 'none that is stored'}")
            return ""
        return stored[0]

    def op(self, meta: Meta, path: str) -> Op:
        """The operation at a place of an invocation's program."""
        ops = self.plan.nodes[from_json(self.ends[meta.ref].input)["n"]].ops
        op: Op | None = None
        for step in path[1:].replace("/", "./").split("."):
            if step.startswith("/"):
                assert op is not None
                ops = op.branches[int(step[1:])]
            else:
                op = ops[int(step)]
        assert op is not None
        return op

    def seq(self, meta: Meta) -> int | None:
        """An exclusive invocation's place in its key's history, as it found it itself; ``None`` if it got nowhere."""
        trace = self.outputs[meta.ref]["t"] if meta.ref in self.outputs else []
        return int(trace[0][2]) if trace and trace[0][1] == "seq" else None

    def keys(self) -> None:
        """Each key's history is serial, and leaves the state that a plain model has."""
        histories: dict[ObjectKey, list[Meta]] = defaultdict(list)
        killed = {
            end.meta.target.object
            for end in self.ends.values()
            if end.meta.kind.exclusive and (end.output == "killed" or end.output.startswith("gave up after"))
        }
        for end in self.ends.values():
            if self.seq(end.meta) is None or end.meta.target.object in killed:
                continue  # what a killed one has written is not known
            if end.meta.kind is Kind.WORKFLOW and self.world.forgets(end.meta.id):
                if self.seq(end.meta):
                    self.fail(f"{end.meta.id} begins on what an earlier run of {end.meta.target.object} has left")
            elif end.meta.kind.exclusive:
                histories[end.meta.target.object].append(end.meta)
        heads = {head.key: head for head in self.store.heads_()}
        for key, metas in histories.items():
            metas.sort(key=lambda meta: self.seq(meta) or 0)
            if [self.seq(meta) for meta in metas] != list(range(len(metas))):
                self.fail(f"{key}: {[(self.seq(meta), meta.id) for meta in metas]} is not serial")
                continue
            state: dict[str, str] = {}
            for place, meta in enumerate(metas):
                self.edit(key, place, state)
                self.model(meta, state)
            self.edit(key, len(metas), state)
            cleared = metas[0].kind is Kind.WORKFLOW and not heads[key].state_generation  # it has expired
            if not cleared and self.state(heads[key]) != state:
                self.fail(f"{key} is {self.state(heads[key])}, not {state}")

    def edit(self, key: ObjectKey, place: int, state: dict[str, str]) -> None:
        """What an operator did to a key's state after so many invocations."""
        for name, value in self.world.edits.after(key, place):
            if value is None:
                state.pop(name, None)
            else:
                state[name] = digest(value)

    def state(self, head: Head) -> dict[str, str]:
        values = dict(head.state)
        for entry in self.store.items(head.key, StateEntry):
            if head.has_overflow and entry.generation == head.state_generation:
                values.setdefault(entry.name, self.store.value(entry))
        return {name: digest(from_json(self.world.decoded(value))) for name, value in values.items()}

    def model(self, meta: Meta, state: dict[str, str]) -> None:
        """What an invocation did to the state, and whether it saw what it should."""
        asked: dict[str, str] = {}
        keys: dict[str, list[str]] = {}
        for entry in self.outputs[meta.ref]["t"]:
            match entry:
                case [_, "seq", place]:
                    state["seq"] = digest(place + 1)
                case [path, "asks"]:
                    keys[path] = sorted(state)
                case [path, "asks", name]:
                    asked[path] = state.get(name, "null")
                case [path, "got", name, seen]:
                    if asked[path] != seen:
                        self.fail(f"{meta.id} read {name} = {seen} of {meta.target.object}, it was {asked[path]}")
                case [path, "keys", seen]:
                    if keys[path] != seen:
                        self.fail(f"{meta.id} listed {seen} of {meta.target.object}, not {keys[path]}")
                case [_, "set", name, value]:
                    state[name] = digest(value) if name in ("list", "seq", "total") else value
                case [_, "clear", name]:
                    state.pop(name, None)
                case [_, "clear-all"]:
                    state.clear()

    def edits(self) -> None:
        """An edit that was accepted was made."""
        edits = self.world.edits
        for key, name, value in edits.accepted:
            made = [(at, what) for _, at, what in edits.applied[key]]
            if value is not None and (name, value) not in made:
                self.fail(f"{key} was to have {name} = {value!r}, and {edits.applied[key]} was done")

    def arrivals(self) -> None:
        """What was accepted before something else was asked for came to its key before it, as far as clocks agree."""
        by_key: dict[ObjectKey, list[tuple[float, float, int, str]]] = defaultdict(list)
        for asked in self.world.clients.asked:
            node = self.plan.nodes[asked.root.node]
            if asked.id is None or not asked.accepted or asked.answered is None or node.kind is not Kind.EXCLUSIVE:
                continue
            if not asked.arrived:
                continue
            if len(self.by_id[asked.id]) != 1:
                continue
            meta = self.by_id[asked.id][0].meta
            place = self.seq(meta)
            if place is not None:
                by_key[meta.target.object].append((asked.began, asked.answered, place, meta.id))
        for key, entries in by_key.items():
            for one in entries:
                for two in entries:
                    if one[1] + self.world.disagreement + 0.001 < two[0] and one[2] > two[2]:
                        self.fail(f"{key}: {one} was accepted before {two} was asked for, and came after it")

    def told(self) -> None:
        """Who saw that it is cancelled has told its calls when it completes, whatever went wrong."""
        notified = {note.to for note in self.store.records() if isinstance(note, Notification) and note.id == "x"}
        for end in self.ends.values():
            if end.output == "killed" or end.output.startswith("gave up after"):
                continue
            under_way: set[int] = set()
            for entry in self.store.journal(end.meta.ref):
                if isinstance(entry, CommandIssued) and entry.kind == "call":
                    under_way.add(entry.n)
                elif isinstance(entry, ResultDelivered | NotificationDelivered) and entry.n == CANCEL:
                    break
                elif isinstance(entry, ResultDelivered | NotificationDelivered):
                    under_way.discard(entry.n)
            else:
                continue  # it did not see any
            for n in under_way:
                for call in self.by_id[child_id(end.meta.id, end.meta.generation, n)]:
                    later = (call.meta.completed or 0) > (end.meta.completed or 0) + SKEW
                    gone = call.output in ("cancelled", "killed") or self.world.forgets(call.meta.id)
                    if later and not gone and call.meta.ref not in notified and not self.cancelled(call.meta.ref):
                        self.fail(f"{call.meta.id} was not told that {end.meta.id}, which called it, was cancelled")

    def cancelled(self, ref: Ref) -> bool:
        """Whether an attempt was told that it is cancelled, by its journal."""
        return any(
            isinstance(entry, ResultDelivered | NotificationDelivered) and entry.n == CANCEL
            for entry in self.store.journal(ref)
        )

    def trees(self) -> None:
        """Where nothing goes wrong, whoever is cancelled tells the calls that it made before in time."""
        calls: dict[Ref, list[Ended]] = defaultdict(list)
        for end in self.ends.values():
            if end.meta.parent is not None:
                calls[end.meta.parent.ref].append(end)
        notes = [note for note in self.store.records() if isinstance(note, Notification) and note.id == "x"]
        for note in notes:
            for end in calls[note.to]:
                meta = end.meta
                late = (meta.completed or 0) > note.created + SOON and meta.created < note.created - SKEW
                there = self.store._record(meta.id) is not None  # else the end of its journal may have gone with it
                journal = self.store.journal(meta.ref)
                told = self.cancelled(meta.ref) or end.output in ("cancelled", "killed")
                if late and there and journal and not told:
                    self.fail(f"{meta.id} was not told that {note.to.id}, which called it, was cancelled")

    def open_promise(self, record: Record) -> bool:
        """Whether somebody waits for a promise that nobody has kept: it is told when that is given up."""
        promise = self.store._record(record.id) if isinstance(record, Waiter) else None
        return promise is not None and promise.id.startswith("prm_") and promise.live

    def encoded(self) -> None:
        """No value of a handler is stored as it is."""
        for record in self.store.records():
            if isinstance(record, Notification) and record.outcome is not None:
                self.world.decoded(record.outcome.value or b"")
        for ref in self.ends:
            steps: set[int] = set()
            for entry in self.store.journal(ref):
                if isinstance(entry, CommandIssued) and entry.kind in ("run", "call", "awakeable", "signal", "promise"):
                    steps.add(entry.n)
                elif isinstance(entry, ResultDelivered) and entry.n in steps:
                    self.world.decoded(entry.outcome.value or b"")

    def exchanges(self) -> None:
        """The result of a step of the SDK's is recorded once."""
        from tests.simulation import sdk  # which needs Restate's SDK

        for ref in self.ends:
            entries = self.store.journal(ref)
            asked = {entry.n for entry in entries if isinstance(entry, CommandIssued) and entry.kind == "exchange"}
            answers = [
                self.world.decoded(entry.outcome.value or b"")
                for entry in entries
                if isinstance(entry, ResultDelivered) and entry.n in asked and entry.outcome.failure is None
            ]
            if twice := sdk.recorded_twice(answers):
                self.fail(f"{ref.id} has recorded the results {twice} of its steps twice")

    def leftovers(self) -> None:
        """Nothing is held, nobody waits."""
        for head in self.store.heads_():
            if head.owner is not None:
                self.fail(f"{head.key} is still held: {head}")
        for record in self.store.records():
            over = isinstance(record, Waiter | InboxEntry) and not self.open_promise(record)
            if self.world.swept and isinstance(record, Part | JournalSegment | Notification | Meta):
                partition = record.to.id if isinstance(record, Notification) else record.id
                over = partition.startswith("inv_")
            if over:
                self.fail(f"{record} is left over")
        blobs = {meta.ref for meta in self.store.metas() if meta.id.startswith("blb_")}
        entries = [record for record in self.store.records() if isinstance(record, StateEntry)]
        generations = {head.key: head.state_generation for head in self.store.heads_()}
        for entry in entries:
            if generations.get(entry.key) != entry.generation:
                self.fail(f"{entry.key} {entry.name} of {entry.generation} is left over")
        for blob in blobs - {entry.blob for entry in entries}:
            self.fail(f"{blob} is left over: no state entry points at it")
