"""The checks can fail: each is shown what it is there to find."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from adapter.engine.records import Head, InboxEntry, Meta, Record, Ref, Status
from adapter.engine.types import Kind, ObjectKey, Target
from tests.chaos.checks import Evidence, check, repeated
from tests.chaos.functions.bank import OPENING
from tests.chaos.functions.shop import NOWHERE, STOCK, TILL
from tests.chaos.load import TOO_MUCH, Asked
from tests.chaos.watch import Event, Ran, Recorded


def asked(kind: str, id: str, input: dict[str, Any], status: int = 200) -> Asked:
    return Asked(kind, id, f"/{kind}", input, invocation=f"inv_{id}", accepted=1, ended=2, status=status, tries=1)


def transfer(cents: int) -> dict[str, Any]:
    return {"source": "a", "target": "b", "cents": cents}


def order(country: str) -> dict[str, Any]:
    return {"customer": "a", "sku": "chair", "quantity": 2, "cents": 7, "country": country}


def step(id: str, name: str) -> list[Event]:
    return [Ran(f"inv_{id}", name, 1), Recorded(f"inv_{id}", name)]


META = Meta("inv_t1", "g", Target("Transfers", "transfer"), Kind.SERVICE, Status.COMPLETED, 1)
HEAD = Head(ObjectKey("Account", "a"), version=4)

GOOD = Evidence(
    asked=[
        asked("transfer", "t1", transfer(100)),
        asked("transfer", "t2", transfer(TOO_MUCH), 402),
        asked("standing order", "s1", transfer(10)),
        asked("order", "o1", order("DE")),
        asked("order", "o2", order(NOWHERE), 422),
        *(asked("turn", f"n{n}", {"key": "north"}, status) for n, status in enumerate((200, 200, 0))),
    ],
    balances={"a": OPENING - 117, "b": OPENING + 110, TILL: OPENING + 7},
    stock={"chair": STOCK - 2},
    counts={"north": 2},
    records=[META, HEAD],
    events=[
        *step("t1", "advise"),
        Ran("inv_s1", "advise", 1),  # it crashed
        *step("s1", "advise"),
        *step("o1", "pack"),
        *step("o1", "ship"),
        *step("o2", "pack"),
        *step("o2", "ship"),
        *step("o2", "unpack"),
    ],
)


def having(*further: Record) -> Evidence:
    return replace(GOOD, records=[*GOOD.records, *further])


def instead(n: int, **changes: Any) -> Evidence:
    requests = list(GOOD.asked)
    requests[n] = replace(requests[n], **changes)
    return replace(GOOD, asked=requests)


def without(event: Event) -> Sequence[Event]:
    return [each for each in GOOD.events if each != event]


def test_nothing_is_wrong_with_what_is_right() -> None:
    assert check(GOOD) == []
    assert repeated(GOOD.events) == 1


BAD = {
    "t1 was accepted as inv_t1 and has no result": instead(0, ended=0, status=0),
    "t1 was not accepted and has no result": instead(0, invocation="", ended=0, status=0),
    "t1 ends with 404": instead(0, status=404),
    "t2 ends with 200": instead(1, status=200),
    "o2 ends with 200": instead(4, status=200),
    "there are 2999 cents": replace(GOOD, balances={**GOOD.balances, "b": OPENING + 109}),
    # It was carried out twice: nothing is made or lost, and it is wrong all the same.
    "a has 783 cents": replace(GOOD, balances={"a": OPENING - 217, "b": OPENING + 210, TILL: OPENING + 7}),
    "497 of chair are left": replace(GOOD, stock={"chair": STOCK - 3}),
    "north has counted 1": replace(GOOD, counts={"north": 1}),
    "north has counted 4": replace(GOOD, counts={"north": 4}),
    "stays running": having(replace(META, status=Status.RUNNING)),
    "stays paused": having(replace(META, status=Status.PAUSED)),
    "stays locked by": having(replace(HEAD, owner=Ref("inv_t1", "g"))),
    "stays in the inbox": having(InboxEntry(HEAD.key, "3", Ref("inv_t1", "g"))),
    "ran in process 2 after its result": replace(GOOD, events=[*GOOD.events, Ran("inv_t1", "advise", 2)]),
    "of its steps ran ['pack']": replace(GOOD, events=without(Ran("inv_o1", "ship", 1))),
    "of its steps was recorded ['pack']": replace(GOOD, events=without(Recorded("inv_o1", "ship"))),
    "of its steps ran ['pack', 'ship']": replace(GOOD, events=without(Ran("inv_o2", "unpack", 1))),
    "ran ['pack', 'ship', 'unpack']": replace(GOOD, events=[*GOOD.events, *step("o1", "unpack")]),
}


@pytest.mark.parametrize("found", BAD)
def test_what_is_wrong_is_found(found: str) -> None:
    assert any(found in each for each in check(BAD[found])), check(BAD[found])
