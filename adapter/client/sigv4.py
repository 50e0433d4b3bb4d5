"""Requests signed with AWS credentials."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncGenerator, Generator
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from botocore.session import Session

_ENDPOINT = re.compile(r"\.(execute-api|lambda-url)\.([a-z0-9-]+)\.(?:amazonaws\.com(?:\.cn)?|on\.aws)$")
"""The host of an API of API Gateway, or of a Lambda function's URL: it names the service and the region."""


class SigV4(httpx.Auth):
    """Signs requests for API Gateway or a Lambda function URL with authorization by IAM.

    The credentials are those that boto3 finds: the environment, the profile, the container's or the instance's role.
    They are refreshed when they expire. See https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html.

    Args:
        region: The API's region. It is taken from the URL, or, for a domain of your own, from the environment.
        session: A botocore session whose credentials sign, for example one with a profile of its own.

    >>> from adapter import Client, SigV4
    >>> client = Client("https://id.execute-api.eu-central-1.amazonaws.com", auth=SigV4())
    """

    requires_request_body = True

    def __init__(self, *, region: str | None = None, session: Session | None = None) -> None:
        self._region = region
        self._session = session
        self._lock = threading.Lock()

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.read()
        self._sign(request)
        yield request

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        await request.aread()
        await asyncio.to_thread(self._sign, request)  # credentials may have to be fetched
        yield request

    def _sign(self, request: httpx.Request) -> None:
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.exceptions import NoCredentialsError

        with self._lock:  # botocore's sessions are not for several threads
            session = self._session = self._session or _session()
            credentials = session.get_credentials()
        if credentials is None:
            raise NoCredentialsError
        endpoint = _ENDPOINT.search(request.url.host)
        region = self._region or (endpoint[2] if endpoint else session.get_config_variable("region"))
        if region is None:
            raise ValueError(
                f"no AWS region is known for {request.url.host}: give SigV4(region=…), or set AWS_DEFAULT_REGION"
            )
        service = "lambda" if endpoint and endpoint[1] == "lambda-url" else "execute-api"
        signed: Any = AWSRequest(request.method, str(request.url), data=request.content)
        SigV4Auth(credentials.get_frozen_credentials(), service, region).add_auth(signed)
        request.headers.update(dict(signed.headers.items()))


def _session() -> Session:
    from botocore.session import Session

    return Session()
