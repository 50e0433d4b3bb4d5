"""Plans in which many processes write one item at once, a key that everybody calls or a caller of many calls, those
in which one process gets many messages, and those in which much is paused."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from adapter.engine.types import Kind, Target
from tests.simulation.plan import Act, Limit, Node, Op, Plan, Root

KEY = Target("O0", "do", "k0")


def crowd(random: Random) -> Plan:
    """Return a plan in which clients without idempotency keys call one key at the same moment."""
    crowd = Crowd(random)
    quiet = random.random() < 0.5
    span = random.choice((0.0, 0.0, 0.02, 1.0))
    roots: list[Root] = []
    for _ in range(random.choice((3, 8, 20, 40))):
        if quiet or random.random() < 0.8:
            node = crowd.node(KEY, Kind.EXCLUSIVE, crowd.body(quiet))
        else:  # by way of a caller, that may live in another function
            inner = crowd.node(KEY, Kind.EXCLUSIVE, crowd.body(quiet))
            how = random.choice(("call", "caught", "send"))
            caller = Target(random.choice(("S0", f"S{crowd.functions - 1}")), "do")
            node = crowd.node(caller, Kind.SERVICE, (Op("invoke", node=inner, how=how),))
        how = "call" if random.random() < 0.9 else "send"
        roots.append(Root(node, how, (random.uniform(0, span),), patience=random.choice((8.0, 28.0))))
    return replace(crowd.plan(roots), deploys=crowd.deploys(span + 0.5, 0.3))


def backlog(random: Random) -> Plan:
    """Return a plan in which one key has a long queue of messages, and clients call it meanwhile."""
    crowd = Crowd(random)
    short, slow = Op("add", "total", 1), random.choice((0.0, 0.02, 0.3))
    sent: list[Op] = []
    for _ in range(random.choice((20, 60, 120))):
        first = (Op("step", "a", random.choice((5, 100, 100, 1900))),) if random.random() < slow else ()
        sent.append(Op("invoke", node=crowd.node(KEY, Kind.EXCLUSIVE, (*first, short)), how="send"))
    roots = [Root(crowd.node(Target("S0", "do"), Kind.SERVICE, tuple(sent)), "send", (0.0,))]
    if random.random() < 0.5:  # an owner that is suspended, and continues on the deployment that it began on
        owner = crowd.node(KEY, Kind.EXCLUSIVE, (Op("sleep", n=3000), short))
        roots.append(Root(owner, "send", (0.0,)))
    for _ in range(random.choice((3, 8, 20))):
        called = crowd.node(KEY, Kind.EXCLUSIVE, random.choice(((), (short,), (Op("step", "a", 100), short))))
        roots.append(Root(called, "call", (random.uniform(0, random.choice((0.05, 3.0))),), patience=28.0))
    return replace(crowd.plan(roots), deploys=crowd.deploys(3.0, 0.6))


def fan_in(random: Random) -> Plan:
    """Return a plan in which calls into another function complete together, for one caller."""
    crowd = Crowd(random, functions=2)
    roots: list[Root] = []
    for _ in range(random.choice((1, 1, 2))):
        wait = random.choice((0, 0, 5, 200, 1500, 3000))
        before = {0: (), 5: (Op("step", "a", wait),)}.get(wait, (Op("sleep", n=wait),))
        calls = [
            Op("invoke", node=crowd.node(Target("S1", "do"), Kind.SERVICE, before), how="caught")
            for _ in range(random.randint(20, 60))
        ]
        waits = Op(random.choice(("fan", "all")), branches=tuple((call,) for call in calls))
        exclusive = random.random() < 0.3
        caller, kind = (KEY, Kind.EXCLUSIVE) if exclusive else (Target("S0", "do"), Kind.SERVICE)
        roots.append(Root(crowd.node(caller, kind, (waits,)), random.choice(("call", "send")), (0.0,), patience=28.0))
    return crowd.plan(roots)


def messages(random: Random) -> Plan:
    """Return a plan in which programs send many messages at once, so that processes get them in batches."""
    crowd = Crowd(random)
    roots: list[Root] = []
    sent: list[int] = []
    for _ in range(random.choice((1, 2, 4))):
        ops: list[Op] = []
        steady = random.choice((1.0, 0.8, 0.4))
        for _ in range(random.choice((2, 5, 12, 30, 60))):
            body = () if random.random() < steady else crowd.body(quiet=False)[:1]
            body = tuple(op for op in body if op.kind in ("step", "sleep", "invoke"))
            one_key = random.random() < 0.1
            key = "k0" if random.random() < 0.3 else f"m{len(crowd.nodes)}"
            target, kind = (Target("O0", "do", key), Kind.EXCLUSIVE) if one_key else (crowd.elsewhere(), Kind.SERVICE)
            node = crowd.node(target, kind, body)
            sent.append(node)
            ops.append(Op("invoke", node=node, how="send"))
        if random.random() < 0.5:
            ops.insert(random.randrange(len(ops)), Op("step", "a", 5))
        sender = crowd.node(Target("S0", "do"), Kind.SERVICE, tuple(ops))
        roots.append(Root(sender, random.choice(("call", "send")), (random.uniform(0, 0.1),), patience=28.0))
    acts = tuple(
        Act(random.choice(("cancel", "kill", "pause")), random.choice(sent), random.uniform(0, 0.1))
        for _ in range(random.choice((0, 0, 1, 3)))
    )
    return replace(crowd.plan(roots), acts=acts)


def pauses(random: Random) -> Plan:
    """Return a plan in which attempts fail for the last time, and operators cancel, pause and resume meanwhile."""
    crowd = Crowd(random)
    roots: list[Root] = []
    for _ in range(random.choice((2, 5, 10))):
        failing = Op("step", "a", random.choice((5, 100, 1000)), times=random.choice((1, 1, 2)))
        body = random.choice(((failing,), (failing, Op("sleep", n=200)), (Op("sleep", n=20), failing)))
        if random.random() < 0.3:
            inner = crowd.node(crowd.elsewhere(), Kind.SERVICE, (Op("sleep", n=random.choice((1, 200, 1500))),))
            body = (Op("invoke", node=inner, how="caught"), *body)
        one_key = random.random() < 0.3
        target, kind = (KEY, Kind.EXCLUSIVE) if one_key else (crowd.elsewhere(), Kind.SERVICE)
        node = crowd.node(target, kind, body)
        roots.append(Root(node, random.choice(("call", "send")), (random.uniform(0, 1.0),), patience=28.0))
    acts = tuple(
        Act(random.choice(("cancel", "cancel", "pause")), root.node, root.at[0] + random.uniform(0, 2.0))
        for root in roots
        for _ in range(random.choice((1, 2)))
    )
    plan = crowd.plan(roots)
    limits = {service: Limit(random.choice((1, 2)), "pause") for service in plan.functions}
    return replace(plan, acts=acts, limits=limits)


def kills(random: Random) -> Plan:
    """Return a plan in which calls run steps in one session, and operators kill some of them."""
    crowd = Crowd(random, functions=1)
    roots: list[Root] = []
    acts: list[Act] = []
    for _ in range(random.choice((1, 2))):
        steps = [Op("step", "a", random.choice((5, 100, 1000))) for _ in range(random.randint(2, 5))]
        called = [crowd.node(Target("S0", "do"), Kind.SERVICE, (step,)) for step in steps]
        fan = Op("fan", branches=tuple((Op("invoke", node=node, how="caught"),) for node in called))
        roots.append(Root(crowd.node(Target("S0", "do"), Kind.SERVICE, (fan,)), "call", (0.0,), patience=28.0))
        acts.append(Act("kill", random.choice(called), random.uniform(0, 1.0)))
    return replace(crowd.plan(roots), acts=tuple(acts))


def interrupted(random: Random) -> Plan:
    """Return a plan in which operators cancel callers that wait for long calls."""
    crowd = Crowd(random, functions=random.choice((1, 2)))
    roots: list[Root] = []
    acts: list[Act] = []
    for _ in range(random.choice((3, 8))):
        calls = [crowd.node(crowd.elsewhere(), Kind.SERVICE, (Op("sleep", n=90_000),)) for _ in range(3)]
        fan = Op("fan", branches=tuple((Op("invoke", node=call, how="caught"),) for call in calls))
        roots.append(Root(crowd.node(crowd.elsewhere(), Kind.SERVICE, (fan,)), "send", (0.0,)))
        acts.append(Act("cancel", roots[-1].node, random.uniform(0.5, 20)))
    return replace(crowd.plan(roots), acts=tuple(acts))


def held(random: Random) -> Plan:
    """Return a plan in which clients wait for handlers that call others in another function, one at a time.

    Their processes hold them meanwhile. Operators end, pause and move some of them, and run them again from a call.
    """
    crowd = Crowd(random, functions=2)
    roots: list[Root] = []
    acts: list[Act] = []
    span = random.choice((3.0, 20.0))
    for number in range(random.choice((4, 8, 16))):
        ops: list[Op] = []
        for _ in range(random.choice((1, 2, 4))):
            work = random.choice(((), (Op("step", "a", random.choice((5, 500, 1500))),), (Op("sleep", n=2500),)))
            key = f"i{len(crowd.nodes)}" if random.random() < 0.2 else None
            called = crowd.node(Target("S1", "do"), Kind.SERVICE, work, key)
            how, after = random.choice(
                (("caught", 0), ("caught", 0), ("caught", 0), ("cancelled", 0), ("cancelled", 20))
            )
            ops.append(Op("invoke", node=called, how=how, n=after))
            ops += random.choice(((), (), (Op("step", "b", 5),), (Op("flaky", times=1),), (Op("sleep", n=3000),)))
        exclusive = random.random() < 0.3
        target, kind = (
            (replace(KEY, key=f"k{number}"), Kind.EXCLUSIVE) if exclusive else (Target("S0", "do"), Kind.SERVICE)
        )
        root = Root(crowd.node(target, kind, tuple(ops)), "call", (random.uniform(0, 3),), patience=28.0)
        roots.append(root)
        if random.random() < 0.8:
            what = random.choice(("cancel", "kill", "kill", "pause", "restart", "move"))
            first = 0 if exclusive else random.choice((0, 1, 2))
            acts.append(Act(what, root.node, root.at[0] + random.uniform(0, span), first=first))
    return replace(crowd.plan(roots), acts=tuple(acts), deploys=crowd.deploys(5, 0.3))


def attached(random: Random) -> Plan:
    """Return a plan in which what callers wait for completes and expires at once, while they resume for another reason.

    They called it by its idempotency key, so that an attempt that resumes asks for its result again.
    """
    crowd = Crowd(random, functions=random.choice((1, 2)))
    roots: list[Root] = []
    called: list[int] = []
    for number in range(random.choice((1, 3))):
        ends = Op("sleep", n=random.choice((2950, 3000, 3050)))
        called.append(crowd.node(crowd.elsewhere(), Kind.SERVICE, (ends,), idempotency=f"i{number}"))
    for _ in range(random.choice((3, 8, 20))):
        invoke = Op("invoke", node=random.choice(called), how=random.choice(("call", "join")))
        other = Op("sleep", n=random.choice((2900, 3000, 3100)))
        select = Op("select", how="await", branches=((invoke,), (other,)))
        caller = crowd.node(Target("S0", "do"), Kind.SERVICE, (select,))
        roots.append(Root(caller, "send", (random.choice((0.0, random.uniform(0, 0.1))),)))
    return crowd.plan(roots)


def beside(random: Random) -> Plan:
    """Return a plan in which calls end by signals while their callers run long steps."""
    crowd = Crowd(random, functions=random.choice((1, 2)))
    roots: list[Root] = []
    for _ in range(random.choice((1, 2))):
        teller = crowd.node(crowd.elsewhere(), Kind.SERVICE, (Op("sleep", n=200), Op("tell", times=1)))
        called = crowd.node(Target("S0", "do"), Kind.SERVICE, (Op("signal", node=teller),))
        branches = ((Op("step", "a", 12_000),), (Op("invoke", node=called, how="caught"),))
        caller = crowd.node(Target("S0", "do"), Kind.SERVICE, (Op("gather", branches=branches),))
        roots.append(Root(caller, "send", (0.0,)))
    return crowd.plan(roots)


class Crowd:
    """The nodes of a plan that is being made."""

    def __init__(self, random: Random, functions: int | None = None) -> None:
        self.random = random
        self.functions = functions or random.choice((1, 2))
        self.nodes: dict[int, Node] = {}

    def node(self, target: Target, kind: Kind, ops: tuple[Op, ...], idempotency: str | None = None) -> int:
        id = len(self.nodes)
        self.nodes[id] = Node(id, target, kind, ops, idempotency)
        return id

    def body(self, quiet: bool) -> tuple[Op, ...]:
        """What an invocation does with the key: seldom more than to read and write its state."""
        random = self.random
        if quiet or random.random() < 0.6:
            return random.choice(((), (Op("get", "a"),), (Op("add", "total", 1),), (Op("append", "list"),)))
        first = random.choice(
            (
                Op("step", "a", random.choice((0, 5, 100))),
                Op("sleep", n=random.choice((1, 20, 200))),
                Op("invoke", node=self.node(self.elsewhere(), Kind.SERVICE, ()), how="caught"),
            )
        )
        return first, Op("add", "total", 1)

    def elsewhere(self) -> Target:
        return Target(f"S{self.random.randrange(self.functions)}", "do")

    def deploys(self, span: float, share: float) -> tuple[tuple[int, float], ...]:
        """In a share of the plans, a new deployment of each function within so many seconds."""
        deployed = self.random.random() < share
        return tuple((function, self.random.uniform(0, span)) for function in range(self.functions) if deployed)

    def plan(self, roots: list[Root]) -> Plan:
        functions = {f"{letter}{number}": number for number in range(self.functions) for letter in "SOW"}
        return Plan(functions, self.nodes, tuple(roots))
