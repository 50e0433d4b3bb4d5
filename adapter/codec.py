"""Encodes what is stored: inputs, outputs, results of steps, state, and what awakeables, promises and signals deliver.

A codec turns bytes into bytes, for example to encrypt them. It is applied where handler code and requests from outside
meet the engine. The engine, the admin and the logs have only what is encoded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from adapter.engine.commands import READY, Call, Complete, CompletePromise, Issuer, Run, Send, SendSignal, SetState
from adapter.engine.deployment import HandlerSpec
from adapter.engine.types import ENCODED, Outcome
from adapter.errors import UnreadableError
from adapter.forwarding import IssuerProxy


class Codec(Protocol):
    """Turns bytes into other bytes and back. Derive from it, or define its members.

    The encoded bytes have to name the key that they need, so that keys can be changed while old values are stored.
    """

    def encode(self, data: bytes, /) -> bytes:
        """Encode bytes, before they are stored."""
        ...

    def decode(self, data: bytes, /) -> bytes:
        """Decode what `encode` returned.

        Raises:
            Exception: If that is not possible. The attempt fails, and is retried.
        """
        ...


class Coder:
    """Applies a codec, if there is one, and marks what is encoded. Values from before there was one stay readable."""

    def __init__(self, codec: Codec | None) -> None:
        self._codec = codec

    def encode(self, data: bytes) -> bytes:
        """Encode bytes that are not empty: the empty body stands for ``None``, or for a default."""
        return ENCODED + self._codec.encode(data) if self._codec is not None and data else data

    def decode(self, data: bytes) -> bytes:
        """Decode bytes if they are marked as encoded.

        Raises:
            UnreadableError: If they cannot be decoded.
        """
        if not data.startswith(ENCODED):
            return data
        if self._codec is None:
            raise UnreadableError("a stored value is encoded: pass the codec that encoded it, as codec=")
        try:
            return self._codec.decode(data.removeprefix(ENCODED))
        except Exception as error:
            raise UnreadableError(f"a stored value cannot be decoded: {type(error).__name__}") from error

    def outcome(self, outcome: Outcome) -> Outcome:
        """Encode the value of an outcome, if it has one."""
        return outcome if outcome.value is None else Outcome(self.encode(outcome.value))

    def command(self, command: Any) -> Any:
        """Encode what a command contains."""
        match command:
            case Call() | Send():
                return replace(command, input=self.encode(command.input))
            case SetState():
                return replace(command, value=self.encode(command.value))
            case Complete() | CompletePromise() | SendSignal():
                return replace(command, outcome=self.outcome(command.outcome))
            case Run(state=state):
                closure = command.closure

                async def encoded() -> bytes:
                    if state is not None:
                        state.entries = {name: self.decode(value) for name, value in state.entries.items()}
                    return self.encode(await closure())

                return replace(command, closure=encoded)
            case _:
                return command

    def result(self, decode: Callable[[bytes | None], Any]) -> Callable[[bytes | None], Any]:
        """Return a function that decodes a command's result before it is read."""

        def decoded(data: bytes | None) -> Any:
            if data is not None and data.startswith(READY + ENCODED):
                return decode(READY + self.decode(data.removeprefix(READY)))
            return decode(None if data is None else self.decode(data))

        return decoded

    def handler(self, spec: HandlerSpec) -> HandlerSpec:
        """Return a handler whose input and output, and whatever its code issues, are encoded."""
        if self._codec is None:
            return spec

        async def execute(issuer: Issuer, input: bytes) -> bytes:
            return self.encode(await spec.execute(CodedIssuer(issuer, self), self.decode(input)))

        return replace(spec, execute=execute)


class CodedIssuer(IssuerProxy):
    """An attempt whose commands are encoded, and whose results are decoded."""

    def __init__(self, issuer: Issuer, coder: Coder) -> None:
        super().__init__(issuer)
        self._coder = coder

    def issue(self, command: Any, decode: Callable[[bytes | None], Any]) -> Any:
        """Issue an encoded command."""
        return super().issue(self._coder.command(command), self._coder.result(decode))
