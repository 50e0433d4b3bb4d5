"""The services of the workloads, in a server that forgets within minutes what it otherwise keeps for weeks.

The server keeps a completed invocation for 24 hours, its record for another week and its items for 30 days. So its
memory grows with each request by design. `adapter dev bench.forgetful` shortens all three to two minutes or less: if
memory grows after that, it leaks. Lists of a fixed length, such as the one of the latest log lines, keep their length.
"""

from __future__ import annotations

from datetime import timedelta

from adapter import lambda_handler
from adapter.engine import lifetimes
from adapter.local import server, store
from bench import services

SECOND = 1000

RETENTION = timedelta(seconds=10)

lifetimes.KEPT = 120 * SECOND
lifetimes.RENEWAL = 60 * SECOND
lifetimes.RECORD_KEPT = 30 * SECOND
server.EXPIRY = 10 * SECOND
store.TOKENS = 1000


class Counter(services.Counter, idempotency_retention=RETENTION, journal_retention=RETENTION):
    """A number per key."""


class Bench(services.Bench, idempotency_retention=RETENTION, journal_retention=RETENTION):
    """One handler per workload."""


entry = lambda_handler(Counter, Bench)
