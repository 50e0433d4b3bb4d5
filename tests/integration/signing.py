"""Signed requests to the admin of a deployed stack."""

from __future__ import annotations

from collections.abc import Generator

import boto3
import httpx
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

from infra.stack import LOCAL_CREDENTIALS, Stack


class Signed(httpx.Auth):
    """Signs as https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html has it."""

    requires_request_body = True

    def __init__(self, stack: Stack) -> None:
        session = boto3.Session(**(LOCAL_CREDENTIALS if stack.endpoint else {}), region_name=stack.region)
        self._signer = SigV4Auth(session.get_credentials(), "execute-api", stack.region)

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        signed = AWSRequest(request.method, str(request.url), data=request.content)
        self._signer.add_auth(signed)
        request.headers.update(dict(signed.headers))
        yield request


def admin_of(stack: Stack) -> httpx.Client:
    """A client of the stack's admin."""
    return httpx.Client(base_url=f"{stack.url}/admin", timeout=60, auth=Signed(stack))
