"""Composes programs, at random: which operations each consists of, and whom it calls."""

from __future__ import annotations

from dataclasses import replace

from adapter.engine.types import Kind, Target
from tests.simulation import edges
from tests.simulation.plan import Node, Op
from tests.simulation.profile import Profile

DEEPEST = 10
"""How deep programs that try again are part of each other at most."""

SDK = {"now", "gather", "race", "stray", "deadline", "glance"}
"""What a handler that is written with Restate's SDK does not do."""


class Composer:
    """Composes the programs of one plan."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self.random = profile.random
        self.nodes: dict[int, Node] = {}
        self.pool: list[tuple[int, int]] = []
        """Idempotent nodes, each with the lowest key that it may want."""
        self.left = profile.count
        """How many more programs there may be."""
        self.workflow: Target | None = None
        """Whose program is being made, if it is one."""
        self.stubborn = 0
        """How many programs that try again are around what is being made."""
        self.by_sdk = False
        """Whether the program that is being made is a handler of Restate's SDK."""

    def node(self, floor: int, depth: int, idempotency: str | None = None) -> int:
        """Make a program that wants no key below a floor. Returns its number."""
        random, profile = self.random, self._profile
        floor = 0 if profile.tangled else floor
        self.left -= 1
        id = len(self.nodes)
        self.nodes[id] = Node(id, Target("", ""), Kind.SERVICE, ())  # takes the number
        number = random.randrange(profile.functions_count)
        choice = random.random()
        if profile.far and random.random() < 0.9:
            choice = 1.0
        if choice < 0.5 and floor < len(profile.keys):
            rank = random.randrange(floor, len(profile.keys))
            service, key = profile.keys[rank]
            target, kind, inner = Target(service, "do", key), Kind.EXCLUSIVE, rank + 1
        elif choice < 0.6:
            service, key = random.choice(profile.keys)
            target, kind, inner = Target(service, "look", key), Kind.SHARED, floor
        elif choice < 0.65 and idempotency is None and not (profile.expiring and depth):
            target, kind, inner = Target(f"W{number}", "run", f"w{id}"), Kind.WORKFLOW, floor
        else:
            target, kind, inner = Target(f"S{number}", "do"), Kind.SERVICE, floor
        outer = self.workflow, self.by_sdk
        self.workflow, self.by_sdk = target if kind is Kind.WORKFLOW else None, target.service in profile.hosted
        ops = self.body(inner, depth, kind, random.randint(0, profile.length))
        self.workflow, self.by_sdk = outer
        self.nodes[id] = Node(id, target, kind, ops, idempotency, profile.size())
        return id

    def body(self, floor: int, depth: int, kind: Kind, length: int, inside: bool = False) -> tuple[Op, ...]:
        return tuple(op for _ in range(length) for op in self.ops(floor, depth, kind, inside))

    def ops(self, floor: int, depth: int, kind: Kind, inside: bool) -> list[Op]:
        """One operation, or some that belong together."""
        random, profile = self.random, self._profile
        if "further" in profile.reach and not (inside or profile.alone or self.by_sdk) and random.random() < 0.2:
            return [self.further(floor, depth)]
        if profile.edges and not (inside or profile.alone or self.by_sdk) and random.random() < 0.15:
            return [self.edge(kind)]
        nested = inside and "nested" in profile.reach and not profile.alone and depth < 4
        names = self._names(depth, kind, inside, nested)
        depth += nested
        weights = [profile.weights[name] for name in names]
        if not any(weights):
            return []
        what = random.choices(names, weights)[0]
        entry = random.choice("abc")
        match what:
            case "get" | "clear":
                return [Op(what, entry)]
            case "set":
                huge = profile.huge and random.random() < 0.5
                return [Op(what, entry, random.choice((300_000, 400_000)) if huge else profile.size())]
            case "add":
                return [Op(what, "total", random.randint(1, 9))]
            case "append":
                return [Op(what, "list")]
            case "ahead":
                how = random.choice(("", "step"))
                return [
                    Op(
                        what,
                        entry,
                        random.choice((0, 5, 100)),
                        random.choice((0, 1)),
                        how=how,
                        size=profile.size(),
                    )
                ]
            case "step":
                hows = ("", "retry", "terminal", "exhaust", "loose", "defer", "once")
                how = random.choices(hows, (8, 2, 1, 2 if "exhausted-steps" in profile.reach else 0, 1, 2, 1))[0]
                if self.by_sdk and how in ("loose", "defer", "once"):
                    how = ""
                times = random.choice((0, 0, 0, 1, 2)) if not profile.alone and how != "once" else 0
                return [Op(what, entry, random.choice((0, 0, 5, 100, 1000)), times, how=how, size=profile.size())]
            case "sleep":
                return [Op(what, n=profile.wait())]
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
                delay = random.choice((0, 0, 0, profile.wait()))
                return [Op("invoke", node=self.node(profile.lowest(), depth + 1), how="send", n=delay)]
            case "burst":
                # Several messages, which have to keep their order.
                return [
                    Op("invoke", node=self.node(profile.lowest(), 4), how="send")
                    for _ in range(min(self.left, random.choice((2, 3, 5, 20))))
                ]
            case "fan":
                counts = (3, 10, 22, 30) if "wide" in profile.reach else (2, 3, 10)
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
                kinds = ("", "group", "locked") if "locks" in profile.reach else ("", "group")
                how = random.choice(kinds) if what == "gather" and not profile.alone else ""
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

    def _names(self, depth: int, kind: Kind, inside: bool, nested: bool) -> list[str]:
        """What an operation may be."""
        profile = self._profile
        reads = {"get", "keys"} if kind is not Kind.SERVICE else set()
        writes = {"set", "add", "append", "clear", "clear-all", "ahead"} if kind.exclusive else set()
        if inside:
            writes -= {"clear-all", "ahead"} if not profile.alone else writes
        others = {"step", "sleep", "now", "draw", "raise"}
        if profile.extended:
            others |= {"awakeable", "signal"}
            others |= {"promise"} if kind is Kind.WORKFLOW else set()
            others |= {"outwait"} if kind is Kind.WORKFLOW and profile.outwaits and not self.by_sdk else set()
            others |= {"cancelled", "glance"} if depth < 4 and self.left > 0 else set()
            others |= {"select", "completed", "timeout", "all"} if not inside else set()
        if depth < 4 and self.left > 0 and not (profile.alone and inside):
            others |= {"call", "send", "join", "forget", "idempotent", "burst", "fan"}
        if not inside:
            others |= {"gather", "race", "flaky", "stubborn", "stray", "deadline"}
        elif nested:
            others |= {"gather", "race", "stubborn", "stray", "deadline"}
            others |= {"select", "completed", "timeout", "all"} if profile.extended else set()
        if self.by_sdk:
            others = others - SDK | ({"tree"} if not inside else set())
        return sorted(reads | writes | others)

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

    def edge(self, kind: Kind) -> Op:
        """Something of `tests.simulation.edges`."""
        random = self.random
        what, how = edges.draw(random, self._profile.edges)
        if what == "bloated" and how == "set" and not kind.exclusive:
            how = "step"
        return Op(what, "a", random.choice((0, 5, 100)), random.choice((1, 1, 2)) if what == "step" else 0, how=how)

    def operation(self, floor: int, depth: int, how: str = "") -> Op:
        """Something to wait for together with others."""
        random = self.random
        what = random.choice(("sleep", "step", "awakeable", "signal", "call", "call", "call"))
        match what:
            case "call" if depth < 4 and self.left > 0:
                return Op("invoke", node=self.node(floor, depth + 1), how="cancelled" if how == "cancel" else "caught")
            case "call" | "sleep":
                return Op("sleep", n=self._profile.wait())
            case "step":
                retry = random.choice(("", "retry"))
                times = random.choice((0, 0, 1))
                return Op(what, "a", random.choice((0, 5, 100, 1000)), times, how=retry, size=self._profile.size())
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
        how = "reject" if "rejected" in self._profile.reach and random.random() < 0.3 else ""
        return Op(
            what,
            "",
            random.choice((0, 10, 500, 5000)),
            times=times,
            how=how,
            size=self._profile.size() if not how else 0,
        )

    def teller(self, what: str, times: int) -> int | None:
        """A program that gives a result to whoever invokes it; it lives where nothing is given up."""
        random, profile = self.random, self._profile
        services = [name for name in sorted(profile.functions) if name[0] == "S"]
        kind, targets = Kind.SERVICE, [Target(service, "do") for service in services]
        if what == "promise":
            assert self.workflow is not None
            kind, targets = Kind.SHARED, [replace(self.workflow, handler="look")]
        targets = [
            to for to in targets if (limit := profile.limits.get(to.service)) is None or limit.exhausted != "kill"
        ]
        if not targets:
            return None
        self.left -= 1
        id = len(self.nodes)
        before = (Op("sleep", n=profile.wait()),) if random.random() < 0.4 else ()
        ops = (*before, Op("tell", times=times, how=random.choice(("", "blindly")), size=profile.size()))
        self.nodes[id] = Node(id, random.choice(targets), kind, ops)
        return id

    def outwait(self) -> Op:
        """A message to a workflow's shared handler, which waits for a promise that nobody keeps."""
        assert self.workflow is not None
        self.left -= 1
        id = len(self.nodes)
        before = (Op("sleep", n=self._profile.wait()),) if self.random.random() < 0.4 else ()
        target = replace(self.workflow, handler="look")
        self.nodes[id] = Node(id, target, Kind.SHARED, (*before, Op("outwait")))
        return Op("invoke", node=id, how="send", n=self.random.choice((0, 0, self._profile.wait())))
