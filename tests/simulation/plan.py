"""What is to happen, as data: what each invocation does, who calls whom, and what clients ask for.

Every node is one invocation's program. All but idempotent ones are referred to from one place, so that how often each
is to run is known beforehand: once if its place is reached, else never.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from adapter.engine.types import Kind, Target

AWAITED = ("call", "join")
"""How others are invoked whose failure ends the program."""


@dataclass(frozen=True, slots=True)
class Op:
    """One thing that a program does.

    Attributes:
        kind: What: see `tests.simulation.program`.
        name: Of a state entry or a step.
        n: An amount, a size or a time in milliseconds.
        times: How often it fails before it succeeds.
        node: Which other program it invokes, or has give it a result.
        how: How it does that.
        branches: Programs that run concurrently.
    """

    kind: str
    name: str = ""
    n: int = 0
    times: int = 0
    node: int = -1
    how: str = ""
    branches: tuple[tuple[Op, ...], ...] = ()
    size: int = 0
    """By how many bytes its value is longer than it had to be."""

    @property
    def called(self) -> bool:
        """Whether it invokes another program by a call, and not by a message."""
        return self.kind == "invoke" and self.how not in ("send", "join", "glance", "withdrawn")


@dataclass(frozen=True, slots=True)
class Node:
    """One invocation's program."""

    id: int
    target: Target
    kind: Kind
    ops: tuple[Op, ...]
    idempotency: str | None = None
    pad: int = 0
    """By how many bytes its input and its output are longer than they had to be."""


@dataclass(frozen=True, slots=True)
class Root:
    """What a client asks for, perhaps several times."""

    node: int
    how: str
    """``call`` or ``send``."""
    at: tuple[float, ...]
    """When, in seconds: once for each client that does."""
    delay: int = 0
    patience: float = 30.0


@dataclass(frozen=True, slots=True)
class Act:
    """What an operator does to the invocations of a program.

    Attributes:
        what: ``cancel``, ``kill``, ``pause``, ``move`` (to the current deployment), ``purge``, ``restart``, or ``edit``
            (the state of its key). What is paused, for whatever reason, is resumed sooner or later.
        at: When, in seconds.
    """

    what: str
    node: int
    at: float
    first: int = 0
    """The first command that a restart carries out."""


