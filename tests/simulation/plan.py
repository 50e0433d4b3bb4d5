"""Random programs, as data: what each invocation does, who calls whom, and what clients ask for.

Every node is one invocation's program. All but idempotent ones are referred to from one place, so that how often each
is to run is known beforehand: once if its place is reached, else never.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from random import Random

from adapter.engine.types import Kind, Target
from tests.simulation import edges, edits

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
        return self.kind == "invoke" and self.how not in ("send", "join", "glance")


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
        if op.kind == "raise":
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
                if op.how == "cancelled":
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

DEEPEST = 10
"""How deep programs that try again are part of each other at most."""

ALONE = {"get", "set", "add", "append", "clear", "now", "draw", "raise", "step", "sleep", "call", "send", "gather"}
"""What a program is made of that nobody disturbs, and whose costs are known."""

SDK = {"now", "gather", "race", "stray", "deadline", "glance"}
"""What a handler that is written with Restate's SDK does not do."""

FOCUSES = ("operators", "results", "steps", "rings", "large", "parts", "trees", "time", "calls", "costs")
"""What there can be much of in a plan: see `generate`."""


class _Generator:
    def __init__(
        self, random: Random, expiring: bool, extended: bool, focus: str = "", reach: Sequence[str] = ()
    ) -> None:
        self.reach = reach
        self.random = random
        self.expiring = expiring
        self.extended = extended
        self.alone = focus == "costs"
        self.nodes: dict[int, Node] = {}
        self.pool: list[tuple[int, int]] = []
        """Idempotent nodes, each with the lowest key that it may want."""
        self.functions_count = 1 if self.alone else random.choice((1, 1, 2, 2, 2, 3))
        self.far = focus == "calls"
        """Whether most programs call services in other functions, one at a time."""
        if self.far:
            self.functions_count = 3
        self.functions: dict[str, int] = {}
        for number in range(self.functions_count):
            for letter in "SOW":
                self.functions[f"{letter}{number}"] = number
        objects = [(f"O{number}", f"k{k}") for number in range(self.functions_count) for k in range(3)]
        random.shuffle(objects)
        self.keys = objects[: random.choice((1, 2, 3, 4, 6))]
        self.left = random.choice((10, 20, 40, 60, 90)) if "wide" not in reach else 120
        self.length = random.choice((2, 3, 4, 6))
        self.weights = {
            "get": 2.0, "set": 2.0, "add": 2.0, "append": 2.0, "clear": 0.5, "clear-all": 0.2, "keys": 0.6,
            "ahead": random.choice((0, 0.5)),
            "step": random.choice((0, 1, 3)), "sleep": random.choice((0, 1, 2)), "now": 0.3, "draw": 0.3,
            "call": random.choice((1, 3, 6)), "send": random.choice((0, 1, 4)), "join": random.choice((0, 0.5)),
            "forget": random.choice((0, 0.3)), "idempotent": random.choice((0, 0.5, 2)),
            "gather": random.choice((0, 1, 2)),
            "race": random.choice((0, 0, 1)), "raise": random.choice((0, 0.2)), "flaky": random.choice((0, 0.3, 1)),
            "burst": random.choice((0, 0, 0.5)), "fan": random.choice((0, 0.3)),
            "stubborn": random.choice((0, 0.3)), "stray": random.choice((0, 0.3)),
            "deadline": random.choice((0, 0.3)),
        }  # fmt: skip
        if extended:
            for name, most in (
                ("awakeable", 1.0), ("signal", 1.0), ("promise", 4.0), ("cancelled", 1.0), ("glance", 0.5),
                ("select", 1.0), ("completed", 0.5), ("timeout", 1.0), ("all", 0.5), ("outwait", 10.0),
            ):  # fmt: skip
                self.weights[name] = most * random.choice((0, 0.3, 1.0))
        self.outwaits = expiring and extended
        """Whether handlers wait for promises that nobody keeps: what they wait for ends when a workflow expires."""
        self.acts = random.choice((0.0, 0.2, 0.5, 0.8)) if extended else 0.0
        """How often an operator does something to a client's request."""
        self.limits: dict[str, Limit] = {}
        for service in sorted(self.functions) if extended and random.random() < 0.5 else ():
            if random.random() < 0.4:
                self.limits[service] = Limit(random.choice((1, 2, 4)), random.choice(("kill", "pause")))
        self.tangled = (extended and random.random() < 0.15) or focus == "rings"
        if focus == "operators":
            self.acts = 0.8
        if focus == "trees":
            self.acts, self.limits = 0.8, {}
            self.weights |= {"call": 6.0, "sleep": 2.0}
        if focus == "rings":
            self.weights |= {"call": 6.0, "select": 8.0, "join": 4.0, "send": 4.0}
        if focus == "time":
            self.acts = 0.0
            self.weights |= {"timeout": 4.0, "deadline": 4.0, "sleep": 2.0}
        if focus == "results":
            self.weights |= {"awakeable": 3.0, "signal": 6.0, "promise": 3.0}
        if focus == "steps":
            self.weights |= {"step": 6.0, "gather": 4.0, "race": 4.0}
        if self.far:
            self.acts = random.choice((0.0, 0.5, 0.8))
            self.weights = {name: 0.1 * weight for name, weight in self.weights.items()} | {"call": 3.0, "sleep": 0.2}
        if "further" in reach:
            self.acts = max(self.acts, 0.5)
        if self.alone:
            self.weights = {name: weight if name in ALONE else 0.0 for name, weight in self.weights.items()}
        self.trees = focus == "trees"
        self.long = random.random() < 0.3 or self.trees
        """Whether some waits are too long to be waited out."""
        self.large = (random.random() < 0.2 and not self.alone) or focus == "parts"
        """Whether some values are too large for the records that they belong to."""
        self.often = 0.6 if focus == "parts" else 0.3
        self.huge = (random.random() < 0.02 and not self.alone) or focus == "large"
        """Whether some are too large for an item."""
        self.edges = [name for name in edges.EDGES if name in reach and not (self.huge and name == "bounds")]
        if self.large:  # then what is asked for has to be fetched
            self.weights["ahead"] *= 4
        if focus == "parts":
            self.weights["ahead"] = 12.0
        if self.huge:
            self.weights["set"] = 10.0
        self.workflow: Target | None = None
        """Whose program is being made, if it is one."""
        self.stubborn = 0
        """How many programs that try again are around what is being made."""
        self.hosted: tuple[str, ...] = ()
        self.by_sdk = False
        """Whether the program that is being made is a handler of Restate's SDK."""
        if "sdk" in reach:
            self.hosted = hosted(random, sorted(self.functions))
            self.weights["tree"] = random.choice((0, 0.5, 2))

    def plan(self) -> Plan:
        random = self.random
        for _ in range(0 if self.alone else random.choice((0, 1, 2, 4))):
            floor = random.randint(0, len(self.keys))
            self.pool.append((self.node(floor, 2, idempotency=f"i{len(self.pool)}"), floor))
        self.left = max(self.left, 3)
        roots: list[Root] = []
        span = 900.0 if self.expiring else random.choice((0.0, 0.05, 1.0, 10.0))
        while self.left > 0 and len(roots) < (1 if self.alone else 30):
            idempotent = random.random() < 0.4
            if self.pool and random.random() < 0.15:
                node = random.choice(self.pool)[0]
                if any(root.node == node for root in roots):
                    continue
                idempotent = True
            else:
                node = self.node(0, 0, idempotency=f"r{len(roots)}" if idempotent else None)
            several = (idempotent or self.nodes[node].kind is Kind.WORKFLOW) and not self.alone
            repeats = random.choice((1, 1, 2, 3)) if several else 1
            roots.append(
                Root(
                    node,
                    random.choice(("call", "call", "send")) if not self.far else "send",
                    tuple(random.uniform(0, span) for _ in range(repeats)),
                    delay=random.choice((0, 0, 0, self.wait())),
                    patience=random.choice((0.5, 2.0, 8.0)),
                )
            )
            self.left -= 1
        plan = Plan(
            self.functions,
            self.nodes,
            tuple(roots),
            limits=self.limits,
            tangled=self.tangled,
            alone=self.alone,
            hosted=self.hosted,
        )
        if self.alone:
            return plan
        acts = tuple(self.act(plan, root) for root in roots if random.random() < self.acts)
        deploys = tuple(
            (function, random.uniform(0, span + 5))
            for function in range(self.functions_count if self.extended and random.random() < 0.5 else 0)
            for _ in range(random.choice((1, 1, 2)))
        )
        if "edits" in self.reach:
            acts += edits.draw(random, plan, span + 5)
        for act in acts:  # nothing can be moved before there is somewhere to go
            if act.what == "move":
                function = self.functions[self.nodes[act.node].target.service]
                deploys = (*deploys, (function, act.at - random.choice((0.0, 0.1, 1.0))))
        return replace(plan, acts=acts, deploys=deploys)

    def act(self, plan: Plan, root: Root) -> Act:
        """What an operator does to a client's request, or to something that it leads to."""
        random = self.random
        below = sorted(plan.below([root.node]))
        names = ["cancel", "kill", "pause", "pause", "move", "move"]
        if not self.expiring and all(plan.nodes[id].kind is not Kind.WORKFLOW for id in below):
            names += ["restart", "restart"]
        once = [id for id in below if plan.nodes[id].kind is Kind.WORKFLOW and id != root.node]
        if not self.expiring and root.node not in [id for id, _ in self.pool] and not once:
            names += ["purge"]
        copies = "further" in self.reach and "restart" in names and plan.may_copy(root.node)
        what = random.choice(names[:2] if self.trees else names if not copies else [*names, "restart", "restart"])
        node = root.node
        if what in ("pause", "move"):
            node = random.choice(below)
        elif what in ("cancel", "kill") and "anywhere" in self.reach:
            # A program that gives a result has to run: the program that waits for the result would never end.
            node = random.choice([id for id in below if all(op.kind != "tell" for op in plan.nodes[id].ops)])
        first = random.choice((0, 1, 1, 2, 3, 5)) if copies and what == "restart" else 0
        return Act(what, node, root.at[0] + random.choice((0.0, 0.1, 1.0, 5.0, 30.0)), first)

    def lowest(self) -> int:
        """The lowest key that a message may want."""
        return len(self.keys) if self.alone else 0

    def wait(self) -> int:
        waits = (1, 20, 200, 1500, 3000, 20_000, 90_000)
        return self.random.choice(waits if self.long else waits[:4])

    def size(self) -> int:
        if self.huge and self.random.random() < 0.15:
            return int(self.random.choice((300_000, 400_000, 800_000)))
        if self.large and self.random.random() < self.often:
            return int(self.random.choice((900, 1200, 3000, 5000, 20_000)))
        return 0

    def node(self, floor: int, depth: int, idempotency: str | None = None) -> int:
        random = self.random
        floor = 0 if self.tangled else floor
        self.left -= 1
        id = len(self.nodes)
        self.nodes[id] = Node(id, Target("", ""), Kind.SERVICE, ())  # takes the number
        number = random.randrange(self.functions_count)
        choice = random.random()
        if self.far and random.random() < 0.9:
            choice = 1.0
        if choice < 0.5 and floor < len(self.keys):
            rank = random.randrange(floor, len(self.keys))
            service, key = self.keys[rank]
            target, kind, inner = Target(service, "do", key), Kind.EXCLUSIVE, rank + 1
        elif choice < 0.6:
            service, key = random.choice(self.keys)
            target, kind, inner = Target(service, "look", key), Kind.SHARED, floor
        elif choice < 0.65 and idempotency is None and not (self.expiring and depth):
            target, kind, inner = Target(f"W{number}", "run", f"w{id}"), Kind.WORKFLOW, floor
        else:
            target, kind, inner = Target(f"S{number}", "do"), Kind.SERVICE, floor
        outer = self.workflow, self.by_sdk
        self.workflow, self.by_sdk = target if kind is Kind.WORKFLOW else None, target.service in self.hosted
        ops = self.body(inner, depth, kind, random.randint(0, self.length))
        self.workflow, self.by_sdk = outer
        self.nodes[id] = Node(id, target, kind, ops, idempotency, self.size())
        return id

    def body(self, floor: int, depth: int, kind: Kind, length: int, inside: bool = False) -> tuple[Op, ...]:
        return tuple(op for _ in range(length) for op in self.ops(floor, depth, kind, inside))

    def ops(self, floor: int, depth: int, kind: Kind, inside: bool) -> list[Op]:
        random = self.random
        if "further" in self.reach and not (inside or self.alone or self.by_sdk) and random.random() < 0.2:
            return [self.further(floor, depth)]
        if self.edges and not (inside or self.alone or self.by_sdk) and random.random() < 0.15:
            return [self.edge(kind)]
        reads = {"get", "keys"} if kind is not Kind.SERVICE else set()
        writes = {"set", "add", "append", "clear", "clear-all", "ahead"} if kind.exclusive else set()
        if inside:
            writes -= {"clear-all", "ahead"} if not self.alone else writes
        others = {"step", "sleep", "now", "draw", "raise"}
        if self.extended:
            others |= {"awakeable", "signal"}
            others |= {"promise"} if kind is Kind.WORKFLOW else set()
            others |= {"outwait"} if kind is Kind.WORKFLOW and self.outwaits and not self.by_sdk else set()
            others |= {"cancelled", "glance"} if depth < 4 and self.left > 0 else set()
            others |= {"select", "completed", "timeout", "all"} if not inside else set()
        if depth < 4 and self.left > 0 and not (self.alone and inside):
            others |= {"call", "send", "join", "forget", "idempotent", "burst", "fan"}
        if not inside:
            others |= {"gather", "race", "flaky", "stubborn", "stray", "deadline"}
        elif "nested" in self.reach and not self.alone and depth < 4:
            others |= {"gather", "race", "stubborn", "stray", "deadline"}
            others |= {"select", "completed", "timeout", "all"} if self.extended else set()
            depth += 1
        if self.by_sdk:
            others = others - SDK | ({"tree"} if not inside else set())
        names = sorted(reads | writes | others)
        weights = [self.weights[name] for name in names]
        if not any(weights):
            return []
        what = random.choices(names, weights)[0]
        entry = random.choice("abc")
        match what:
            case "get" | "clear":
                return [Op(what, entry)]
            case "set":
                huge = self.huge and random.random() < 0.5
                return [Op(what, entry, random.choice((300_000, 400_000)) if huge else self.size())]
            case "add":
                return [Op(what, "total", random.randint(1, 9))]
            case "append":
                return [Op(what, "list")]
            case "ahead":
                how = random.choice(("", "step"))
                return [Op(what, entry, random.choice((0, 5, 100)), random.choice((0, 1)), how=how, size=self.size())]
            case "step":
                hows = ("", "retry", "terminal", "exhaust", "loose", "defer", "once")
                how = random.choices(hows, (8, 2, 1, 2 if "exhausted-steps" in self.reach else 0, 1, 2, 1))[0]
                if self.by_sdk and how in ("loose", "defer", "once"):
                    how = ""
                times = random.choice((0, 0, 0, 1, 2)) if not self.alone and how != "once" else 0
                return [Op(what, entry, random.choice((0, 0, 5, 100, 1000)), times, how=how, size=self.size())]
            case "sleep":
                return [Op(what, n=self.wait())]
            case "flaky":
                return [Op(what, times=random.randint(1, 3))]
            case "awakeable" | "signal" | "promise":
                return [self.told(what)]
            case "outwait":
                return [self.outwait()]
            case "select" | "completed" | "all":
                how = random.choice(("", "await", "cancel")) if what == "select" else ""
                operations = [self.operation(floor, depth, how) for _ in range(random.randint(2, 4))]
                return [Op(what, how=how, branches=tuple((operation,) for operation in operations))]
            case "tree":
                how = random.choice(("all of any", "any of all", "first succeeded", "all succeeded"))
                fails = Op("step", "a", random.choice((0, 5, 1000)), how="terminal")
                share = 0.4 if how.endswith("succeeded") else 0.0
                operations = [
                    fails if random.random() < share else self.operation(floor, depth)
                    for _ in range(random.randint(3, 5))
                ]
                return [Op(what, how=how, branches=tuple((operation,) for operation in operations))]
            case "timeout":
                patience = random.choice((1, 20, 500, 1500, 5000))
                inner = self.operation(floor, depth)
                return [Op(what, n=patience, how=random.choice(("", "await")), branches=((inner,),))]
            case "cancelled":
                return [Op("invoke", node=self.node(floor, depth + 1), how=what, n=random.choice((0, 0, 10, 1000)))]
            case "call" | "join" | "forget" | "glance":
                how = random.choice(("call", "caught")) if what == "call" else what
                return [Op("invoke", node=self.node(floor, depth + 1), how=how)]
            case "send":
                delay = random.choice((0, 0, 0, self.wait()))
                return [Op("invoke", node=self.node(self.lowest(), depth + 1), how="send", n=delay)]
            case "burst":
                # Several messages, which have to keep their order.
                return [
                    Op("invoke", node=self.node(self.lowest(), 4), how="send")
                    for _ in range(min(self.left, random.choice((2, 3, 5, 20))))
                ]
            case "fan":
                counts = (3, 10, 22, 30) if "wide" in self.reach else (2, 3, 10)
                count = min(self.left, random.choice(counts))
                return [
                    Op(
                        "fan",
                        branches=tuple((Op("invoke", node=self.node(floor, 4), how="caught"),) for _ in range(count)),
                    )
                ]
            case "idempotent":
                pool = [id for id, wants in self.pool if wants >= floor]
                if not pool:
                    return []
                return [Op("invoke", node=random.choice(pool), how=random.choice(("call", "caught", "send")))]
            case "gather" | "race":
                branches = [
                    self.body(floor, depth, kind, random.randint(1, 2), inside=True)
                    for _ in range(random.randint(1, 3))
                ]
                kinds = ("", "group", "locked") if "locks" in self.reach else ("", "group")
                how = random.choice(kinds) if what == "gather" and not self.alone else ""
                return [Op(what, how=how, branches=tuple(branches))]
            case "deadline":
                branch = self.body(floor, depth, kind, random.randint(1, 3), inside=True)
                return [Op(what, n=random.choice((1, 20, 500, 5000)), branches=(branch,))]
            case "stubborn":
                if self.stubborn == DEEPEST:
                    return []
                self.stubborn += 1
                branch = self.body(floor, depth, kind, random.randint(1, 3), inside=inside)
                self.stubborn -= 1
                return [Op(what, branches=(branch,))]
            case "stray":
                branch = self.body(floor, depth, kind, random.randint(1, 3), inside=True)
                return [
                    Op(what, n=random.choice((0, 1, 20, 500)), how=random.choice(("", "cancel")), branches=(branch,))
                ]
            case _:
                return [Op(what)]

    def further(self, floor: int, depth: int) -> Op:
        """Something of `tests.simulation.further`."""
        random = self.random
        match random.choice(("later", "finally", "poll", "map", "asks", "beats", "defers")):
            case "later":
                return Op("later", n=random.choice((10, 1000, 3000, 20_000)), times=random.randint(1, 2))
            case "finally":
                body = tuple(self.operation(floor, depth) for _ in range(random.randint(1, 3)))
                return Op("finally", branches=(body, (Op("step", "undo"),)))
            case "asks":
                how = random.choice(("", "retry"))
                return Op("asks", n=random.choice((10, 1000, 3000, 20_000)), times=random.randint(1, 2), how=how)
            case "beats":
                how = random.choice(("", "silent"))
                return Op("beats", n=random.choice((20, 1500, 20_000)), times=random.randint(0, 3), how=how)
            case "defers":
                steps = [Op("step", "a", random.choice((0, 0, 5)), how="defer") for _ in range(random.randint(2, 5))]
                return Op("defers", how=random.choice(("", "gather")), branches=tuple((step,) for step in steps))
            case "poll":
                return Op("poll", n=random.choice((10, 1500, 5000)), times=random.randint(1, 4))
            case _:
                failing = Op("step", "a", how="terminal")
                pieces = [failing if random.random() < 0.2 else self.operation(floor, depth) for _ in range(5)]
                return Op("map", n=random.randint(1, 5), branches=tuple((piece,) for piece in pieces))

    def operation(self, floor: int, depth: int, how: str = "") -> Op:
        """Something to wait for together with others."""
        random = self.random
        what = random.choice(("sleep", "step", "awakeable", "signal", "call", "call", "call"))
        match what:
            case "call" if depth < 4 and self.left > 0:
                return Op("invoke", node=self.node(floor, depth + 1), how="cancelled" if how == "cancel" else "caught")
            case "call" | "sleep":
                return Op("sleep", n=self.wait())
            case "step":
                retry = random.choice(("", "retry"))
                times = random.choice((0, 0, 1))
                return Op(what, "a", random.choice((0, 5, 100, 1000)), times, how=retry, size=self.size())
            case _:
                return self.told(what)

    def told(self, what: str) -> Op:
        """A result that somebody outside gives, or another handler."""
        random = self.random
        times = random.choice((1, 1, 2))
        if self.left > 0 and random.random() < 0.4:
            node = self.teller(what, times)
            if node is not None:
                return Op(what, node=node)
        how = "reject" if "rejected" in self.reach and random.random() < 0.3 else ""
        return Op(what, "", random.choice((0, 10, 500, 5000)), times=times, how=how, size=self.size() if not how else 0)

    def edge(self, kind: Kind) -> Op:
        """Something of `tests.simulation.edges`."""
        random = self.random
        what, how = edges.draw(random, self.edges)
        if what == "bloated" and how == "set" and not kind.exclusive:
            how = "step"
        return Op(what, "a", random.choice((0, 5, 100)), random.choice((1, 1, 2)) if what == "step" else 0, how=how)

    def outwait(self) -> Op:
        """A message to a workflow's shared handler, which waits for a promise that nobody keeps."""
        assert self.workflow is not None
        self.left -= 1
        id = len(self.nodes)
        before = (Op("sleep", n=self.wait()),) if self.random.random() < 0.4 else ()
        target = replace(self.workflow, handler="look")
        self.nodes[id] = Node(id, target, Kind.SHARED, (*before, Op("outwait")))
        return Op("invoke", node=id, how="send", n=self.random.choice((0, 0, self.wait())))

    def teller(self, what: str, times: int) -> int | None:
        """A program that gives a result to whoever invokes it; it lives where nothing is given up."""
        random = self.random
        services = [name for name in sorted(self.functions) if name[0] == "S"]
        kind, targets = Kind.SERVICE, [Target(service, "do") for service in services]
        if what == "promise":
            assert self.workflow is not None
            kind, targets = Kind.SHARED, [replace(self.workflow, handler="look")]
        targets = [to for to in targets if (limit := self.limits.get(to.service)) is None or limit.exhausted != "kill"]
        if not targets:
            return None
        self.left -= 1
        id = len(self.nodes)
        before = (Op("sleep", n=self.wait()),) if random.random() < 0.4 else ()
        ops = (*before, Op("tell", times=times, how=random.choice(("", "blindly")), size=self.size()))
        self.nodes[id] = Node(id, random.choice(targets), kind, ops)
        return id


def hosted(random: Random, services: Sequence[str]) -> tuple[str, ...]:
    """Draw the services whose handlers are written with Restate's SDK."""
    share = random.choice((0.3, 0.7, 1.0))
    return tuple(service for service in services if random.random() < share)


def generate(
    random: Random, expiring: bool = False, extended: bool = False, focus: str = "", reach: Sequence[str] = ()
) -> Plan:
    """A random plan.

    Args:
        random: Where it is drawn from.
        expiring: Whether records expire while they are used.
        extended: Whether there is more than calls, state and steps in it: results from outside, operators.
        focus: What there is to be much of: ``operators``, ``results`` from outside, ``steps``, ``rings``, ``large``
            values, values in many ``parts``, ``trees`` of calls that are cancelled, limits of ``time``, or known
            ``costs``.
        reach: Which switches are on (see `reach.SHARES`).
    """
    return _Generator(random, expiring, extended, focus, reach).plan()
