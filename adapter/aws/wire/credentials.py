"""Where AWS credentials come from.

First the `environment variables
<https://docs.aws.amazon.com/sdkref/latest/guide/feature-static-credentials.html>`_, which a Lambda function has. Then
the endpoint of a `container
<https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html>`_, which a function with SnapStart
has. Then what botocore finds: profiles, SSO, an instance's role. Only this imports botocore.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from datetime import datetime
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import SplitResult, urlsplit

from adapter.aws.wire.http import NoAnswerError, Pool, Request, WireError
from adapter.aws.wire.signing import Credentials
from adapter.aws.wire.tls import context
from adapter.frozen import frozen

if TYPE_CHECKING:
    from botocore.session import Session

REFRESH_SECONDS: Final = 300.0
"""How long before they expire credentials are fetched anew."""

RECHECK_SECONDS: Final = 60.0
"""How long what botocore gave is used; botocore itself knows when it expires."""

RETRY_SECONDS: Final = 10.0
"""How long to wait after a refresh that failed, while the old credentials last."""

FULL_URI: Final = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
RELATIVE_URI: Final = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
TOKEN: Final = "AWS_CONTAINER_AUTHORIZATION_TOKEN"
TOKEN_FILE: Final = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"

CONTAINER_HOST: Final = "http://169.254.170.2"
"""What a relative URI of a container's credentials is relative to."""

CONTAINER_HOSTS: Final = frozenset({"169.254.170.2", "169.254.170.23", "fd00:ec2::23", "localhost"})
"""The hosts, beside loopback addresses, that credentials are fetched from in plain HTTP."""

log = logging.getLogger("adapter")


class NoCredentialsError(WireError):
    """There are no credentials, or none that can be had now."""


class Source(Protocol):
    """Gives credentials."""

    async def get(self, *, refused: Credentials | None = None) -> Credentials:
        """Return the current credentials.

        Args:
            refused: Credentials that AWS does not accept any more: others are looked for.

        Raises:
            NoCredentialsError: If there are none.
        """
        ...

    def copy(self) -> Source:
        """Return the same for another event loop."""
        ...


def find() -> Source:
    """Return the source that the environment names."""
    if "AWS_ACCESS_KEY_ID" in os.environ and "AWS_SECRET_ACCESS_KEY" in os.environ:
        return Environment()
    if any(name in os.environ for name in (FULL_URI, RELATIVE_URI)) and "AWS_PROFILE" not in os.environ:
        return Container()
    return Botocore()


@frozen
class Fixed:
    """Credentials given in code."""

    credentials: Credentials

    async def get(self, *, refused: Credentials | None = None) -> Credentials:
        """See `Source`."""
        return self.credentials

    def copy(self) -> Source:
        """See `Source`."""
        return self


class Environment:
    """The environment's variables. They are read for each request, as a program may set new ones."""

    async def get(self, *, refused: Credentials | None = None) -> Credentials:
        """See `Source`."""
        try:
            key, secret = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
        except KeyError as error:
            raise NoCredentialsError(f"the environment variable {error} is gone") from None
        return Credentials(key, secret, os.environ.get("AWS_SESSION_TOKEN") or None)

    def copy(self) -> Source:
        """See `Source`."""
        return self


