"""What the attributes of items hold: values to DynamoDB's types or to text, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from adapter.engine.awaiting import Awaiting, Leaf, Node
from adapter.engine.journal import pack, unpack
from adapter.engine.records import Calling, Copied, Parent, Ref
from adapter.engine.types import Failure, Kind, Outcome, Target


def write_outcome(outcome: Outcome) -> dict[str, Any]:
    """Return ``{value}``, or ``{code, message}``, with ``metadata`` and ``reason`` if there are any, or nothing."""
    if outcome.failure is None:
        return {"value": {"B": outcome.value}} if outcome.value is not None else {}
    failure: dict[str, Any] = {"code": {"N": str(outcome.failure.code)}, "message": {"S": outcome.failure.message}}
    if outcome.failure.metadata:
        failure["metadata"] = {"M": {name: {"S": text} for name, text in outcome.failure.metadata.items()}}
    if outcome.failure.reason:
        failure["reason"] = {"S": outcome.failure.reason}
    return failure


def read_outcome(value: dict[str, Any]) -> Outcome:
    if "code" in value:
        metadata = {name: text["S"] for name, text in value.get("metadata", {"M": {}})["M"].items()}
        reason = value.get("reason", {"S": ""})["S"]
        return Outcome(failure=Failure(int(value["code"]["N"]), value["message"]["S"], metadata, reason))
    return Outcome(value["value"]["B"]) if "value" in value else Outcome()


def write_state(state: dict[str, bytes]) -> dict[str, Any]:
    """Return binary values by their names."""
    return {name: {"B": data} for name, data in state.items()}


def read_state(value: dict[str, Any]) -> dict[str, bytes]:
    return {name: data["B"] for name, data in value.items()}


def write_target(target: Target) -> str:
    """``service/handler`` or ``service/handler/key``.

    No service's or handler's name has a slash, but a promise's may, which stands in the handler's place.

    >>> write_target(Target("SignUp", "code/100%", "Mary/Smith"))
    'SignUp/code%2F100%25/Mary/Smith'
    """
    handler = target.handler.replace("%", "%25").replace("/", "%2F")
    return "/".join((target.service, handler) if target.key is None else (target.service, handler, target.key))


def read_target(text: str) -> Target:
    service, handler, *key = text.split("/", 2)
    return Target(service, handler.replace("%2F", "/").replace("%25", "%"), *key)


def write_ref(ref: Ref) -> str:
    return f"{ref.id}#{ref.generation}"


def read_ref(text: str) -> Ref:
    id, generation = text.split("#")
    return Ref(id, generation)


def write_parent(parent: Parent) -> str:
    return _json([*parent.ref, parent.command, parent.service, parent.deployment])


def read_parent(text: str) -> Parent:
    id, generation, *rest = json.loads(text)
    return Parent(Ref(id, generation), *rest[:3])  # earlier code wrote one value more


def write_headers(headers: Mapping[str, str]) -> str:
    return _json(dict(headers))


def read_headers(text: str) -> dict[str, str]:
    headers = json.loads(text)
    if not isinstance(headers, dict):
        raise ValueError(f"no headers: {text[:80]}")
    return cast("dict[str, str]", headers)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def write_awaiting(awaiting: Awaiting) -> str:
    """Return what an invocation waits for as JSON.

    A node is a list of its ``all`` and its parts. A leaf is a list of its kind, ranges, id and time.

    >>> write_awaiting(Awaiting(3, Node(True, (Leaf("call", (0, 4)), Leaf("sleep", (5, 5), until=7)))))
    '[3,true,[["call",[0,4]],["sleep",[5,5],"",7]]]'
    """
    return _json([awaiting.counted, *_write_node(awaiting.root)])


def _write_node(node: Node) -> list[Any]:
    return [node.all, [_write_leaf(part) if isinstance(part, Leaf) else _write_node(part) for part in node.parts]]


def _write_leaf(leaf: Leaf) -> list[Any]:
    values = [leaf.kind, leaf.ranges, leaf.id, leaf.until]
    return values if leaf.until is not None else values[:3] if leaf.id else values[:2]


def write_calling(calling: Calling) -> str:
    """Return a call as a list.

    >>> write_calling(Calling(3, "g", Target("Greeter", "greet"), Kind.SERVICE, 1700000000000, {}, b"[1]"))
    '[3,"g","Greeter/greet","service",1700000000000,{},"[1]"]'
    """
    target, headers, input = write_target(calling.target), dict(calling.headers), pack(calling.input)
    return _json([calling.command, calling.generation, target, calling.kind, calling.created, headers, input])


def read_calling(text: str) -> Calling:
    command, generation, target, kind, created, headers, input = json.loads(text)
    input = unpack(input) or b""
    return Calling(int(command), generation, read_target(target), Kind(kind), int(created), dict(headers), input)


def write_copied(copied: tuple[Copied, ...]) -> str:
    return _json([[each.before, *each.ref] for each in copied])


def read_copied(text: str) -> tuple[Copied, ...]:
    return tuple(Copied(int(before), Ref(id, generation)) for before, id, generation in json.loads(text))


def read_awaiting(text: str) -> Awaiting:
    counted, all, parts = json.loads(text)
    return Awaiting(int(counted), _read_node(all, parts))


def _read_node(all: Any, parts: Any) -> Node:
    return Node(
        bool(all), tuple(_read_node(*part) if isinstance(part[0], bool) else _read_leaf(*part) for part in parts)
    )


def _read_leaf(kind: str, ranges: Sequence[int], id: str = "", until: int | None = None) -> Leaf:
    return Leaf(kind, tuple(map(int, ranges)), id, until)


def read_awaits(text: str) -> Awaiting:
    """Return the invocations that one waits for, as the first code of this layout stored them.

    >>> read_awaits('[1,true,["inv_x"],[0],[1,19]]').root.parts
    (Leaf(kind='call', ranges=(0, 0), id='inv_x', until=None), Leaf(kind='call', ranges=(1, 19), id='', until=None))
    """
    counted, all, ids, commands, *calls = json.loads(text)
    named = [Leaf("call", (n, n), id) for id, n in zip(ids, commands, strict=True)]
    return Awaiting(int(counted), Node(bool(all), (*named, *(Leaf("call", tuple(ranges)) for ranges in calls))))
