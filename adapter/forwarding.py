"""Has the headers of a trace go along with what a handler calls and sends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from adapter.engine.commands import Call, Issuer, Send
from adapter.engine.records import Ref
from adapter.engine.types import TRACE_HEADERS, Headers, Kind, Target


class IssuerProxy:
    """An attempt, with the chance to change what it issues: override `issue`."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer

    @property
    def id(self) -> str:
        return self._issuer.id

    @property
    def ref(self) -> Ref:
        return self._issuer.ref

    @property
    def origin(self) -> Ref:
        return self._issuer.origin

    @property
    def failures(self) -> int:
        return self._issuer.failures

    @property
    def failing_since(self) -> int | None:
        return self._issuer.failing_since

    @property
    def target(self) -> Target:
        return self._issuer.target

    @property
    def kind(self) -> Kind:
        return self._issuer.kind

    @property
    def headers(self) -> Headers:
        return self._issuer.headers

    @property
    def idempotency_key(self) -> str | None:
        return self._issuer.idempotency_key

    @property
    def replaying(self) -> bool:
        return self._issuer.replaying

    @property
    def recalling(self) -> bool:
        return self._issuer.recalling

    @property
    def random(self) -> Random:
        return self._issuer.random

    def issue(self, command: Any, decode: Callable[[bytes | None], Any]) -> Any:
        """Pass a command on."""
        issuer: Any = self._issuer  # what overloads say of other arguments is of no use here
        return issuer.issue(command, decode)


class ForwardingIssuer(IssuerProxy):
    """An attempt whose calls and messages carry the headers of its own trace, unless they have others."""

    def issue(self, command: Any, decode: Callable[[bytes | None], Any]) -> Any:
        """Pass a command on, with the headers."""
        if not isinstance(command, Call | Send):
            return super().issue(command, decode)
        trace = {name: self.headers[name] for name in TRACE_HEADERS if name in self.headers}
        forwarded = replace(command, headers={**trace, **command.headers})
        return super().issue(forwarded, decode)
