"""The certificates that connections are checked against.

OpenSSL takes 14 ms of CPU to read the 140 roots of a system, and below 1 ms for Amazon's. So where an endpoint is AWS's
own, only those are trusted, unless the configuration names others.
"""

from __future__ import annotations

import os
import ssl
from functools import cache
from pathlib import Path
from typing import Final

ROOTS: Final = Path(__file__).with_name("roots.pem")
"""The `roots <https://www.amazontrust.com/repository/>`_ that the certificates of AWS's endpoints derive from."""

AMAZON: Final = (".amazonaws.com", ".api.aws")
"""What the names of hosts end with whose certificates derive from these roots; China's endpoints have others."""


def context(host: str) -> ssl.SSLContext:
    """Return the context for connections to a host. Processes keep it, as it takes time to make."""
    configured = os.environ.get("AWS_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE")
    if configured:
        return _context(configured)
    return _context(str(ROOTS) if host.endswith(AMAZON) else None)


@cache
def _context(file: str | None) -> ssl.SSLContext:
    """Return the context that trusts a file's certificates; by default the system's."""
    made = ssl.create_default_context(cafile=file)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    return made