@dataclass(frozen=True, slots=True)
class Limit:
    """How often attempts at a service's handlers may fail in a row, and what follows."""

    attempts: int
    exhausted: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is to happen, but for the faults."""

    functions: dict[str, int]
    """Where each service lives."""
    nodes: dict[int, Node]
    roots: tuple[Root, ...]
    acts: tuple[Act, ...] = ()
    deploys: tuple[tuple[int, float], ...] = ()
    """Which functions get a new deployment, and when, in seconds."""
    limits: dict[str, Limit] = field(default_factory=dict)
    """The services whose handlers are not tried for ever."""
    tangled: bool = False
    """Whether calls may wait for each other's keys, so that anything may fail with a deadlock."""
    alone: bool = False
    """Whether it is one request, undisturbed, of which is known what it may cost."""
    hosted: tuple[str, ...] = ()
    """The services whose handlers are written with Restate's SDK."""
    _fails: dict[int, bool] = field(default_factory=dict, compare=False, repr=False)

    def fails(self, id: int) -> bool:
        """Whether a program ends in a terminal failure."""
        if id not in self._fails:
            self._fails[id] = any(self.stops(op) for op in self.nodes[id].ops)
        return self._fails[id]

    def stops(self, op: Op) -> bool:
        """Whether an operation ends the program that it is part of."""
        if op.kind in ("raise", "excess"):
            return True
        if op.kind == "step":
            return op.how in ("terminal", "exhaust")
        if op.kind == "invoke":
            return op.how in AWAITED and self.fails(op.node)
        if op.kind in ("stubborn", "map") or op.kind in CUT_SHORT:
            return False
        return any(self.stops(inner) for branch in op.branches for inner in branch)

    def reached(self, id: int) -> list[Op]:
        """The operations of a program that are reached, those in branches included."""
        return self._reached(self.nodes[id].ops)

    def _reached(self, ops: tuple[Op, ...]) -> list[Op]:
        found: list[Op] = []
        for op in ops:
            found.append(op)
            for branch in op.branches:
                found += self._reached(branch)
            if self.stops(op):
                break
        return found

    def outlasts_leases(self) -> bool:
        """Whether steps may wait for so long in one process that other processes take it for gone."""
        return any(op.kind == "asks" and op.n >= 20_000 for node in self.nodes.values() for op in _flat(node.ops))

    def may_copy(self, id: int) -> bool:
        """Whether a program may be restarted from one of its commands.

        State is as its key's history has left it, not as a copied result says, and signals go to the first invocation.
        A copied answer of an SDK's endpoint says which invocation it was for. A command that names its own invocation
        is another one in the copy.
        """
        own = any(op.kind in ("signal", "stranger", "bloated") for op in _flat(self.nodes[id].ops))
        alike = self.nodes[id].kind in (Kind.SERVICE, Kind.SHARED) and not own
        return alike and self.nodes[id].target.service not in self.hosted

    def shaken(self) -> set[int]:
        """The programs that may fail, or not run, because something is cancelled, killed or given up."""
        return self._shaken(sent=True)

    def noticing(self) -> set[int]:
        """Those of them that may fail: what was sent before its sender was cancelled goes on as if nothing had been."""
        return self._shaken(sent=False)

    def _shaken(self, sent: bool) -> set[int]:
        if self.tangled:
            return set(self.nodes)
        parents: dict[int, set[int]] = {}
        todo = [act.node for act in self.acts if act.what in ("cancel", "kill")]
        todo += [id for id in self.nodes if self.mortal(id)]
        for id in self.nodes:
            for op in self.reached(id):
                if op.how in ("cancelled", "withdrawn"):
                    todo.append(op.node)
                if op.kind in CUT_SHORT or op.how == "group":
                    todo += [inner.node for branch in op.branches for inner in _flat(branch) if inner.node >= 0]
                if op.how in AWAITED:
                    parents.setdefault(op.node, set()).add(id)
        seen: set[int] = set()
        while todo:
            id = todo.pop()
            if id not in seen:
                seen.add(id)
                todo += parents.get(id, ())
                todo += [op.node for op in self.reached(id) if op.node >= 0 and (sent or op.called)]
        return seen

    def mortal(self, id: int) -> bool:
        """Whether a program is given up after some failed attempts."""
        limit = self.limits.get(self.nodes[id].target.service)
        return limit is not None and limit.exhausted == "kill"

    def calls(self) -> dict[int, tuple[int, Op, Op]]:
        """For each program that is invoked: by which, with which operation, and of which that is part."""
        return {
            inner.node: (id, inner, outer)
            for id, node in self.nodes.items()
            for outer in node.ops
            for inner in _flat((outer,))
            if inner.node >= 0
        }

    def ring(self, names: list[str]) -> bool:
        """Whether programs that hold these keys can wait for each other, each for the next."""
        return all(any(self._leads(id, then) for id in self._holding(now)) for now, then in pairwise(names))

    def _holding(self, key: str) -> list[int]:
        return [id for id, node in self.nodes.items() if node.kind.exclusive and str(node.target.object) == key]

    def clears(self, key: str) -> bool:
        """Whether a program that holds a key clears its state. A commit may end before the next write."""
        return any(op.kind == "clear-all" for id in self._holding(key) for op in _flat(self.nodes[id].ops))

    def _leads(self, id: int, key: str) -> bool:
        """Whether a program waits for another that wants a key, by calls of which none in between wants one."""
        calls = [op for op in _flat(self.nodes[id].ops) if op.kind == "invoke" and op.how not in ("send", "forget")]
        return any(
            op.node in self._holding(key) if self.nodes[op.node].kind.exclusive else self._leads(op.node, key)
            for op in calls
        )

    def below(self, roots: list[int], again: bool = False) -> set[int]:
        """The programs that run when these do; or, if these did before, that run again."""
        seen: set[int] = set()
        todo = list(roots)
        while todo:
            id = todo.pop()
            if id not in seen:
                seen.add(id)
                nodes = [op.node for op in self.reached(id) if op.node >= 0]
                todo += [node for node in nodes if not again or self.nodes[node].idempotency is None]
        return seen


def _flat(ops: tuple[Op, ...]) -> list[Op]:
    found: list[Op] = []
    for op in ops:
        found.append(op)
        for branch in op.branches:
            found += _flat(branch)
    return found


CUT_SHORT = {"stray", "deadline"}
"""What may end before all that is in it was done."""
