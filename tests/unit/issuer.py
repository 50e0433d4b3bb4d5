"""An issuer that answers at once, for tests of contexts without the engine."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from random import Random
from typing import Any, TypeVar, overload

from adapter.engine import commands as c
from adapter.engine.records import Ref
from adapter.engine.types import Kind, Target
from adapter.errors import TerminalError
from adapter.operations import Awakeable, Invocation, Operation

T = TypeVar("T")


class Answer(Invocation[T], Awakeable[T]):
    def __init__(self, id: str, resolve: Callable[[], Any], decode: Callable[[bytes | None], T]) -> None:
        self._id = id
        self._resolve = resolve
        self._decode = decode
        self.cancelled = False

    @property
    def done(self) -> bool:
        return True

    @property
    def id(self) -> str:
        return self._id

    def cancel(self) -> Operation[bool]:
        self.cancelled = True
        return Answer("", lambda: True, bool)

    def __await__(self) -> Generator[Any, None, T]:
        return self._result().__await__()

    async def _result(self) -> T:
        value = self._resolve()
        if hasattr(value, "__await__"):
            value = await value
        if isinstance(value, TerminalError):
            raise value
        return self._decode(value)


class FakeIssuer:
    """Keeps what was issued in ``commands``; state is real, other results come from ``results``, by command type."""

    def __init__(self, kind: Kind = Kind.SERVICE, key: str | None = None) -> None:
        self.id = "inv_test"
        self.ref = self.origin = Ref(self.id, "generation")
        self.failures = 0
        self.failing_since: int | None = None
        self.recalling = False
        self.target = Target("Test", "test", key)
        self.kind = kind
        self.headers: dict[str, str] = {"trace": "1"}
        self.idempotency_key: str | None = "order 7"
        self.replaying = False
        self.random = Random("inv_test")
        self.commands: list[c.Command] = []
        self.state: dict[str, bytes] = {}
        self.results: dict[type, Any] = {c.Now: b"1700000000123"}

    @overload
    def issue(self, command: c.Call | c.Send, decode: Callable[[bytes | None], T]) -> Invocation[T]: ...
    @overload
    def issue(self, command: c.Awakeable, decode: Callable[[bytes | None], T]) -> Awakeable[T]: ...
    @overload
    def issue(self, command: c.Command, decode: Callable[[bytes | None], T]) -> Operation[T]: ...
    def issue(self, command: c.Command, decode: Callable[[bytes | None], T]) -> Operation[T]:
        self.commands.append(command)
        value: Any = self.results.get(type(command))
        match command:
            case c.GetState(name):
                value = self.state.get(name)
            case c.SetState(name, data):
                self.state[name] = data
            case c.ClearState(name):
                self.state.pop(name, None)
            case c.ClearAllState():
                self.state.clear()
            case c.StateKeys():
                value = json.dumps(sorted(self.state)).encode()
            case _:
                pass
        resolve = command.closure if isinstance(command, c.Run) else lambda: value
        return Answer(f"inv_{len(self.commands)}", resolve, decode)
