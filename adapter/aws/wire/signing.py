"""Signs requests by AWS's Signature Version 4.

See https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html. Botocore has a signer,
whose import takes longer than a hundred requests; the tests compare this one with it.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from dataclasses import field
from functools import lru_cache
from typing import Final
from urllib.parse import quote

from adapter.frozen import frozen

ALGORITHM: Final = "AWS4-HMAC-SHA256"


@frozen
class Credentials:
    """A key pair, and the session token of temporary ones."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


@frozen
class Signer:
    """Signs for one service in one region.

    Args:
        service: The name that the service has in signatures, such as ``dynamodb``.
        region: Such as ``eu-central-1``.
    """

    service: str
    region: str

    def sign(
        self,
        credentials: Credentials,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        body: bytes,
        at: float,
    ) -> dict[str, str]:
        """Return the headers that a request is to have beside its own.

        Args:
            credentials: Whose signature it is.
            method: Such as ``POST``.
            path: The path as it is sent, encoded.
            query: The query as it is sent: encoded, its parameters in order of their names.
            headers: The headers that are signed, ``host`` among them, their names in lower case.
            body: The content.
            at: The time, in seconds since the epoch.
        """
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at))
        added = {"x-amz-date": now}
        if credentials.token is not None:
            added["x-amz-security-token"] = credentials.token
        signed = sorted({**headers, **added}.items())
        names = ";".join(name for name, _ in signed)
        lines = "".join(f"{name}:{' '.join(value.split())}\n" for name, value in signed)
        content = hashlib.sha256(body).hexdigest()
        # Every service but S3 has the path encoded a second time.
        canonical = f"{method}\n{quote(path, safe='/~')}\n{query}\n{lines}\n{names}\n{content}"
        scope = f"{now[:8]}/{self.region}/{self.service}/aws4_request"
        text = f"{ALGORITHM}\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = _key(credentials.secret_key, now[:8], self.region, self.service)
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        identity = f"Credential={credentials.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
        return {**added, "authorization": f"{ALGORITHM} {identity}"}


@lru_cache(maxsize=16)
def _key(secret: str, day: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
