"""What messages hold, as the engine's plain data."""

from __future__ import annotations

from adapter.engine.ids import idempotent_id, workflow_id
from adapter.engine.types import Failure, Headers, Outcome, Target
from adapter.errors import check_metadata, scopes_unsupported
from adapter.restate import messages as m


def content_of(value: m.Value | None) -> bytes:
    """Return a value's bytes. A value that is not given is empty."""
    return (value.content if value is not None else None) or b""


def text_of(key: bytes | None) -> str:
    """Return the name of a state entry. Bytes that are not UTF-8 are replaced.

    Only a read that the SDK has answered itself can have such a name. `adapter.restate.limits` refuses it elsewhere.
    """
    return (key or b"").decode(errors="replace")


def failure_of(failure: m.WireFailure) -> Failure:
    """Return a failure. A code that is no HTTP error status becomes 500. Metadata that is too large is left out."""
    code, message = failure.code or 500, failure.message or ""
    try:
        metadata = check_metadata({each.key or "": each.value or "" for each in failure.metadata})
    except ValueError as error:
        metadata, message = {}, f"{message} (its metadata is left out: {error})"
    return Failure(code if 400 <= code <= 599 else 500, message, metadata)


def outcome_of(value: m.Value | None, failure: m.WireFailure | None) -> Outcome:
    """Return an outcome: the failure if it is given, otherwise the value."""
    return Outcome(content_of(value)) if failure is None else Outcome(failure=failure_of(failure))


def request_of(command: m.Call | m.OneWayCall) -> tuple[Target, bytes, str | None, Headers]:
    """Return a request's target, input, idempotency key and headers.

    Raises:
        TerminalError: With code 501, if it has a scope or a limit key.
    """
    _refuse_scope(command.scope or command.limit_key)
    target = Target(command.service or "", command.handler or "", command.key or None)
    headers = {each.key or "": each.value or "" for each in command.headers}
    return target, command.parameter or b"", command.idempotency_key, headers


def invocation_of(command: m.Attach | m.GetOutput) -> str:
    """Return the id of the invocation that a command names by its id, its workflow id or its idempotency key.

    Raises:
        TerminalError: With code 501, if it has a scope.
    """
    if command.workflow is not None:
        _refuse_scope(command.workflow.scope)
        return workflow_id(command.workflow.workflow_name or "", command.workflow.workflow_key or "")
    if command.idempotent is not None:
        request = command.idempotent
        _refuse_scope(request.scope)
        target = Target(request.service_name or "", request.handler_name or "", request.service_key or None)
        return idempotent_id(target, request.idempotency_key or "")
    return command.invocation_id or ""


def _refuse_scope(scope: str | None) -> None:
    if scope:
        raise scopes_unsupported()
