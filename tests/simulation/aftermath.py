"""What a simulation leaves behind: the checks look it up here."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

from adapter.engine.journal import CANCEL, NotificationDelivered, ResultDelivered
from adapter.engine.records import Meta, Ref
from tests.simulation.plan import Op
from tests.simulation.values import digest
from tests.simulation.watch import Ended, WatchedStore

if TYPE_CHECKING:
    from tests.simulation.world import World


class Aftermath:
    """What a simulation leaves behind.

    Attributes:
        ends: The invocations of programs, as they completed.
        by_node: Those that ran each program.
        by_id: Those that had each id.
        shaken: The programs that may fail, or not run (`Plan.shaken`).
        noticing: Those of them that may fail.
        outputs: What invocations say that they observed: of those that ended as their programs say (`outcomes.ended`).
    """

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
        """Something is not as it should be."""
        self.world.violation(what)

    def trace(self, end: Ended) -> list[Any]:
        """What an invocation observed, if it says so."""
        return self.outputs[end.meta.ref]["t"] if end.meta.ref in self.outputs else []

    @staticmethod
    def node(end: Ended) -> int:
        """The program that an invocation ran."""
        return int(from_json(end.input)["n"])

    def child(self, meta: Meta, values: list[Any]) -> str:
        """The id of what an invocation called or sent. A handler of the SDK's is not told at once."""
        return str(values[1] or self.made(meta, values[0]))

    def made(self, meta: Meta, node: int) -> str:
        """The id of what a handler of the SDK's called or sent. Attempts that are undone may have used another."""
        made = self.world.endpoints.made[meta.ref, node]
        stored = [id for id in made if any(self.node(end) == node for end in self.by_id.get(id, ()))]
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

    def results_of(self, node: int) -> dict[str, bool]:
        """The digests of the results of a node's invocations, with whether each is a failure."""
        if node not in self._results:
            told = self._results[node] = {}
            for end in self.by_node[node]:
                failed = end.meta.outcome is not None and end.meta.outcome.failure is not None
                told.setdefault(digest(end.output if failed else from_json(end.output)), failed)
        return self._results[node]

    def cancelled(self, ref: Ref) -> bool:
        """Whether an attempt was told that it is cancelled, by its journal."""
        return any(
            isinstance(entry, ResultDelivered | NotificationDelivered) and entry.n == CANCEL
            for entry in self.store.journal(ref)
        )
