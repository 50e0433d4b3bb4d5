"""Plans that bring sessions to rare decisions.

In each of them a few things go wrong often, and nothing else does, so that a wait for nothing is seen as one.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from adapter.engine.types import Kind, Target
from tests.simulation.calls import FAR
from tests.simulation.crowds import KEY, Crowd
from tests.simulation.faults import Faults
from tests.simulation.plan import Act, Op, Plan, Root

SERVICE = Target("S0", "do")


def twice(random: Random) -> Plan:
    """Return a plan in which sessions hand over a key, and send by its idempotency key what already waits for it."""
    crowd = Crowd(random, functions=1)
    roots: list[Root] = []
    for number in range(random.choice((1, 2, 4))):
        key = replace(KEY, key=f"k{number}")
        short, at = Op("add", "total", 1), random.uniform(0, 0.2)
        again = crowd.node(key, Kind.EXCLUSIVE, (short,), idempotency=f"i{number}")
        first = crowd.node(key, Kind.EXCLUSIVE, (Op("step", "a", 500), short))
        send = Op("invoke", node=again, how="send")
        behind = crowd.node(key, Kind.EXCLUSIVE, random.choice(((short, send), (send, short))))
        roots.append(Root(first, "send", (at,)))
        roots.append(Root(behind, "send", (at + random.uniform(0.15, 0.2),)))
        roots.append(Root(again, random.choice(("send", "call")), (at + random.uniform(0.2, 0.4),), patience=28.0))
    return crowd.plan(roots)


def stale(random: Random) -> Plan:
    """Return a plan in which a process still begins an attempt when another one has suspended the invocation.

    That process is the one that is to resume the invocation then. No client waits for these invocations, which would
    ask again and again.
    """
    crowd = Crowd(random, functions=1)
    roots: list[Root] = []
    for number in range(random.choice((4, 8))):
        tells = Op("sleep", n=random.choice((100, 500, 1500))), Op("tell", times=1)
        signal = Op("signal", node=crowd.node(SERVICE, Kind.SERVICE, tells))
        called = crowd.node(replace(KEY, key=f"k{number}"), Kind.EXCLUSIVE, (signal,))
        sender = crowd.node(SERVICE, Kind.SERVICE, (Op("invoke", node=called, how="send"),))
        roots.append(Root(sender, "send", (random.uniform(0, 5.0),)))
    return crowd.plan(roots)


def doomed(random: Random) -> Plan:
    """Return a plan in which operators end what waits for a key, and the processes that were to end it die."""
    crowd = Crowd(random, functions=1)
    short = Op("add", "total", 1)
    owner = crowd.node(KEY, Kind.EXCLUSIVE, (Op("sleep", n=random.choice((30_000, 150_000))), short))
    roots, acts = [Root(owner, "send", (0.0,))], []
    for _ in range(random.choice((4, 8))):
        waiting = crowd.node(KEY, Kind.EXCLUSIVE, (short,))
        roots.append(Root(waiting, random.choice(("call", "send")), (random.uniform(0.5, 2.0),)))
        acts.append(Act(random.choice(("cancel", "kill")), waiting, random.uniform(3.0, 20.0)))
    return replace(crowd.plan(roots), acts=tuple(acts))


def parted(random: Random) -> Plan:
    """Return a plan in which sessions call a key a few times, send it a message, and commit that in parts.

    Something else may come to the key between two of them.
    """
    crowd = Crowd(random, functions=1)
    roots: list[Root] = []
    short = Op("add", "total", 1)
    for number in range(random.choice((4, 8))):
        key, at = replace(KEY, key=f"k{number}"), random.uniform(0, 2.0)
        sent = [crowd.node(SERVICE, Kind.SERVICE, ()) for _ in range(random.choice((1, 2, 3)))]
        sends = tuple(Op("invoke", node=each, how="send") for each in sent)
        bodies = ((*sends, short), *[(short,)] * random.choice((1, 2)))
        called = [crowd.node(key, Kind.EXCLUSIVE, body) for body in bodies]
        ops = [Op("invoke", node=each, how="caught") for each in called]
        ops.append(Op("invoke", node=crowd.node(key, Kind.EXCLUSIVE, (short,)), how="send"))
        roots.append(Root(crowd.node(SERVICE, Kind.SERVICE, tuple(ops)), "call", (at,), patience=28.0))
        for _ in range(random.choice((0, 1, 2))):
            other = crowd.node(key, Kind.EXCLUSIVE, (short,))
            roots.append(Root(other, "send", (at + random.uniform(0, 0.4),)))
    return crowd.plan(roots)


def cuts(random: Random) -> Plan:
    """Return a plan in which programs are suspended, and go on with results that are put in pieces before the commit.

    Processes end between the two. Focus it with ``parts``, so that the pieces are small.
    """
    crowd = Crowd(random)
    roots: list[Root] = []
    for number in range(random.choice((4, 8))):
        ops: list[Op] = []
        for name in "abc":
            waits = Op("add", "total", 1), Op("sleep", n=random.choice((2500, 4000)))
            ops += [*waits, Op("step", name, 5, how="defer", size=random.choice((3000, 9000)))]
        node = crowd.node(replace(KEY, key=f"k{number}"), Kind.EXCLUSIVE, tuple(ops))
        roots.append(Root(node, "send", (random.uniform(0, 2.0),)))
    return crowd.plan(roots)


def ahead(random: Random) -> Plan:
    """Return a plan in which programs replace entries that are still being read, and fail or end before they look."""
    crowd = Crowd(random, functions=1)
    roots: list[Root] = []
    for number in range(random.choice((4, 8))):
        how, size = random.choice(("", "step")), random.choice((1500, 5000))
        ops = [Op("set", name, size) for name in "ab"]
        ops += [Op("ahead", name, times=random.choice((0, 1)), how=how, size=size) for name in "abab"]
        node = crowd.node(replace(KEY, key=f"k{number % 3}"), Kind.EXCLUSIVE, tuple(ops))
        roots.append(Root(node, "send", (random.uniform(0, 2.0),)))
    return crowd.plan(roots)


def excess(random: Random) -> Plan:
    """Return a plan in which the outputs of some programs are too large."""
    crowd = Crowd(random)
    roots: list[Root] = []
    for number in range(random.choice((2, 4, 8))):
        before = random.choice(((), (Op("step", "a", 5),), (Op("sleep", n=random.choice((20, 3000))),)))
        own = replace(KEY, key=f"k{number}")
        target, kind = random.choice(((crowd.elsewhere(), Kind.SERVICE), (own, Kind.EXCLUSIVE)))
        node = crowd.node(target, kind, (*before, Op("excess", n=random.choice((1, 50_000)))))
        if random.random() < 0.6:
            invoke = Op("invoke", node=node, how=random.choice(("call", "caught", "join")))
            node = crowd.node(crowd.elsewhere(), Kind.SERVICE, (invoke, Op("step", "b", 5)))
        roots.append(Root(node, random.choice(("call", "send")), (random.uniform(0, 1.0),), patience=28.0))
    return crowd.plan(roots)


def shields(random: Random) -> Plan:
    """Return a plan in which programs shield operations from time-outs, and await them after that.

    Some programs also wait for several shielded branches at once.
    """
    crowd = Crowd(random)
    roots: list[Root] = []
    for _ in range(random.choice((2, 4, 8))):
        branches: list[tuple[Op, ...]] = []
        for _ in range(random.choice((1, 2, 3))):
            wait = random.choice((5, 200, 1500, 3000))
            called = crowd.node(crowd.elsewhere(), Kind.SERVICE, (Op("sleep", n=wait),))
            inner = random.choice(
                (
                    Op("sleep", n=wait),
                    Op("step", "a", min(wait, 1500)),
                    Op("signal", n=wait, times=1),
                    Op("invoke", node=called, how="caught"),
                )
            )
            patience, how = random.choice((1, 20, 500, 2500)), random.choice(("shield", "shield", "await", ""))
            branches.append((Op("timeout", n=patience, how=how, branches=((inner,),)),))
        together = Op(random.choice(("gather", "shielded")), branches=tuple(branches))
        ops = (
            (together, Op("step", "c", 5), Op("sleep", n=3000))
            if random.random() < 0.5
            else tuple(op for (op,) in branches)
        )
        node = crowd.node(crowd.elsewhere(), Kind.SERVICE, (*ops, Op("step", "b", 5)))
        roots.append(Root(node, random.choice(("call", "send")), (random.uniform(0, 1.0),), patience=28.0))
    return crowd.plan(roots)


def abreast(random: Random) -> Plan:
    """Return a plan in which steps of a program end in the same moment, and some of them fail the first times.

    Others are to begin in that moment.
    """
    crowd = Crowd(random, functions=1)
    roots: list[Root] = []
    for _ in range(random.choice((2, 4, 8))):
        lasts = random.choice((0, 5, 100))
        steps = [Op("step", name, lasts, how=random.choice(("", "once", "terminal", "defer"))) for name in "abc"]
        failing = Op("step", "d", lasts, random.choice((1, 2)), how=random.choice(("", "retry")))
        before = random.choice(((), (Op("step", "e", lasts),)))
        branches = [(*random.choice(((), before)), step) for step in steps]
        gather = Op("gather", branches=tuple(random.sample((*branches, (failing,)), 4)))
        node = crowd.node(SERVICE, Kind.SERVICE, (Op("stubborn", branches=((gather,),)),))
        roots.append(Root(node, random.choice(("call", "send")), (random.uniform(0, 1.0),), patience=28.0))
    return crowd.plan(roots)


def halted(random: Random) -> Plan:
    """Return a plan in which attempts fail in the moment in which steps are to begin that run at most once.

    Operators pause what waits for its next attempt.
    """
    crowd = Crowd(random, functions=1)
    roots: list[Root] = []
    acts: list[Act] = []
    for _ in range(random.choice((4, 8, 16))):
        steps = [(Op("step", "e", 100), Op("step", name, 5, how="once")) for name in random.choice(("a", "ab"))]
        failing = (Op("step", "d", 100, random.choice((1, 2))),)
        gather = Op("gather", branches=tuple(random.sample((failing, *steps), len(steps) + 1)))
        root = Root(crowd.node(SERVICE, Kind.SERVICE, (gather,)), "send", (random.uniform(0, 1.0),))
        roots.append(root)
        acts.append(Act("pause", root.node, root.at[0] + random.uniform(0.1, 0.2)))
    return replace(crowd.plan(roots), acts=tuple(acts))


def withdrawn(random: Random) -> Plan:
    """Return a plan in which programs cancel messages that they sent: delayed, queued, begun and completed ones."""
    crowd = Crowd(random)
    roots: list[Root] = []
    for number in range(random.choice((2, 4, 8))):
        own = replace(KEY, key=f"k{number % 2}")
        ops: list[Op] = []
        for _ in range(random.choice((1, 2, 3))):
            target, kind = random.choice(((crowd.elsewhere(), Kind.SERVICE), (own, Kind.EXCLUSIVE)))
            body = random.choice(((), (Op("step", "a", 100),), (Op("sleep", n=3000), Op("step", "a", 5))))
            sent = crowd.node(target, kind, body)
            delay, wait = random.choice((0, 0, 1000, FAR)), random.choice((0, 0, 5, 500, 5000))
            ops.append(Op("invoke", node=sent, how="withdrawn", n=delay, times=wait))
        if random.random() < 0.5:
            ops = [Op("gather", branches=tuple((op,) for op in ops))]
        node = crowd.node(crowd.elsewhere(), Kind.SERVICE, (*ops, Op("step", "b", 5)))
        roots.append(Root(node, random.choice(("call", "send")), (random.uniform(0, 1.0),), patience=28.0))
    return crowd.plan(roots)


def ended(random: Random) -> Plan:
    """Return a plan in which queued calls are cancelled while their key's owner runs them with its own commit.

    The owner has just begun, and the store does not know of its attempt.
    """
    crowd = Crowd(random, functions=2)
    roots: list[Root] = []
    for number in range(random.choice((8, 16))):
        key = Target("O1", "do", f"k{number}")
        calls = [crowd.node(key, Kind.EXCLUSIVE, (Op("add", "total", 1),)) for _ in range(random.choice((2, 3)))]
        hows = ("call", *("cancelled" for _ in calls[1:]))
        branches = tuple((Op("invoke", node=call, how=how),) for call, how in zip(calls, hows, strict=True))
        caller = crowd.node(SERVICE, Kind.SERVICE, (Op("gather", branches=branches),))
        roots.append(Root(caller, random.choice(("call", "send")), (random.uniform(0, 5.0),), patience=28.0))
    return crowd.plan(roots)


def purges(random: Random) -> Plan:
    """Return a plan in which operators purge what expires soon, while others call it again and attach to it."""
    crowd = Crowd(random)
    roots: list[Root] = []
    acts: list[Act] = []
    for number in range(random.choice((1, 2, 4))):
        wait = random.choice(((), (Op("step", "a", 5),), (Op("sleep", n=random.choice((20, 3000))),)))
        own = replace(KEY, key=f"k{number}")
        target, kind = random.choice(((crowd.elsewhere(), Kind.SERVICE), (own, Kind.EXCLUSIVE)))
        called = crowd.node(target, kind, wait, idempotency=f"i{number}")
        times = sorted(random.uniform(0, 600.0) for _ in range(random.choice((4, 8, 16))))
        roots.append(Root(called, random.choice(("call", "send")), tuple(times), patience=28.0))
        for at in random.sample(times, 3):
            attach = Op("invoke", node=called, how=random.choice(("call", "join")))
            roots.append(Root(crowd.node(crowd.elsewhere(), Kind.SERVICE, (attach,)), "send", (at,)))
        acts += [Act("purge", called, max(0.0, at - random.choice((0.0, 0.1, 5.0)))) for at in random.sample(times, 3)]
    return replace(crowd.plan(roots), acts=tuple(acts))


def counted(random: Random) -> Plan:
    """Return a plan in which signals arrive while steps end, and more of them are counted than there are.

    A handler that is replayed while it tells a signal tells it again, and each time is counted. Then a session that is
    told of another signal reads all of them, and a commit may rewind it meanwhile.
    """
    crowd = Crowd(random, functions=1)
    roots: list[Root] = []
    for _ in range(random.choice((4, 8))):
        beside = tuple((Op("step", name, random.choice((0, 5, 20))),) for name in "ab")
        tells = crowd.node(SERVICE, Kind.SERVICE, (Op("gather", branches=((Op("tell", times=2),), *beside)),))
        steps = tuple(Op("step", name, random.choice((5, 20))) for name in "abcd")
        late = Op("signal", n=random.randrange(10, 300), times=1)
        ops = (Op("signal", node=tells), Op("gather", branches=(steps, (late,))))
        roots.append(Root(crowd.node(SERVICE, Kind.SERVICE, ops), "send", (random.uniform(0, 2.0),)))
    return crowd.plan(roots)


def crossed(random: Random) -> Plan:
    """Return a plan in which owners of two keys call each other's key, and an operator cancels one of them meanwhile.

    Requests are slow, or processes stand still, also between a look at a record and the write that follows from it.
    """
    crowd = Crowd(random, functions=2)
    roots, acts = [], []
    for number in range(random.choice((4, 8))):
        keys = [Target(f"O{function}", "do", f"k{number}") for function in (0, 1)]
        called = [crowd.node(key, Kind.EXCLUSIVE, (Op("add", "total", 1),)) for key in keys]
        at = random.uniform(0, 2.0)
        for key, other in zip(keys, reversed(called), strict=True):
            calls = Op("step", "a", random.choice((50, 200))), Op("invoke", node=other, how="caught")
            owner = crowd.node(key, Kind.EXCLUSIVE, calls)
            roots.append(Root(owner, "send", (at,)))
        acts.append(Act("cancel", owner, at + random.uniform(0.2, 1.0)))
    return replace(crowd.plan(roots), acts=tuple(acts), tangled=True)


CORNERS = {
    "abreast": abreast,
    "counted": counted,
    "crossed": crossed,
    "frozen": crossed,
    "purges": purges,
    "excess": excess,
    "halted": halted,
    "shields": shields,
    "ahead": ahead,
    "cuts": cuts,
    "doomed": doomed,
    "ended": ended,
    "parted": parted,
    "stale": stale,
    "twice": twice,
    "withdrawn": withdrawn,
}
"""The switches of these."""

FAULTS = {
    "abreast": Faults(jitter=0.02),
    "counted": Faults(jitter=0.02, conflict=0.01),
    "crossed": Faults(jitter=0.1, slow=0.1),
    "frozen": Faults(jitter=0.1, pause=0.1),
    "purges": Faults(jitter=0.02, slow=0.02, kill=0.005),
    "excess": Faults(jitter=0.02),
    "halted": Faults(jitter=0.002),
    "shields": Faults(jitter=0.02, kill=0.01),
    "ahead": Faults(jitter=0.02, kill=0.05),
    "cuts": Faults(jitter=0.02, kill=0.05),
    "doomed": Faults(jitter=0.02, kill=0.05),
    "ended": Faults(conflict=0.01),
    "parted": Faults(jitter=0.02),
    "stale": Faults(jitter=0.02, anew=1.0, lagging=0.5),
    "twice": Faults(jitter=0.02),
    "withdrawn": Faults(jitter=0.02, kill=0.01, lost=0.1),
}
"""What goes wrong in each of them."""
