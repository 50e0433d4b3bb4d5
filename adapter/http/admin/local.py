"""The services of a process that has them all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adapter.http.services import Deployed, endpoints
from adapter.registry import Registry


class LocalServices:
    """The services of a registry, for `adapter.http.admin.ports.Services`."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._deployed = [Deployed(name, "", "", endpoints(service)) for name, service in registry.services.items()]

    async def listed(self) -> Sequence[Deployed]:
        """Return all services."""
        return self._deployed

    async def names(self) -> Sequence[str]:
        """Return their names."""
        return [each.name for each in self._deployed]

    async def documents(self) -> dict[str, dict[str, Any]]:
        """Return their OpenAPI documents by their names."""
        from adapter.http import openapi

        return openapi.documents(self._registry)
