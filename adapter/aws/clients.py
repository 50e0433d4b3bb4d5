"""botocore's clients, for what operators ask of AWS. What requests wait for goes through `adapter.aws.wire`.

One session makes them all: what it has read of botocore's data serves the next client too, which then takes 10 ms
instead of 60. boto3 is not used, because it adds 20 ms and nothing that is needed here.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any, Final, TypeVar

import botocore.session
from botocore.config import Config

T = TypeVar("T")

_making: Final = threading.Lock()
"""A session is not for use by several threads at once."""


class Remote:
    """A service's client with a pool of threads for its requests.

    Args:
        service: Such as ``lambda``.
        connections: How many requests may be under way at once.
        attempts: How often a request is sent in all.
        client: The client; by default one is made at the first request.
    """

    def __init__(self, service: str, *, connections: int, attempts: int, client: Any = None) -> None:
        self._pool = ThreadPoolExecutor(connections, service)
        self._make = lambda: make_client(service, connections=connections, attempts=attempts)
        self._client: Future[Any] | None = None
        if client is not None:
            self._client = Future()
            self._client.set_result(client)

    async def run(self, request: Callable[[Any], T]) -> T:
        """Call ``request`` with the client, in a thread of the pool. Return or raise what it does."""
        if self._client is None:
            self._client = self._pool.submit(self._make)
        client = self._client
        return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: request(client.result()))


def make_client(service: str, *, connections: int, attempts: int, **options: Any) -> Any:
    """Return a client that retries throttling, and that answers or fails within seconds.

    Args:
        service: Such as ``lambda``.
        connections: How many requests may be under way at once.
        attempts: How often a request is sent in all.
        options: Further arguments of botocore's ``create_client``.
    """
    config = Config(
        connect_timeout=1,
        read_timeout=3,
        max_pool_connections=connections,
        retries={"total_max_attempts": attempts, "mode": "standard"},
        tcp_keepalive=True,
    )
    with _making:
        return _session().create_client(service, config=config, **options)


@cache
def _session() -> Any:
    return botocore.session.get_session()
