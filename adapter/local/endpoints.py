"""The endpoints of Restate's SDKs that the development server serves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from adapter.errors import DefinitionError
from adapter.local.options import UnservableError
from adapter.registry import BoundService, Registry
from adapter.restate.endpoints import UnreachableError
from adapter.restate.http import HttpEndpoint

if TYPE_CHECKING:
    from adapter.restate.identity import Identity

LOOK: Final = 1.0
"""Seconds between requests for what an endpoint offers."""


class Endpoints:
    """Endpoints whose services are served beside those of Python modules, and discovered again when they restart.

    Args:
        urls: Where they are.
        registry: The services of the modules.
        tell: Prints a line for the developer.
        key: The file with the private key that signs requests to them.
        keep: Is told where an endpoint is that is added later.

    Raises:
        UnservableError: If the key cannot be used.
    """

    def __init__(
        self,
        urls: Sequence[str],
        registry: Registry,
        tell: Callable[[str], None],
        *,
        key: Path | None = None,
        keep: Callable[[str], None] | None = None,
    ) -> None:
        self._identity = _identity(key) if key is not None else None
        if self._identity is not None:
            tell(f"==> the identity key for endpoints: {self._identity.public}")
        self._endpoints = [HttpEndpoint(url, identity=self._identity) for url in urls]
        self._own = registry
        self._tell = tell
        self._keep = keep
        self._offers: dict[str, Mapping[str, BoundService]] = {each.name: {} for each in self._endpoints}
        self._said: dict[str, str] = {}

    async def close(self) -> None:
        """Close the connections to the endpoints."""
        for endpoint in self._endpoints:
            await endpoint.close()

    async def discover(self) -> Registry | None:
        """Ask every endpoint at once what it offers, and return all services; ``None`` if nothing has changed.

        An endpoint that does not answer keeps what it offered. Its invocations are retried until it is back.

        Raises:
            UnservableError: If two offer a service of one name.
        """
        is_first = not self._said
        changed = await asyncio.gather(*map(self._ask, self._endpoints))
        return self._merged(self._offers) if is_first or any(changed) else None

    async def _ask(self, endpoint: HttpEndpoint) -> bool:
        """Ask an endpoint what it offers. Return True if that has changed."""
        changed, said = False, ""
        try:
            offer = await endpoint.discover()
            changed = offer != self._offers[endpoint.name]
            self._offers[endpoint.name] = offer
        except (UnreachableError, DefinitionError) as error:
            said = str(error)
        if said != self._said.get(endpoint.name, ""):
            self._tell(f"==> {said}" if said else f"==> {endpoint.name} answers again")
        self._said[endpoint.name] = said
        return changed

    async def add(self, url: str, *, dry_run: bool = False) -> tuple[Mapping[str, BoundService], Registry]:
        """Serve one more endpoint, or the same one again. Return its services, and all services.

        Args:
            url: Where it is.
            dry_run: Only ask what it offers.

        Raises:
            UnreachableError: If it does not answer.
            DefinitionError: If it offers what cannot be served.
            UnservableError: If it offers a service that another one has.
        """
        endpoint = HttpEndpoint(url, identity=self._identity)
        endpoint = next((each for each in self._endpoints if each.name == endpoint.name), endpoint)
        try:
            offer = await endpoint.discover()
            merged = self._merged({**self._offers, endpoint.name: offer})
            if not dry_run:
                self._offers[endpoint.name] = offer
                self._said[endpoint.name] = ""
                if endpoint not in self._endpoints:
                    self._endpoints.append(endpoint)
                    if self._keep is not None:
                        self._keep(url)
                    self._tell(f"==> {', '.join(merged.services)}")
        finally:
            if endpoint not in self._endpoints:
                await endpoint.close()
        return offer, merged

    def _merged(self, offers: Mapping[str, Mapping[str, BoundService]]) -> Registry:
        merged = Registry()
        merged.services.update(self._own.services)
        places = dict.fromkeys(self._own.services, "a Python module")
        for name, offer in offers.items():
            for service in offer:
                if service in places:
                    both = f"{places[service]} and by {name}"
                    raise UnservableError(f"{service} is offered by {both}: rename one, or serve only one of them")
                places[service] = name
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


def _identity(key: Path) -> Identity:
    try:
        from adapter.restate.identity import Identity  # where there is a key only
    except ModuleNotFoundError as error:
        raise UnservableError(f"{error.name} is not installed: pip install 'serverless-adapter[restate]'") from None
    try:
        return Identity(key.read_bytes())
    except OSError as error:
        raise UnservableError(f"--identity-key {key} cannot be read: {error.strerror}") from None
    except DefinitionError as error:
        raise UnservableError(f"--identity-key {key}: {error}") from None
