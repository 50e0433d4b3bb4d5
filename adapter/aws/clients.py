"""boto3's clients of the services beside DynamoDB: made when first needed, which in most processes is never."""

from __future__ import annotations

from typing import Any


def make_client(service: str, *, connections: int, attempts: int, **options: Any) -> Any:
    """A client that retries throttling, and answers or fails within seconds.

    boto3 is imported here: a process that neither dispatches nor sets timers does without.

    Args:
        service: Such as ``lambda``.
        connections: How many requests may be under way at once.
        attempts: How often a request is sent in all.
        options: Further arguments of boto3's ``Session.client``.
    """
    from boto3.session import Session
    from botocore.config import Config

    config = Config(
        connect_timeout=1,
        read_timeout=3,
        max_pool_connections=connections,
        retries={"total_max_attempts": attempts, "mode": "standard"},
        tcp_keepalive=True,
    )
    # A session of its own: the default one is not for use from several threads.
    session: Any = Session()
    return session.client(service, config=config, **options)
