"""Durable handlers in plain typed Python, on AWS Lambda, DynamoDB and EventBridge Scheduler."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adapter import serde
    from adapter.aws.entry import lambda_handler
    from adapter.batches import Batch, Ending, Failed, Succeeded, Unfinished, map_items
    from adapter.client import Client, SigV4, SyncClient, UnexpectedResponseError
    from adapter.clients import invocation_id
    from adapter.codec import Codec
    from adapter.combinators import as_completed, gather, select, wait_completed
    from adapter.context import (
        Context,
        ObjectContext,
        ObjectSharedContext,
        Request,
        WorkflowContext,
        WorkflowSharedContext,
    )
    from adapter.definitions import Definition, Service, VirtualObject, Workflow
    from adapter.engine.types import RetryPolicy
    from adapter.errors import (
        AdapterError,
        DeadlockError,
        DefinitionError,
        InvocationCancelledError,
        JournalMismatchError,
        NonDeterminismError,
        NotDeployedError,
        RetryableError,
        TerminalError,
        TimedOutError,
        UnreadableError,
    )
    from adapter.handlers import handler
    from adapter.operations import Awakeable, Invocation, Operation, Ready, Unready
    from adapter.promises import DurablePromise
    from adapter.serde import Serde

__all__ = [
    "AdapterError",
    "Awakeable",
    "Batch",
    "Client",
    "Codec",
    "Context",
    "DeadlockError",
    "Definition",
    "DefinitionError",
    "DurablePromise",
    "Ending",
    "Failed",
    "Invocation",
    "InvocationCancelledError",
    "JournalMismatchError",
    "NonDeterminismError",
    "NotDeployedError",
    "ObjectContext",
    "ObjectSharedContext",
    "Operation",
    "Ready",
    "Request",
    "RetryPolicy",
    "RetryableError",
    "Serde",
    "Service",
    "SigV4",
    "Succeeded",
    "SyncClient",
    "TerminalError",
    "TimedOutError",
    "UnexpectedResponseError",
    "Unfinished",
    "UnreadableError",
    "Unready",
    "VirtualObject",
    "Workflow",
    "WorkflowContext",
    "WorkflowSharedContext",
    "as_completed",
    "gather",
    "handler",
    "invocation_id",
    "lambda_handler",
    "map_items",
    "select",
    "serde",
    "wait_completed",
]

_HOMES = {
    "adapter.aws.entry": "lambda_handler",
    "adapter.batches": "Batch Ending Failed Succeeded Unfinished map_items",
    "adapter.client": "Client SigV4 SyncClient UnexpectedResponseError",
    "adapter.clients": "invocation_id",
    "adapter.codec": "Codec",
    "adapter.combinators": "as_completed gather select wait_completed",
    "adapter.context": "Context ObjectContext ObjectSharedContext Request WorkflowContext WorkflowSharedContext",
    "adapter.definitions": "Definition Service VirtualObject Workflow",
    "adapter.engine.types": "RetryPolicy",
    "adapter.errors": "AdapterError DeadlockError DefinitionError InvocationCancelledError JournalMismatchError "
    "NonDeterminismError NotDeployedError RetryableError TerminalError TimedOutError UnreadableError",
    "adapter.handlers": "handler",
    "adapter.operations": "Awakeable Invocation Operation Ready Unready",
    "adapter.promises": "DurablePromise",
    "adapter.serde": "Serde",
}
_LAZY = {name: module for module, names in _HOMES.items() for name in names.split()}
"""Each name is imported when it is first asked for. The command line needs none of them, a client no boto3."""


def __getattr__(name: str) -> Any:
    if name == "serde":
        return import_module("adapter.serde")
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = globals()[name] = getattr(import_module(_LAZY[name]), name)
    except ModuleNotFoundError as error:
        if error.name not in ("httpx", "tenacity"):
            raise
        text = f"adapter.{name} needs {error.name}, which the extra serverless-adapter[client] brings"
        raise ModuleNotFoundError(text, name=error.name) from error
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
