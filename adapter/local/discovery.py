"""Finds the definitions in the modules that a developer names."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from types import ModuleType

from pydantic.errors import PydanticInvalidForJsonSchema

from adapter.definitions import Definition, Method
from adapter.errors import DefinitionError
from adapter.hosting import hosting, is_sdk
from adapter.local.frames import OwnTraceback, blamed
from adapter.local.options import UnservableError
from adapter.registry import BoundService, Registry


class DiscoveryError(UnservableError):
    """The modules that are named cannot be served."""

    def __init__(self, message: str, files: frozenset[str] = frozenset()) -> None:
        super().__init__(message)
        self.files = files


def discover(names: Sequence[str]) -> Registry:
    """Import modules from the working directory and return their services.

    If a module calls ``lambda_handler``, its services are those that it gives to it. Otherwise they are the definitions
    in the module.

    Args:
        names: ``package.module``, or ``package.module:name`` for one definition or entry point in it.

    Raises:
        DiscoveryError: If a module cannot be imported, or has no definitions, or two have one name.
    """
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    found = Registry()
    for name in names:
        try:
            registry = _registry(name)
            services = registry.services
            _check_types(services.values())
        except DefinitionError as error:
            raise DiscoveryError(str(error), blamed(error)) from error
        except UnservableError:
            raise
        except Exception as error:
            raise DiscoveryError(f"{name} cannot be served\n{OwnTraceback(error)}", blamed(error)) from error
        for service in services.keys() & found.services.keys():
            raise DiscoveryError(f"{name} has a service called {service}, and so has another module")
        found.services.update(services)
        found.codec = registry.codec or found.codec
    return found


def _registry(name: str) -> Registry:
    module_name, _, attribute = name.partition(":")
    module = _import(module_name)
    if attribute:
        try:
            value = getattr(module, attribute)
        except AttributeError:
            raise DiscoveryError(f"module {module_name} has no {attribute}") from None
        registry = getattr(value, "registry", None)
        if isinstance(registry, Registry):
            return registry
        if (
            is_sdk(value)
            or isinstance(value, Definition)
            or (isinstance(value, type) and issubclass(value, Definition))
        ):
            return hosting(value)
        raise DiscoveryError(f"{name} is neither a definition nor what lambda_handler returned")
    registries = [
        value.registry for value in vars(module).values() if isinstance(getattr(value, "registry", None), Registry)
    ]
    if registries:
        merged = Registry()
        for registry in registries:
            merged.services.update(registry.services)
            merged.codec = registry.codec or merged.codec
        return merged
    values = vars(module).values()
    definitions = [value for value in values if _is_own(value, module) or is_sdk(value)]
    definitions = definitions or [value for value in values if _is_empty(value, module)]  # which is refused
    if not definitions:
        raise DiscoveryError(
            f"module {module_name} has no definitions: neither a call of lambda_handler nor a class that derives from "
            "Service, VirtualObject or Workflow, nor an app of Restate's SDK"
        )
    return hosting(*definitions)


def _check_types(services: Iterable[BoundService]) -> None:
    """Check all types now. A function leaves that to the first request, as a cold start pays for each.

    Raises:
        DefinitionError: If a type cannot become JSON. A type that only has no JSON schema is fine.
    """
    for service in services:
        for handler in service.handlers.values():
            for side in ("input", "output"):
                with suppress(PydanticInvalidForJsonSchema):
                    handler.schema(side)


def _is_own(value: object, module: ModuleType) -> bool:
    """Return True for a definition of the module's own that can be bound: not imported, no contract, no mere base."""
    methods = _methods(value, module) or []
    return bool(methods) and not any(method.handler.__isabstractmethod__ for method in methods)


def _is_empty(value: object, module: ModuleType) -> bool:
    """Return True for a definition of the module's own that has no handlers."""
    return _methods(value, module) == []


def _methods(value: object, module: ModuleType) -> list[Method] | None:
    """Return the handlers of a definition of the module's own; ``None`` for another value."""
    if isinstance(value, type) and issubclass(value, Definition) and value.__module__ == module.__name__:
        return list(value.__description__.methods.values())
    return None


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except DefinitionError:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            hint = " (give it as in an import: package.module)" if "/" in name or name.endswith(".py") else ""
            raise DiscoveryError(f"there is no module {name} in {os.getcwd()}{hint}") from error
        problem = f"module {name} needs {error.name}, which is not installed"
        raise DiscoveryError(f"{problem}\n{OwnTraceback(error)}", blamed(error)) from error
    except Exception as error:
        raise DiscoveryError(f"module {name} cannot be imported\n{OwnTraceback(error)}", blamed(error)) from error
