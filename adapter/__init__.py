"""Durable handlers in plain typed Python, on AWS Lambda, DynamoDB and EventBridge Scheduler."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from adapter import serde
from adapter.clients import invocation_id
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

if TYPE_CHECKING:
    from adapter.aws.entry import lambda_handler
    from adapter.client import Client, SigV4, SyncClient, UnexpectedResponseError

__all__ = [
    "AdapterError",
    "Awakeable",
    "Client",
    "Context",
    "DeadlockError",
    "Definition",
    "DefinitionError",
    "DurablePromise",
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
    "SyncClient",
    "TerminalError",
    "TimedOutError",
    "UnexpectedResponseError",
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
    "select",
    "serde",
    "wait_completed",
]

_CLIENT = ("Client", "SigV4", "SyncClient", "UnexpectedResponseError")
_LAZY = {**dict.fromkeys(_CLIENT, "adapter.client"), "lambda_handler": "adapter.aws.entry"}
"""What brings boto3, httpx and the like along is imported when it is first asked for."""


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(_LAZY[name]), name)
    except ModuleNotFoundError as error:
        if error.name not in ("httpx", "tenacity"):
            raise
        text = f"adapter.{name} needs {error.name}, which the extra serverless-adapter[client] brings"
        raise ModuleNotFoundError(text, name=error.name) from error
