"""Cases that once failed, made smaller, each with what was wrong.

They are kept as what is to happen, not as seeds: a seed stands for something else once the generator changes. Each is
run in several orders of things.
"""

from __future__ import annotations

from adapter.engine.types import Kind, Target
from tests.simulation.faults import Faults
from tests.simulation.key_regressions import KEYS
from tests.simulation.plan import Node, Op, Plan, Root
from tests.simulation.run import Case

REGRESSIONS = {
    **KEYS,
    "who waited for a call and a signal waited for the call alone by then, and its ring was not seen": Case(
        seed="243",
        plan=Plan(
            functions={"O0": 0, "O1": 1},
            nodes={
                1: Node(
                    1,
                    Target("O1", "do", "k0"),
                    Kind.EXCLUSIVE,
                    (
                        Op(
                            "all",
                            branches=((Op("invoke", node=2, how="caught"),), (Op("signal", n=500, times=1),)),
                        ),
                    ),
                ),
                2: Node(2, Target("O0", "do", "k0"), Kind.EXCLUSIVE, (Op("invoke", node=3, how="caught"),)),
                3: Node(3, Target("O1", "do", "k0"), Kind.EXCLUSIVE, ()),
            },
            roots=(Root(1, "send", (0.0,)),),
            tangled=True,
        ),
        faults=Faults(),
        lambdas=0.0,
    ),
    "a call that nobody waited for led to the key of one of its callers: a deadlock that was none": Case(
        seed="5001312",
        plan=Plan(
            functions={"S0": 0, "O0": 0, "W0": 0, "S1": 1, "O1": 1, "W1": 1, "S2": 2, "O2": 2, "W2": 2},
            nodes={
                16: Node(
                    id=16,
                    target=Target(service="S2", handler="do"),
                    kind=Kind.SERVICE,
                    ops=(Op(kind="invoke", node=21, how="call"),),
                    idempotency="r0",
                    pad=900,
                ),
                21: Node(
                    id=21,
                    target=Target(service="O1", handler="do", key="k1"),
                    kind=Kind.EXCLUSIVE,
                    ops=(Op(kind="select", branches=((Op(kind="invoke", node=24, how="caught"),),)),),
                ),
                24: Node(
                    id=24,
                    target=Target(service="S1", handler="do"),
                    kind=Kind.SERVICE,
                    ops=(Op(kind="invoke", node=25, how="forget"),),
                ),
                25: Node(
                    id=25,
                    target=Target(service="O1", handler="look", key="k0"),
                    kind=Kind.SHARED,
                    ops=(Op(kind="invoke", node=27, how="call"),),
                ),
                27: Node(id=27, target=Target(service="O1", handler="do", key="k1"), kind=Kind.EXCLUSIVE, ops=()),
            },
            roots=(Root(node=16, how="call", at=(4.9,), patience=8.0),),
            tangled=True,
        ),
        faults=Faults(),
        lambdas=0.0,
    ),
    "pieces of a large journal were put before its invocation had a record; it had to wait, and then met them": Case(
        seed="8002555",
        plan=Plan(
            functions={"O0": 0, "W0": 0},
            nodes={
                8: Node(8, Target("O0", "do", "k1"), Kind.EXCLUSIVE, (Op("invoke", node=9, how="caught"),)),
                9: Node(9, Target("W0", "run", "w9"), Kind.WORKFLOW, (), pad=4000),
                62: Node(62, Target("O0", "do", "k1"), Kind.EXCLUSIVE, ()),
            },
            roots=(Root(8, "call", (0.0,), patience=2.0), Root(62, "call", (0.0,))),
        ),
        faults=Faults(jitter=0.002),
        lambdas=0.0,
        part=700,
    ),
    "a session ended with a commit in several parts, and the invocation that it had begun to run between two of them "
    "was left to its lease": Case(
        seed="156",
        plan=Plan(
            functions={f"{letter}{number}": number for number in range(2) for letter in "SOW"},
            nodes={
                9: Node(9, Target("O0", "do", "k0"), Kind.EXCLUSIVE, ()),
                10: Node(10, Target("O0", "do", "k0"), Kind.EXCLUSIVE, ()),
                11: Node(11, Target("O0", "do", "k0"), Kind.EXCLUSIVE, ()),
                12: Node(12, Target("O0", "do", "k0"), Kind.EXCLUSIVE, ()),
                14: Node(14, Target("O0", "do", "k0"), Kind.EXCLUSIVE, ()),
                15: Node(15, Target("O0", "do", "k0"), Kind.EXCLUSIVE, ()),
                17: Node(17, Target("O0", "do", "k0"), Kind.EXCLUSIVE, ()),
                19: Node(19, Target("O0", "do", "k0"), Kind.EXCLUSIVE, ()),
            },
            roots=(
                Root(9, "call", (0.0874883886180382,), patience=8.0),
                Root(10, "call", (0.17650619373914556,), patience=28.0),
                Root(11, "call", (0.15380702578698124,), patience=28.0),
                Root(12, "send", (0.19829406293276908,), patience=8.0),
                Root(14, "call", (0.26628251435632055,), patience=8.0),
                Root(15, "call", (0.25434230924094203,), patience=8.0),
                Root(17, "call", (0.018914663841804957,), patience=28.0),
                Root(19, "call", (0.4276443889541828,), patience=28.0),
            ),
        ),
        faults=Faults(conflict=0.05),
        part=700,
        reach=("crowd",),
        lambdas=0.0,
    ),
}
