"""What must be true when all is over, of the answers that clients got and of what is stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from adapter.engine.records import Head, InboxEntry, Meta, Record
from tests.chaos.functions.bank import OPENING, POOR
from tests.chaos.functions.shop import NOWHERE, SOLD_OUT, STOCK, TILL, UNDELIVERABLE
from tests.chaos.load import TOO_MUCH, Asked
from tests.chaos.watch import Event, Ran, Recorded


@dataclass(frozen=True)
class Evidence:
    """What is known."""

    asked: Sequence[Asked]
    balances: Mapping[str, int]
    stock: Mapping[str, int]
    counts: Mapping[str, int]
    """What the turnstiles have counted."""
    records: Sequence[Record]
    """What is in both tables."""
    events: Sequence[Event]


def check(evidence: Evidence) -> list[str]:
    """What is wrong."""
    return [
        *completed(evidence.asked),
        *answered(evidence.asked),
        *money(evidence.asked, evidence.balances),
        *pieces(evidence.asked, evidence.stock),
        *turns(evidence.asked, evidence.counts),
        *settled(evidence.records),
        *steps(evidence.events),
        *performed(evidence.asked, evidence.events),
    ]


def completed(asked: Iterable[Asked]) -> Iterator[str]:
    """Every request has a result, the accepted ones and, as the clients insist, the others."""
    for one in asked:
        if not one.ended:
            state = f"accepted as {one.invocation}" if one.invocation else "not accepted"
            yield f"{one.kind} {one.id} was {state} and has no result after {one.tries} tries: {one.trouble}"


def answered(asked: Iterable[Asked]) -> Iterator[str]:
    """Each has one of the results that it can have."""
    for one in asked:
        if not one.ended:
            continue
        if one.kind == "turn":
            possible = {200, 0}
        elif one.kind != "order":
            possible = {POOR} if one.input["cents"] == TOO_MUCH else {200, POOR}
        elif one.input["country"] == NOWHERE:
            possible = {UNDELIVERABLE, POOR, SOLD_OUT}
        else:
            possible = {200, POOR, SOLD_OUT}
        if one.status not in possible:
            yield f"{one.kind} {one.id} ends with {one.status}: {one.trouble}"


def money(asked: Iterable[Asked], balances: Mapping[str, int]) -> Iterator[str]:
    """None is made or lost, and every account has what the answers say."""
    expected = dict.fromkeys(balances, OPENING)
    for one in asked:
        if one.status == 200 and one.kind != "turn":
            order = one.kind == "order"
            source, target = (one.input["customer"], TILL) if order else (one.input["source"], one.input["target"])
            expected[source] -= one.input["cents"]
            expected[target] += one.input["cents"]
    if sum(balances.values()) != OPENING * len(balances):
        yield f"there are {sum(balances.values())} cents, and there were {OPENING * len(balances)}"
    for account, balance in balances.items():
        if balance != expected[account]:
            yield f"{account} has {balance} cents; by what clients were told it is {expected[account]}"


def pieces(asked: Iterable[Asked], stock: Mapping[str, int]) -> Iterator[str]:
    """What was sold is gone, and nothing else."""
    sold: Counter[str] = Counter()
    for one in asked:
        if one.status == 200 and one.kind == "order":
            sold[one.input["sku"]] += one.input["quantity"]
    for sku, left in stock.items():
        if left != STOCK - sold[sku]:
            yield f"{left} of {sku} are left; of {STOCK}, {sold[sku]} were sold"


def turns(asked: Iterable[Asked], counts: Mapping[str, int]) -> Iterator[str]:
    """Each turn that was answered was counted, and none twice."""
    answered, unknown = Counter[str](), Counter[str]()
    for one in asked:
        if one.kind == "turn":
            (answered if one.status == 200 else unknown)[one.input["key"]] += 1
    for key, count in counts.items():
        if not answered[key] <= count <= answered[key] + unknown[key]:
            yield f"{key} has counted {count}; {answered[key]} were answered, and of {unknown[key]} nobody knows"


def settled(records: Iterable[Record]) -> Iterator[str]:
    """Nothing is under way any more, and no key has an owner or anybody who waits."""
    for record in records:
        match record:
            case Meta() if record.live and record.id.startswith("inv_"):
                yield f"{record.id} ({record.target}) stays {record.status}: {record.error}"
            case Head() if record.owner is not None:
                yield f"{record.key} stays locked by {record.owner}"
            case InboxEntry():
                yield f"{record.ref.id} stays in the inbox of {record.key}"
            case _:
                pass


def steps(events: Iterable[Event]) -> Iterator[str]:
    """No step runs again whose result is recorded."""
    recorded: set[tuple[str, str]] = set()
    for event in events:
        step = (event.invocation, event.step)
        if isinstance(event, Recorded):
            recorded.add(step)
        elif step in recorded:
            yield f"step {event.step!r} of {event.invocation} ran in process {event.pid} after its result was recorded"


def performed(asked: Iterable[Asked], events: Iterable[Event]) -> Iterator[str]:
    """What was to be done outside was done, and its result recorded; what was to be undone was undone."""
    events = list(events)
    ran = {(event.invocation, event.step) for event in events if isinstance(event, Ran)}
    recorded = {(event.invocation, event.step) for event in events if isinstance(event, Recorded)}
    for one in asked:
        expected: set[str] = set()
        if one.status == 200 and one.kind != "turn":
            expected = {"pack", "ship"} if one.kind == "order" else {"advise"}
        elif one.status == UNDELIVERABLE:
            expected = {"pack", "ship", "unpack"}
        for what, found in (("ran", ran), ("was recorded", recorded)):
            steps = {step for step in ("advise", "pack", "ship", "unpack") if (one.invocation, step) in found}
            if one.ended and steps != expected:
                yield f"{one.kind} {one.id} ended with {one.status}, and of its steps {what} {sorted(steps)}"


def repeated(events: Iterable[Event]) -> int:
    """How often a step ran again, since a crash came before its result was recorded."""
    runs = Counter((event.invocation, event.step) for event in events if isinstance(event, Ran))
    return sum(count - 1 for count in runs.values())
