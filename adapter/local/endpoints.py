"""The endpoints of Restate's SDKs that the development server serves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from adapter.errors import DefinitionError
from adapter.local.options import UnservableError
from adapter.registry import BoundService, Registry
from adapter.restate.endpoints import UnreachableError
from adapter.restate.http import HttpEndpoint

LOOK: Final = 1.0
"""Seconds between looks at what an endpoint offers."""


class Endpoints:
    """Endpoints whose services are served beside those of Python modules, and discovered again when they restart.

    Args:
        urls: Where they are.
        registry: The services of the modules.
        tell: Prints a line for the developer.
    """

    def __init__(self, urls: Sequence[str], registry: Registry, tell: Callable[[str], None]) -> None:
        self._endpoints = [HttpEndpoint(url) for url in urls]
        self._own = registry
        self._tell = tell
        self._offers: dict[str, Mapping[str, BoundService]] = {}
        self._said: dict[str, str] = {}

    async def discover(self) -> Registry | None:
        """Ask every endpoint what it offers, and return all services; ``None`` if nothing has changed.

        An endpoint that does not answer keeps what it offered. Its invocations are retried until it is back.

        Raises:
            UnservableError: If two offer a service of one name.
        """
        changed = not self._said
        for endpoint in self._endpoints:
            try:
                offer, said = await endpoint.discover(), ""
                if offer != self._offers.get(endpoint.name):
                    self._offers[endpoint.name] = offer
                    changed = True
            except (UnreachableError, DefinitionError) as error:
                said = str(error)
            if said != self._said.get(endpoint.name, ""):
                self._tell(f"==> {said}" if said else f"==> {endpoint.name} answers again")
            self._said[endpoint.name] = said
        return self._merged() if changed else None

    def _merged(self) -> Registry:
        merged = Registry()
        merged.services.update(self._own.services)
        for name, offer in self._offers.items():
            for service in offer:
                if service in merged.services:
                    raise UnservableError(f"{name} offers a service called {service}, and so does another")
            merged.services.update(offer)
        return merged

    async def follow(self, host: Callable[[Registry], None]) -> None:
        """Look from time to time, and host what has changed."""
        while True:
            await asyncio.sleep(LOOK)
            try:
                registry = await self.discover()
            except UnservableError as error:
                self._tell(f"==> {error}")
                continue
            if registry is not None:
                host(registry)
                self._tell(f"==> {', '.join(registry.services)}")
