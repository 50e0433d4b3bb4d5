"""Durable handlers in plain typed Python, on AWS Lambda, DynamoDB and EventBridge Scheduler."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from adapter import serde
from adapter.combinators import gather
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
from adapter.errors import AdapterError, DefinitionError, JournalMismatchError, NonDeterminismError, TerminalError
from adapter.handlers import handler
from adapter.operations import Invocation, Operation
from adapter.serde import Serde

if TYPE_CHECKING:
    from adapter.aws.entry import lambda_handler
    from adapter.client import Client

__all__ = [
    "AdapterError",
    "Client",
    "Context",
    "Definition",
    "DefinitionError",
    "Invocation",
    "JournalMismatchError",
    "NonDeterminismError",
    "ObjectContext",
    "ObjectSharedContext",
    "Operation",
    "Request",
    "RetryPolicy",
    "Serde",
    "Service",
    "TerminalError",
    "VirtualObject",
    "Workflow",
    "WorkflowContext",
    "WorkflowSharedContext",
    "gather",
    "handler",
    "lambda_handler",
    "serde",
]

_LAZY = {"Client": "adapter.client", "lambda_handler": "adapter.aws.entry"}
"""What brings boto3, httpx and the like along is imported when it is first asked for."""


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