class Refreshed:
    """Credentials that expire. Several requests that need new ones at once wait for one refresh."""

    def __init__(self) -> None:
        self._current: Credentials | None = None
        self._refresh_at = 0.0
        self._expires = 0.0
        self._lock = asyncio.Lock()

    async def get(self, *, refused: Credentials | None = None) -> Credentials:
        """See `Source`."""
        if self._is_good(refused):
            assert self._current is not None
            return self._current
        async with self._lock:
            if not self._is_good(refused):
                try:
                    self._current, self._refresh_at, self._expires = await self.fetch()
                except NoCredentialsError as error:
                    if self._current is None or self._current is refused or time.time() >= self._expires:
                        raise
                    log.warning("the current AWS credentials are kept, as new ones cannot be had: %s", error)
                    self._refresh_at = time.time() + RETRY_SECONDS
            assert self._current is not None
            return self._current

    def copy(self) -> Source:
        """See `Source`."""
        return type(self)()

    def _is_good(self, refused: Credentials | None) -> bool:
        return self._current is not None and self._current != refused and time.time() < self._refresh_at

    async def fetch(self) -> tuple[Credentials, float, float]:
        """Return new credentials, when to refresh them and when they expire, in seconds since the epoch.

        Raises:
            NoCredentialsError: If there are none now.
        """
        raise NotImplementedError


class Container(Refreshed):
    """The endpoint that a container, or a Lambda function with SnapStart, has for credentials."""

    async def fetch(self) -> tuple[Credentials, float, float]:
        """See `Refreshed`."""
        url = urlsplit(self._url())
        host, secure = url.hostname or "", url.scheme == "https"
        pool = Pool(host, url.port or (443 if secure else 80), partial(context, host) if secure else None)
        try:
            answer = await pool.send(Request("GET", _target(url), {"accept": "application/json", **_authorization()}))
            if answer.status != 200:
                raise NoCredentialsError(f"the endpoint {host} for credentials answered {answer.status}")
            told: dict[str, Any] = json.loads(answer.body)
            credentials = Credentials(told["AccessKeyId"], told["SecretAccessKey"], told.get("Token"))
            expires = datetime.fromisoformat(told["Expiration"]).timestamp()
        except NoAnswerError as error:
            raise NoCredentialsError(f"the endpoint for credentials: {error}") from error
        except (KeyError, TypeError, ValueError):
            # Not chained: the answer has secrets in it.
            raise NoCredentialsError(f"the endpoint {host} answered with something else than credentials") from None
        finally:
            pool.close()
        return credentials, expires - REFRESH_SECONDS, expires

    def _url(self) -> str:
        relative = os.environ.get(RELATIVE_URI)
        if relative is not None:
            return CONTAINER_HOST + relative
        url = os.environ.get(FULL_URI, "")
        parts = urlsplit(url)
        if parts.scheme != "https" and not _is_trusted(parts.hostname or ""):
            raise NoCredentialsError(
                f"{FULL_URI} names the host {parts.hostname!r}: without TLS, credentials are "
                "fetched from loopback addresses and from a container's endpoint only"
            )
        return url


class Botocore(Refreshed):
    """Whatever botocore finds."""

    def __init__(self) -> None:
        super().__init__()
        self._session: Session | None = None

    async def fetch(self) -> tuple[Credentials, float, float]:
        """See `Refreshed`."""
        credentials = await asyncio.to_thread(self._find)
        at = time.time() + RECHECK_SECONDS
        return credentials, at, at

    def _find(self) -> Credentials:
        import botocore.session
        from botocore.exceptions import BotoCoreError

        try:
            self._session = self._session or botocore.session.get_session()
            found: Any = self._session.get_credentials()
            if found is None:
                raise NoCredentialsError(
                    "no AWS credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or log in"
                )
            frozen = found.get_frozen_credentials()
        except BotoCoreError as error:
            raise NoCredentialsError(f"no AWS credentials: {error}") from error
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token)


def _target(url: SplitResult) -> str:
    return (url.path or "/") + (f"?{url.query}" if url.query else "")


def _authorization() -> dict[str, str]:
    file = os.environ.get(TOKEN_FILE)
    try:
        # Read each time: the file is replaced when the token in it expires.
        token = Path(file).read_text() if file else os.environ.get(TOKEN)
    except OSError as error:
        raise NoCredentialsError(f"{TOKEN_FILE} cannot be read: {error}") from error
    return {"authorization": token.strip()} if token else {}


def _is_trusted(host: str) -> bool:
    if host in CONTAINER_HOSTS:
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
