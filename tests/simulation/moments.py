"""Plans in which something comes at an unlucky moment: a dispatch, a count of notifications, another writer of a key.

In each of them a few things go wrong often, and nothing else does, so that a wait for nothing is seen as one.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from adapter.engine.types import Kind, Target
from tests.simulation.crowds import KEY, Crowd
from tests.simulation.faults import Faults
from tests.simulation.plan import Op, Plan, Root


def wakes(random: Random) -> Plan:
    """Return a plan in which invocations are resumed while an attempt begins, or while they are being suspended.

    Dispatches come twice, and requests are slow: one process still reads the head of a key when another one has
    suspended the invocation, and a notification is counted after an attempt has seen it.
    """
    crowd = Crowd(random, functions=1)
    roots: list[Root] = []
    for number in range(random.choice((4, 8))):
        early = tuple((Op("signal", n=random.choice((10, 500)), times=1),) for _ in range(random.choice((2, 3))))
        select = Op("select", how=random.choice(("", "await")), branches=early)
        last = Op("signal", n=random.choice((500, 1500, 3000)), times=1)
        exclusive = random.random() < 0.6
        target, kind = (replace(KEY, key=f"k{number}"), Kind.EXCLUSIVE) if exclusive else (SERVICE, Kind.SERVICE)
        node = crowd.node(target, kind, random.choice(((select, last), (last,))))
        roots.append(Root(node, "send", (random.uniform(0, 0.2),)))
    return crowd.plan(roots)


def resends(random: Random) -> Plan:
    """Return a plan in which a further attempt sends messages to a key, and those of the former may still be on their
    way there.

    Clients call the key at the same time, so that the messages go to its inbox.
    """
    crowd = Crowd(random, functions=random.choice((1, 2)))
    roots: list[Root] = []
    short = Op("add", "total", 1)

    def send() -> Op:
        return Op("invoke", node=crowd.node(KEY, Kind.EXCLUSIVE, (short,)), how="send")

    for _ in range(random.choice((2, 4))):
        between = random.choice((Op("flaky", times=1), Op("flaky", times=2), Op("sleep", n=20), Op("step", "a", 5)))
        own = random.random() < 0.4
        target, kind = (KEY, Kind.EXCLUSIVE) if own else (SERVICE, Kind.SERVICE)
        node = crowd.node(target, kind, (send(), between, send(), send()))
        roots.append(Root(node, "send", (random.uniform(0, 0.2),)))
    for _ in range(random.choice((2, 5, 10))):
        node = crowd.node(KEY, Kind.EXCLUSIVE, (short,))
        roots.append(Root(node, "call", (random.uniform(0, random.choice((0.2, 1.0))),), patience=28.0))
    return crowd.plan(roots)


def unmarked(random: Random) -> Plan:
    """Return a plan in which owners of keys send messages to their own keys, and their processes often end.

    A process may end after such a message is put, and before the head of the key says that one waits. Nobody else uses
    the keys.
    """
    crowd = Crowd(random, functions=1)
    roots: list[Root] = []
    for number in range(random.choice((4, 8))):
        own = replace(KEY, key=f"k{number}")
        first, *others = (
            Op("invoke", node=crowd.node(own, Kind.EXCLUSIVE, (Op("add", "total", 1),)), how="send")
            for _ in range(random.choice((2, 3)))
        )
        step = Op("step", "a", 5)  # the first one has the state written before, which also marks the head
        node = crowd.node(own, Kind.EXCLUSIVE, (step, first, step, *others))
        roots.append(Root(node, "send", (random.uniform(0, 0.2),)))
    return crowd.plan(roots)


def turns(random: Random) -> Plan:
    """Return a plan in which handlers go another way after a rewind.

    Their way depends on the time, which is drawn anew if it was not committed. The deferred step of the former way may
    have run, and another command then has its number. One whose command is committed does not begin again.
    """
    crowd = Crowd(random, functions=1)
    roots: list[Root] = []
    for _ in range(random.choice((2, 4, 8))):
        ways = tuple((Op("step", name, random.choice((0, 5, 100)), how="defer"),) for name in "ab")
        called = crowd.node(KEY, Kind.EXCLUSIVE, (Op("add", "total", 1),))
        ops = (*[Op("turn", branches=ways)] * random.choice((1, 2)), Op("invoke", node=called, how="caught"))
        if random.random() < 0.3:
            ops = (Op("sleep", n=20), *ops)
        if random.random() < 0.5:  # the command of a deferred step is committed while the step runs
            deferred = Op("step", "c", random.choice((500, 1500)), how="defer")
            other = crowd.node(KEY, Kind.EXCLUSIVE, (Op("add", "total", 1),))
            beside = (Op("step", "d", 5), Op("invoke", node=other, how="caught"))
            ops = (Op("gather", branches=((deferred,), beside)), *ops)
        node = crowd.node(SERVICE, Kind.SERVICE, ops)
        roots.append(Root(node, random.choice(("call", "send")), (random.uniform(0, 0.05),), patience=28.0))
    return crowd.plan(roots)


def overtaken(random: Random) -> Plan:
    """Return a plan in which processes stand still for long, and others run what these had begun.

    The steps fail at first, so that a further attempt begins its step without a commit after its claim.
    """
    crowd = Crowd(random, functions=1)
    roots: list[Root] = []
    for number in range(random.choice((16, 30))):
        step = Op("step", "a", random.choice((0, 5, 100)), times=random.choice((3, 4)))
        exclusive = random.random() < 0.5
        target, kind = (replace(KEY, key=f"k{number}"), Kind.EXCLUSIVE) if exclusive else (SERVICE, Kind.SERVICE)
        node = crowd.node(target, kind, random.choice(((step,), (step, Op("sleep", n=20)))))
        roots.append(Root(node, "send", (random.uniform(0, 5.0),)))
    return crowd.plan(roots)


def behind(random: Random) -> Plan:
    """Return a plan in which messages that run long steps come to a key while clients in Lambda functions hold it.

    Such a client is answered when its process has nothing left to do.
    """
    crowd = Crowd(random, functions=1)
    roots: list[Root] = []
    short, long = Op("step", "a", random.choice((5, 100, 500))), Op("step", "b", 2400)
    for _ in range(random.choice((1, 2, 4))):
        at = random.uniform(0, 5.0)
        node = crowd.node(KEY, Kind.EXCLUSIVE, (short,))
        roots.append(Root(node, "call", (at,), patience=28.0))
        for _ in range(random.choice((1, 2))):
            node = crowd.node(KEY, Kind.EXCLUSIVE, random.choice(((long,), (Op("add", "total", 1), long))))
            roots.append(Root(node, "send", (at + random.uniform(0, short.n / 1000),)))
    return crowd.plan(roots)


def rush(random: Random) -> Plan:
    """Return a plan in which clients of many processes take a free key at the same moment, and release it at once."""
    crowd = Crowd(random, functions=1)
    roots: list[Root] = []
    for _ in range(random.choice((20, 40))):
        node = crowd.node(KEY, Kind.EXCLUSIVE, (Op("add", "total", 1),))
        roots.append(Root(node, "call", (random.uniform(0, 0.5),), patience=28.0))
    return crowd.plan(roots)


def distant(random: Random) -> Plan:
    """Return a plan in which results come when the next check of what waits for them is far off, and dispatches get
    lost.

    No client waits for these invocations, which would ask again and again.
    """
    crowd = Crowd(random, functions=1)
    sent: list[Op] = []
    for number in range(random.choice((2, 4))):
        signal = Op("signal", n=random.choice((400, 1500)) * 1000, times=1)
        exclusive = random.random() < 0.5
        target, kind = (replace(KEY, key=f"k{number}"), Kind.EXCLUSIVE) if exclusive else (SERVICE, Kind.SERVICE)
        sent.append(Op("invoke", node=crowd.node(target, kind, (signal,)), how="send"))
    root = crowd.node(SERVICE, Kind.SERVICE, (*sent, Op("sleep", n=2500_000)))  # until then dispatches get lost
    return crowd.plan([Root(root, "send", (0.0,))])


def between(random: Random) -> Plan:
    """Return a plan in which messages come to an inbox with earlier tickets than those that its owner has read.

    Tickets that different processes take in the same millisecond may lie between each other.
    """
    crowd = Crowd(random, functions=1)
    roots: list[Root] = []
    short = (Op("add", "total", 1),)
    moments = [random.uniform(0, 0.01) for _ in range(8)]
    for _ in range(16):
        *sent, last = (crowd.node(KEY, Kind.EXCLUSIVE, short) for _ in range(random.choice((2, 4))))
        ops = (*(Op("invoke", node=node, how="send") for node in sent), Op("invoke", node=last, how="caught"))
        roots.append(Root(crowd.node(SERVICE, Kind.SERVICE, ops), "send", (random.choice(moments),)))
    for _ in range(random.choice((10, 20))):
        node = crowd.node(KEY, Kind.EXCLUSIVE, short)
        roots.append(Root(node, "send", (random.choice(moments),)))
    return crowd.plan(roots)


SERVICE = Target("S0", "do")

MOMENTS = {
    "wakes": wakes,
    "resends": resends,
    "turns": turns,
    "overtaken": overtaken,
    "behind": behind,
    "unmarked": unmarked,
    "rush": rush,
    "distant": distant,
    "between": between,
}
"""The switches of these."""

FAULTS = {
    "wakes": Faults(jitter=0.02, slow=0.08, doubled=0.5),
    "resends": Faults(jitter=0.2, slow=0.1, kill=0.01),
    "turns": Faults(jitter=0.02),
    "overtaken": Faults(jitter=0.02, pause=0.01),
    "behind": Faults(jitter=0.002),
    "unmarked": Faults(jitter=0.002, kill=0.03),
    "rush": Faults(jitter=0.02),
    "distant": Faults(jitter=0.002, lost=0.1),
    "between": Faults(jitter=0.0004),
}
"""What goes wrong in each of them."""

LAMBDAS = {"behind": 1.0}
"""The share of their processes that are Lambda functions', if not 0."""
