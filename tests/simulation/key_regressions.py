"""Cases that once failed where several wanted one key (see `regressions`)."""

from __future__ import annotations

from adapter.engine.types import Kind, Target
from tests.simulation.faults import Faults
from tests.simulation.plan import Node, Op, Plan, Root
from tests.simulation.run import Case

KEYS = {
    "an inbox that was read after its head held somebody whom that head did not count: he was let in and put in line": (
        Case(
            seed="31283",
            plan=Plan(
                functions={"S0": 0, "O0": 0, "W0": 0},
                nodes={
                    0: Node(
                        0,
                        Target("O0", "do", "k1"),
                        Kind.EXCLUSIVE,
                        (Op("invoke", n=1000, node=2, how="cancelled"),),
                    ),
                    2: Node(
                        2,
                        Target("W0", "run", "w2"),
                        Kind.WORKFLOW,
                        (
                            Op(
                                "fan",
                                branches=(
                                    (Op("invoke", node=6, how="caught"),),
                                    (Op("invoke", node=11, how="caught"),),
                                ),
                            ),
                            Op("invoke", node=13, how="caught"),
                        ),
                    ),
                    6: Node(6, Target("O0", "do", "k0"), Kind.EXCLUSIVE, (Op("signal", name="b", n=500, times=2),)),
                    11: Node(11, Target("O0", "do", "k0"), Kind.EXCLUSIVE, ()),
                    13: Node(13, Target("S0", "do"), Kind.SERVICE, (Op("invoke", node=14, how="cancelled"),)),
                    14: Node(14, Target("O0", "do", "k0"), Kind.EXCLUSIVE, ()),
                    28: Node(28, Target("O0", "do", "k0"), Kind.EXCLUSIVE, (), idempotency="r3"),
                },
                roots=(Root(0, "call", (2.0,), patience=0.5), Root(28, "call", (2.5,), patience=0.5)),
            ),
            faults=Faults(),
            lambdas=1.0,
        )
    ),
    "a commit was cut between two calls for one key, and the second, which had run and failed, was given that key "
    "as if it had not: two changes of one record": Case(
        seed="50448",
        plan=Plan(
            functions={"S1": 1, "O1": 1},
            nodes={
                33: Node(
                    33,
                    Target("O1", "look", "k0"),
                    Kind.SHARED,
                    (
                        Op(
                            "fan",
                            branches=((Op("invoke", node=34, how="caught"),), (Op("invoke", node=35, how="caught"),)),
                        ),
                    ),
                ),
                34: Node(34, Target("O1", "do", "k1"), Kind.EXCLUSIVE, (), pad=800_000),
                35: Node(35, Target("O1", "do", "k1"), Kind.EXCLUSIVE, (Op("flaky", times=2),), pad=400_000),
            },
            roots=(Root(33, "send", (0.0,)),),
        ),
        faults=Faults(),
        lambdas=0.0,
    ),
    "a commit was cut between two calls for one key, and what the second had written by then went with the key's "
    "being given to it: it ran once more, on its own state": Case(
        seed="100551",
        plan=Plan(
            functions={"S1": 1, "O1": 1},
            nodes={
                34: Node(
                    34,
                    Target("S1", "do"),
                    Kind.SERVICE,
                    (
                        Op(
                            "fan",
                            branches=(
                                (Op("invoke", node=37, how="caught"),),
                                (Op("invoke", node=40, how="caught"),),
                                (Op("invoke", node=43, how="caught"),),
                            ),
                        ),
                    ),
                    pad=800_000,
                ),
                37: Node(37, Target("O1", "do", "k0"), Kind.EXCLUSIVE, ()),
                40: Node(40, Target("O1", "do", "k0"), Kind.EXCLUSIVE, (), pad=800_000),
                43: Node(
                    43,
                    Target("O1", "do", "k0"),
                    Kind.EXCLUSIVE,
                    (Op("set", name="a", n=300_000), Op("set", name="c", n=300_000)),
                ),
            },
            roots=(Root(34, "send", (0.0,)),),
        ),
        faults=Faults(),
        lambdas=0.0,
    ),
    "a message under an idempotency key, whose receiver stood in line already, was made and let in at once": Case(
        seed="102",
        plan=Plan(
            functions={"S0": 0, "O0": 0},
            nodes={
                1: Node(1, Target("O0", "do", "k0"), Kind.EXCLUSIVE, (), idempotency="i0"),
                2: Node(
                    2,
                    Target("O0", "do", "k0"),
                    Kind.EXCLUSIVE,
                    (Op("sleep", n=3000), Op("invoke", node=1, how="send")),
                ),
            },
            roots=(Root(2, "send", (0.0,)), Root(1, "send", (1.0,))),
        ),
        faults=Faults(),
        lambdas=0.0,
    ),
    "an attempt failed while it cancelled a call in line for its key: the call was ended a minute later": Case(
        seed="3009491",
        plan=Plan(
            functions={"S0": 0, "O0": 0, "W0": 0},
            nodes={
                1: Node(
                    id=1,
                    target=Target(service="O0", handler="look", key="k0"),
                    kind=Kind.SHARED,
                    ops=(Op(kind="invoke", node=2, how="caught"),),
                    idempotency="i1",
                ),
                2: Node(
                    id=2,
                    target=Target(service="O0", handler="do", key="k2"),
                    kind=Kind.EXCLUSIVE,
                    ops=(Op(kind="step", name="c", n=100, how="terminal"),),
                ),
                20: Node(
                    id=20,
                    target=Target(service="S0", handler="do"),
                    kind=Kind.SERVICE,
                    ops=(
                        Op(
                            kind="gather",
                            branches=(
                                (Op(kind="step", name="c", times=2, how="terminal"),),
                                (
                                    Op(kind="invoke", node=21, how="cancelled"),
                                    Op(kind="step", name="a", n=100),
                                ),
                                (
                                    Op(kind="step", name="c", how="retry"),
                                    Op(kind="invoke", node=22, how="caught"),
                                ),
                            ),
                        ),
                    ),
                    idempotency="r8",
                ),
                21: Node(id=21, target=Target(service="O0", handler="do", key="k2"), kind=Kind.EXCLUSIVE, ops=()),
                22: Node(id=22, target=Target(service="O0", handler="do", key="k1"), kind=Kind.EXCLUSIVE, ops=()),
            },
            roots=(
                Root(
                    node=1,
                    how="call",
                    at=(
                        0.9115151222391865,
                        0.49429176163400124,
                    ),
                    delay=1500,
                    patience=2.0,
                ),
                Root(node=20, how="call", at=(0.5304231306036065,), patience=0.5),
            ),
        ),
        faults=Faults(jitter=0.002),
        lambdas=0.0,
    ),
    "entries of a key were read while its batch was committed, and the session took them for those that the commit "
    "wrote": Case(
        seed="100020469",
        plan=Plan(
            functions={"S0": 0, "O0": 0, "W0": 0, "S1": 1, "O1": 1, "W1": 1},
            nodes={
                6: Node(
                    id=6,
                    target=Target("O1", "do", "k1"),
                    kind=Kind.EXCLUSIVE,
                    ops=(Op(kind="ahead", name="a", n=5, how="step", size=5000),),
                ),
                29: Node(
                    id=29,
                    target=Target("O1", "do", "k1"),
                    kind=Kind.EXCLUSIVE,
                    ops=(Op(kind="add", name="total", n=7), Op(kind="ahead", name="a", n=5, how="step")),
                    idempotency="r19",
                ),
                30: Node(
                    id=30, target=Target("O1", "do", "k1"), kind=Kind.EXCLUSIVE, ops=(), idempotency="r20", pad=20000
                ),
                36: Node(
                    id=36,
                    target=Target("O1", "do", "k1"),
                    kind=Kind.EXCLUSIVE,
                    ops=(Op(kind="invoke", node=37, how="call"),),
                    idempotency="r24",
                    pad=3000,
                ),
                37: Node(
                    id=37,
                    target=Target("S0", "do"),
                    kind=Kind.SERVICE,
                    ops=(Op(kind="deadline", n=1, branches=((Op(kind="sleep", n=20),),)),),
                ),
                39: Node(
                    id=39,
                    target=Target("S1", "do"),
                    kind=Kind.SERVICE,
                    ops=(
                        Op(
                            kind="timeout", n=5000, how="await", branches=((Op(kind="invoke", node=42, how="caught"),),)
                        ),
                    ),
                ),
                42: Node(id=42, target=Target("O1", "do", "k1"), kind=Kind.EXCLUSIVE, ops=()),
            },
            roots=(
                Root(node=6, how="send", at=(2.319786,), patience=2.0),
                Root(node=29, how="call", at=(7.561769,), patience=0.5),
                Root(node=30, how="call", at=(1.91488,), delay=20, patience=2.0),
                Root(node=36, how="call", at=(7.314349, 2.647539), patience=2.0),
                Root(node=39, how="call", at=(3.396762,), delay=200, patience=2.0),
            ),
            tangled=True,
        ),
        faults=Faults(refused=0.005, unheard=0.06, lost=0.12, late=0.4),
        lambdas=1.0,
        front=1,
    ),
    "an invocation was given its key elsewhere while a session ran it from the inbox, and was forgotten with that "
    "session's rewind": Case(
        seed="100020262",
        plan=Plan(
            functions={"S0": 0, "O0": 0, "W0": 0, "S1": 1, "O1": 1, "W1": 1, "S2": 2, "O2": 2, "W2": 2},
            nodes={
                0: Node(id=0, target=Target("O2", "look", "k1"), kind=Kind.SHARED, ops=(Op(kind="keys"),)),
                1: Node(id=1, target=Target("S2", "do"), kind=Kind.SERVICE, ops=()),
                2: Node(id=2, target=Target("O0", "look", "k0"), kind=Kind.SHARED, ops=()),
                3: Node(
                    id=3,
                    target=Target("S1", "do"),
                    kind=Kind.SERVICE,
                    ops=(Op(kind="invoke", node=4, how="send"), Op(kind="signal", times=1)),
                    idempotency="r3",
                ),
                4: Node(id=4, target=Target("S2", "do"), kind=Kind.SERVICE, ops=()),
                5: Node(id=5, target=Target("O0", "do", "k2"), kind=Kind.EXCLUSIVE, ops=(), idempotency="r4"),
                6: Node(id=6, target=Target("W0", "run", "w6"), kind=Kind.WORKFLOW, ops=()),
                7: Node(id=7, target=Target("O0", "do", "k2"), kind=Kind.EXCLUSIVE, ops=()),
                8: Node(
                    id=8,
                    target=Target("O2", "do", "k1"),
                    kind=Kind.EXCLUSIVE,
                    ops=(Op(kind="invoke", n=200, node=9, how="send"),),
                ),
                9: Node(id=9, target=Target("O0", "look", "k0"), kind=Kind.SHARED, ops=()),
                15: Node(id=15, target=Target("O1", "do", "k0"), kind=Kind.EXCLUSIVE, ops=()),
                16: Node(
                    id=16,
                    target=Target("S2", "do"),
                    kind=Kind.SERVICE,
                    ops=(
                        Op(
                            kind="all",
                            branches=(
                                (Op(kind="awakeable", n=5000, times=1),),
                                (Op(kind="step", name="a", n=1000),),
                                (Op(kind="signal", n=5000, times=2),),
                            ),
                        ),
                    ),
                ),
                17: Node(
                    id=17,
                    target=Target("O0", "look", "k0"),
                    kind=Kind.SHARED,
                    ops=(Op(kind="get", name="c"), Op(kind="invoke", node=18, how="send")),
                ),
                18: Node(
                    id=18,
                    target=Target("S1", "do"),
                    kind=Kind.SERVICE,
                    ops=(
                        Op(
                            kind="select",
                            branches=(
                                (Op(kind="step", name="a", n=1000),),
                                (Op(kind="invoke", node=19, how="caught"),),
                            ),
                        ),
                    ),
                ),
                19: Node(id=19, target=Target("O0", "do", "k2"), kind=Kind.EXCLUSIVE, ops=()),
                20: Node(
                    id=20, target=Target("S1", "do"), kind=Kind.SERVICE, ops=(Op(kind="invoke", node=21, how="send"),)
                ),
                21: Node(
                    id=21,
                    target=Target("O0", "do", "k0"),
                    kind=Kind.EXCLUSIVE,
                    ops=(Op(kind="invoke", node=22, how="glance"),),
                ),
                22: Node(id=22, target=Target("S1", "do"), kind=Kind.SERVICE, ops=()),
                23: Node(
                    id=23,
                    target=Target("O2", "do", "k1"),
                    kind=Kind.EXCLUSIVE,
                    ops=(Op(kind="invoke", node=24, how="send"),),
                ),
                24: Node(id=24, target=Target("O2", "do", "k1"), kind=Kind.EXCLUSIVE, ops=()),
                25: Node(
                    id=25,
                    target=Target("O2", "do", "k1"),
                    kind=Kind.EXCLUSIVE,
                    ops=(Op(kind="invoke", node=26, how="join"),),
                ),
                26: Node(id=26, target=Target("S0", "do"), kind=Kind.SERVICE, ops=()),
            },
            roots=(
                Root(node=0, how="send", at=(0.016157,), patience=8.0),
                Root(node=1, how="send", at=(0.049989,), patience=8.0),
                Root(node=2, how="call", at=(0.032576,), patience=2.0),
                Root(node=3, how="call", at=(0.048759,), patience=0.5),
                Root(node=5, how="call", at=(0.045261, 0.025441, 0.049865), patience=0.5),
                Root(node=6, how="call", at=(0.043165,), delay=200, patience=2.0),
                Root(node=7, how="call", at=(0.016355,), delay=1, patience=2.0),
                Root(node=8, how="call", at=(0.036204,), patience=2.0),
                Root(node=15, how="call", at=(0.041287,), patience=2.0),
                Root(node=16, how="call", at=(0.003423,), patience=8.0),
                Root(node=17, how="send", at=(0.002141,), patience=2.0),
                Root(node=20, how="call", at=(0.013594,), patience=8.0),
                Root(node=23, how="call", at=(0.032731,), patience=2.0),
                Root(node=25, how="send", at=(0.015249,), delay=1500, patience=8.0),
            ),
            deploys=((1, 0.619093), (2, 3.479023)),
            tangled=True,
        ),
        faults=Faults(jitter=0.2),
        lambdas=0.0,
        part=700,
        front=5,
    ),
}
