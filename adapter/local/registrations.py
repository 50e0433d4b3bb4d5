"""Endpoints of SDKs that are registered while the development server runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from adapter.errors import DefinitionError, TerminalError
from adapter.http.services import Deployed, endpoints
from adapter.local.options import UnservableError
from adapter.registry import Registry

if TYPE_CHECKING:
    from adapter.local.endpoints import Endpoints


class Registrations:
    """Registers endpoints, for `adapter.http.admin.ports.Endpoints`.

    Args:
        load: Returns the endpoints that are served, to which others are added.
        host: Serves other services from now on.
    """

    def __init__(self, load: Callable[[], Endpoints], host: Callable[[Registry], None]) -> None:
        self._load = load
        self._host = host

    async def register(self, url: str, *, dry_run: bool) -> Sequence[Deployed]:
        """Serve the services of one more endpoint, and return them. With ``dry_run``, only return them.

        Raises:
            TerminalError: If the endpoint does not answer, or offers what cannot be served.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
            raise TerminalError(f"{url[:200]!r} is not a URL such as http://localhost:9080", code=400)
        from adapter.restate.endpoints import UnreachableError  # takes a while to import

        try:
            offer, every = await self._load().add(url, dry_run=dry_run)
        except UnservableError as error:
            raise TerminalError(str(error), code=409) from None
        except (UnreachableError, DefinitionError) as error:
            raise TerminalError(str(error), code=400) from None
        if not dry_run:
            self._host(every)
        return [Deployed(name, "", "", endpoints(service)) for name, service in offer.items()]
