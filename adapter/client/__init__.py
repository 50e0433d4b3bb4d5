"""Calls and sends over HTTP, for code that is not a handler.

`Client` is for asyncio, `SyncClient` for code without an event loop. They differ in how they wait and share the rest:

==========================  ===========================================================================
`adapter.client.requests`   builds the HTTP request for each command, and checks it before it is sent
`adapter.client.responses`  what a response says: a result, an error, or that the URL is not ours
`adapter.client.flows`      which requests follow each other, as generators that do no I/O
`adapter.client.retrying`   when a request is repeated, and for how long
`adapter.client.handles`    the operations and invocations that calls return
`adapter.client.base`       the six typed clients on top of these
==========================  ===========================================================================
"""

from __future__ import annotations

from adapter.client.client import Client
from adapter.client.responses import UnexpectedResponseError
from adapter.client.sigv4 import SigV4
from adapter.client.sync import SyncClient

__all__ = ["Client", "SigV4", "SyncClient", "UnexpectedResponseError"]
