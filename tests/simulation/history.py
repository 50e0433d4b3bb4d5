"""What happened in a simulation, to be read."""

from __future__ import annotations

import re
from typing import Any

from adapter.engine.ports import Conflict, Create, Delete, Finish, Page, Put, Update, WriteHead
from adapter.engine.records import Head, InboxEntry, JournalSegment, Meta, Notification, Ref
from adapter.engine.types import ObjectKey
from tests.simulation.plan import Op, Plan
from tests.simulation.run import Result

ID = re.compile(r"inv_[a-z2-7]{32}")


class _Names:
    """Short names for ids, in the order in which they turn up."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def __call__(self, text: str) -> str:
        return ID.sub(lambda match: self._names.setdefault(match[0], f"i{len(self._names)}"), text)


def show(result: Result) -> None:
    """Print a case and what happened in it."""
    names = _Names()
    case = result.case
    print(f"seed {case.seed}: faults {case.faults}, lambdas {case.lambdas}")
    print(plan(case.plan))
    for at, process, *what in result.history:
        print(names(f"{at:10.3f} {process:4} {' '.join(_text(part) for part in what)}"[:1500]))
    for violation in result.violations:
        print(names(f"VIOLATION {violation}"))


def plan(plan: Plan) -> str:
    """A plan as text."""
    lines = [f"services {plan.functions}", *(f"root {root}" for root in plan.roots)]
    lines += [*(str(act) for act in plan.acts), *(f"deploys {function} at {at}" for function, at in plan.deploys)]
    lines += [f"{service}: {limit}" for service, limit in plan.limits.items()]
    for node in plan.nodes.values():
        key = f" as {node.idempotency}" if node.idempotency else ""
        lines.append(f"node {node.id}: {node.target} ({node.kind}){key}: {'; '.join(_op(op) for op in node.ops)}")
    return "\n".join(lines)


def _op(op: Op) -> str:
    text = op.kind
    for name in ("name", "n", "times", "how", "size"):
        if getattr(op, name):
            text += f" {name}={getattr(op, name)}" if name != "how" else f" {op.how}"
    if op.node >= 0:
        text += f" node {op.node}"
    if op.branches:
        text += " [" + " | ".join("; ".join(_op(inner) for inner in branch) for branch in op.branches) + "]"
    return text


def _text(part: Any) -> str:
    match part:
        case Create(meta):
            return f"create({_text(meta)})"
        case Update(ref):
            conditions = " ".join(
                f"{name}={getattr(part, name)}"
                for name in ("epoch", "notifications", "waiters", "due", "status")
                if getattr(part, name) is not None
            )
            return f"update({ref.id} set {_values(part.set)} add {dict(part.add)} if {conditions})"
        case Finish(ref):
            return f"finish({ref.id} set {_values(part.set)})"
        case Put(item):
            return f"put({_text(item)})"
        case Delete(item):
            return f"delete({_text(item)})"
        case WriteHead(head):
            return (
                f"write({_text(head)} if version={part.version} owner={part.owner and part.owner.id}"
                f" empty={part.empty})"
            )
        case Meta():
            due = f" due={part.due % 10_000_000}" if part.due is not None else ""
            return (
                f"{part.id} {part.target} {part.status} epoch={part.epoch}{due} wake_after={part.wake_after} "
                f"notes={part.notifications} ticket={part.ticket} input={part.input!r}"
            )
        case Head():
            owner = part.owner.id if part.owner else None
            state = {name: value[:30] for name, value in part.state.items()}
            return f"{part.key} v{part.version} owner={owner} queued={part.queued} {state}"
        case JournalSegment():
            return f"j{part.index} {part.data}"
        case Notification():
            return f"{part.to.id} {part.id}={part.outcome.value!r} {part.outcome.failure or ''}"
        case InboxEntry():
            return f"{part.key}#{part.ticket} {part.ref.id}"
        case Ref() | ObjectKey():
            return str(part.id) if isinstance(part, Ref) else str(part)
        case Conflict():
            return f"CONFLICT { ({place: _text(found) for place, found in part.found.items()}) }"
        case Page():
            return f"page({_text(part.meta)}; {[p.data for p in part.segments]}; {[n.id for n in part.notifications]})"
        case tuple() | list():
            return "(" + ", ".join(_text(inner) for inner in part) + ")"
        case dict():
            return _values(part)
        case _:
            return str(part)


def _values(values: Any) -> str:
    return "{" + ", ".join(f"{name}: {_text(value)}" for name, value in values.items()) + "}"
