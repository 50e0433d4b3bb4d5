"""The registry of what a process hosts: definitions, and apps of Restate's Python SDK."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, Any

from adapter.definitions import Definition
from adapter.errors import DefinitionError
from adapter.registry import Registry

if TYPE_CHECKING:
    from adapter.restate.apps import AsgiApp


def hosting(*definitions: Definition | Callable[[], Definition] | AsgiApp) -> Registry:
    """Return a registry of definitions, and of the services of apps that Restate's Python SDK made.

    Raises:
        DefinitionError: If one makes no sense, or two have one name.
    """
    apps: list[Any] = [each for each in definitions if is_sdk(each)]
    own: list[Any] = [each for each in definitions if not is_sdk(each)]
    registry = Registry(*own)
    for app in apps:
        from adapter.restate.apps import app_services  # imported only where there is such an app

        for name, service in app_services(app).items():
            if name in registry.services:
                raise DefinitionError(f"two definitions are called {name}: give one of them another name")
            registry.services[name] = service
    return registry


def is_sdk(value: object) -> bool:
    """Return True if Restate's Python SDK made a value that hosts services: an app, or an endpoint."""
    if isinstance(value, FunctionType):
        return value.__module__ in ("restate.server", "restate.aws_lambda") and "<locals>" in value.__qualname__
    return type(value).__module__ == "restate.endpoint"
