"""What programs are given and give, and what stands for it in a trace."""

from __future__ import annotations

import hashlib
from typing import Any

from pydantic_core import from_json, to_json

from tests.simulation.plan import Node


class Hiccup(Exception):
    """A failure that passes."""


class Unprintable(Hiccup):
    """A failure that passes, and that has no text."""

    def __str__(self) -> str:
        raise ValueError("no text")


def digest(value: Any) -> str:
    """A value, or what stands for it in a trace."""
    text = to_json(value).decode()
    return text if len(text) <= 24 else hashlib.sha1(text.encode()).hexdigest()[:10]


def decode(data: bytes | None) -> Any:
    return from_json(data) if data else None


def encode(value: Any) -> bytes:
    return to_json(value)


def request(node: Node, seen: list[Any] | None = None, tell: list[str] | None = None) -> bytes:
    """The input that has a handler run the node, with what its caller has observed so far, and waits to be told."""
    body: dict[str, Any] = {"n": node.id}
    if tell is not None:
        body["tell"] = tell
    if seen is not None:
        body["t"] = [len(seen), digest(seen)]
    if node.pad:
        body["pad"] = "x" * node.pad
    return encode(body)
