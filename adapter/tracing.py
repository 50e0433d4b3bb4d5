"""Spans by OpenTelemetry, if the extra ``otel`` is installed and the application has set up a tracer provider.

An invocation's span begins where the invocation is made: with the HTTP request, or in the attempt that calls or sends.
Its context goes to the invocation as the header ``traceparent``, and is the parent of each attempt's span, in whichever
process that runs. Steps, and what they and the handler trace themselves, are in the span of their attempt.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

from opentelemetry import context, propagate, trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adapter.engine.attempt import Attempt
from adapter.engine.commands import Call, Issuer, Run
from adapter.engine.commands import Send as SendCommand
from adapter.engine.deployment import HandlerSpec
from adapter.engine.pending import Pending
from adapter.engine.types import Outcome
from adapter.errors import TerminalError
from adapter.forwarding import IssuerProxy

ID: Final = "adapter.invocation_id"
TARGET: Final = "adapter.target"
ATTEMPT: Final = "adapter.attempt"
OUTCOME: Final = "adapter.outcome"
STEP: Final = "adapter.step"
CODE: Final = "adapter.code"

_tracer: Final = trace.get_tracer("adapter")


def traced(spec: HandlerSpec) -> HandlerSpec:
    """Return a handler whose attempts, steps and calls have spans."""

    async def execute(issuer: Issuer, input: bytes) -> bytes:
        attributes: dict[str, Any] = {ID: issuer.id, TARGET: str(issuer.target)}
        if isinstance(issuer, Attempt):
            attributes[ATTEMPT] = max(1, issuer.meta.epoch)
        span = _tracer.start_span(
            f"{spec.service}/{spec.name}", propagate.extract(issuer.headers), SpanKind.SERVER, attributes
        )
        # Never detached: the task has a context of its own, and may be closed from outside of it.
        context.attach(trace.set_span_in_context(span))
        traced_issuer = TracedIssuer(issuer)
        outcome = "suspended"
        try:
            output = await spec.execute(traced_issuer, input)
        except Exception as error:
            outcome = "failed"
            _fail(span, error)
            raise
        else:
            outcome = "completed"
            return output
        finally:
            traced_issuer.close()
            span.set_attribute(OUTCOME, outcome)
            span.end()

    return replace(spec, execute=execute)


class TracedIssuer(IssuerProxy):
    """An attempt whose calls, messages and steps have spans."""

    def __init__(self, issuer: Issuer) -> None:
        super().__init__(issuer)
        self._calls: list[Span] = []

    def issue(self, command: Any, decode: Callable[[bytes | None], Any]) -> Any:
        """Issue a command in a span. A replay issues what an earlier attempt did, which has its span already."""
        if isinstance(command, Run):
            closure = _traced_step(command.name, command.closure)
            return super().issue(replace(command, closure=closure), decode)
        if not isinstance(command, Call | SendCommand) or self.replaying:
            return super().issue(command, decode)
        called = isinstance(command, Call)
        span = _tracer.start_span(
            f"{'call' if called else 'send'} {command.target.service}/{command.target.handler}",
            kind=SpanKind.CLIENT if called else SpanKind.PRODUCER,
            attributes={TARGET: str(command.target)},
        )
        headers: dict[str, str] = {}
        propagate.inject(headers, trace.set_span_in_context(span))
        try:
            pending = super().issue(replace(command, headers={**headers, **command.headers}), decode)
            span.set_attribute(ID, pending.id)
        except BaseException:
            span.end()
            raise
        if called and isinstance(pending, Pending) and pending.outcome is None:
            self._calls.append(span)
            pending.on_result = lambda outcome: _end_call(span, outcome)
        else:
            span.end()
        return pending  # pyright: ignore[reportUnknownVariableType]

    def close(self) -> None:
        """End the spans of calls that have no result when the attempt ends."""
        for span in self._calls:
            if span.is_recording():
                span.end()


class TracedApp:
    """An ASGI app whose requests have spans, which are the parents of the invocations that they make."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        sent = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        # On Lambda, an instrumentation of the function may have begun a span already.
        parent = None if trace.get_current_span().get_span_context().is_valid else propagate.extract(sent)
        attributes = {"http.request.method": scope["method"], "url.path": scope["path"]}
        with _tracer.start_as_current_span(scope["method"], parent, SpanKind.SERVER, attributes) as span:
            headers: dict[str, str] = {}
            propagate.inject(headers)
            kept = [(name, value) for name, value in scope["headers"] if name.decode("latin-1") not in headers]
            added = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]

            async def watched(message: Message) -> None:
                if message["type"] == "http.response.start":
                    _describe(span, message)
                await send(message)

            return await self._app({**scope, "headers": [*kept, *added]}, receive, watched)


def flush() -> None:
    """Have the tracer provider export its spans: a Lambda process is frozen when it has answered."""
    force_flush = getattr(trace.get_tracer_provider(), "force_flush", None)
    if force_flush is not None:
        force_flush(1000)


def _traced_step(name: str, closure: Callable[[], Awaitable[bytes]]) -> Callable[[], Awaitable[bytes]]:
    async def traced_closure() -> bytes:
        with _tracer.start_as_current_span(f"step {name}", attributes={STEP: name}):
            return await closure()

    return traced_closure


def _fail(span: Span, error: Exception) -> None:
    span.record_exception(error)
    span.set_status(Status(StatusCode.ERROR, str(error)))
    if isinstance(error, TerminalError):
        span.set_attribute(CODE, error.code)


def _end_call(span: Span, outcome: Outcome) -> None:
    if outcome.failure is not None:
        span.set_status(Status(StatusCode.ERROR, outcome.failure.message))
        span.set_attribute(CODE, outcome.failure.code)
    span.end()


def _describe(span: Span, message: Message) -> None:
    status: int = message["status"]
    span.set_attribute("http.response.status_code", status)
    if status >= 500:
        span.set_status(Status(StatusCode.ERROR))
    for name, value in message.get("headers", []):
        if name == b"x-restate-id":
            span.set_attribute(ID, value.decode("latin-1"))
