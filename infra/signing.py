"""Signed requests to a deployed stack: to its admin, and to routes that ask for IAM."""

from __future__ import annotations

from collections.abc import Generator

import httpx
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from adapter import SigV4
from infra.stack import LOCAL_CREDENTIALS, Stack


def signer(stack: Stack) -> httpx.Auth:
    """Return what signs requests: with the credentials of the environment, or with those of a local AWS."""
    return _Local(stack.region) if stack.endpoint else SigV4(region=stack.region)


def admin_of(stack: Stack) -> httpx.Client:
    """Return a client of the stack's admin."""
    return httpx.Client(base_url=f"{stack.url}/admin", timeout=60, auth=signer(stack))


class _Local(httpx.Auth):
    requires_request_body = True

    def __init__(self, region: str) -> None:
        self._signer = SigV4Auth(Credentials(*LOCAL_CREDENTIALS.values()), "execute-api", region)

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        signed = AWSRequest(request.method, str(request.url), data=request.content)
        self._signer.add_auth(signed)
        request.headers.update(dict(signed.headers))
        yield request
