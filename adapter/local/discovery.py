"""Finds the definitions in the modules that a developer names."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Iterable
from types import ModuleType

from adapter.definitions import Definition
from adapter.errors import DefinitionError
from adapter.registry import BoundService, Registry


class DiscoveryError(Exception):
    """What is named cannot be served; the message says why."""


def discover(names: list[str]) -> Registry:
    """The services of modules, imported from the working directory.

    What a module gave to ``lambda_handler`` counts; where it did not call that, its definitions themselves.

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
            services = _registry(name).services
            _check_types(services.values())
        except DefinitionError as error:
            raise DiscoveryError(str(error)) from error
        for service in services.keys() & found.services.keys():
            raise DiscoveryError(f"{name} has a service called {service}, and so has another module")
        found.services.update(services)
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
        if isinstance(value, Definition) or (isinstance(value, type) and issubclass(value, Definition)):
            return Registry(value)
        raise DiscoveryError(f"{name} is neither a definition nor what lambda_handler returned")
    registries = [
        value.registry for value in vars(module).values() if isinstance(getattr(value, "registry", None), Registry)
    ]
    if registries:
        merged = Registry()
        for registry in registries:
            merged.services.update(registry.services)
        return merged
    definitions = [value for value in vars(module).values() if _is_own(value, module)]
    if not definitions:
        raise DiscoveryError(
            f"module {module_name} has no definitions: neither a call of lambda_handler nor a class that derives from "
            "Service, VirtualObject or Workflow"
        )
    return Registry(*definitions)


def _check_types(services: Iterable[BoundService]) -> None:
    """Look at all types now. A function leaves that to the first request, as a cold start pays for each."""
    for service in services:
        for handler in service.handlers.values():
            handler.schema("input")
            handler.schema("output")


def _is_own(value: object, module: ModuleType) -> bool:
    """Whether it is a definition of the module's own that can be bound: not imported, no contract, no mere base."""
    if not (isinstance(value, type) and issubclass(value, Definition) and value.__module__ == module.__name__):
        return False
    methods = value.__description__.methods.values()
    return bool(methods) and not any(method.handler.__isabstractmethod__ for method in methods)


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise DiscoveryError(f"module {name} needs {error.name}, which is not installed\n{_where()}") from error
        hint = " (give it as in an import: package.module)" if "/" in name or name.endswith(".py") else ""
        raise DiscoveryError(f"there is no module {name} in {os.getcwd()}{hint}") from error
    except DefinitionError:
        raise
    except Exception as error:
        raise DiscoveryError(f"module {name} cannot be imported\n{traceback.format_exc().rstrip()}") from error


def _where() -> str:
    return traceback.format_exc().rstrip()
