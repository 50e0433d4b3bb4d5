"""Signed requests to a deployed stack: to its admin, and to routes that ask for IAM."""

from __future__ import annotations

from collections.abc import Generator

import boto3
import httpx
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from infra.stack import LOCAL_CREDENTIALS, Stack


class Signed(httpx.Auth):
    """Signs requests with the credentials of the environment, or with those of a local AWS.

    See https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html.
    """

    requires_request_body = True

    def __init__(self, stack: Stack) -> None:
        credentials = Credentials(*LOCAL_CREDENTIALS.values()) if stack.endpoint else boto3.Session().get_credentials()
        if credentials is None:
            raise SystemExit("no AWS credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
        self._signer = SigV4Auth(credentials, "execute-api", stack.region)

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        signed = AWSRequest(request.method, str(request.url), data=request.content)
        self._signer.add_auth(signed)
        request.headers.update(dict(signed.headers))
        yield request


def admin_of(stack: Stack) -> httpx.Client:
    """Return a client of the stack's admin."""
    return httpx.Client(base_url=f"{stack.url}/admin", timeout=60, auth=Signed(stack))
