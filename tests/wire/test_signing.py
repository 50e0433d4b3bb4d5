"""Signatures, compared with botocore's."""

from __future__ import annotations

from datetime import UTC, datetime

import botocore.auth
import botocore.credentials
import pytest
from botocore.awsrequest import AWSRequest

from adapter.aws.wire.signing import Credentials, Signer

AT = 1_700_000_000
ARN = "arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Aa%20b%3A7"


@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "body"),
    [
        ("POST", "/", "", {"content-type": "application/x-amz-json-1.0", "x-amz-target": "T.PutItem"}, b"{}"),
        ("POST", f"/2015-03-31/functions/{ARN}/invocations", "", {"x-amz-invocation-type": "Event"}, b"\xff"),
        ("DELETE", "/schedules/name", "clientToken=a%2Fb&groupName=a%20b", {}, b""),
        ("GET", "/a/b~c_d-e.f", "", {"x-amz-meta": "  two   spaces "}, b""),
    ],
)
@pytest.mark.parametrize("token", [None, "session/token=="])
def test_it_signs_as_botocore_does(
    method: str,
    path: str,
    query: str,
    headers: dict[str, str],
    body: bytes,
    token: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: datetime.fromtimestamp(AT, UTC))
    url = f"https://aws.example.com:8443{path}" + (f"?{query}" if query else "")
    theirs = AWSRequest(method, url, headers={**headers, "host": "aws.example.com:8443"}, data=body)
    key = botocore.credentials.Credentials("AKIDEXAMPLE", "wJalr/secret", token)
    botocore.auth.SigV4Auth(key, "scheduler", "eu-central-1").add_auth(theirs)

    ours = Signer("scheduler", "eu-central-1").sign(
        Credentials("AKIDEXAMPLE", "wJalr/secret", token),
        method,
        path,
        query,
        {"host": "aws.example.com:8443", **headers},
        body,
        AT,
    )
    assert ours == {name.lower(): value for name, value in theirs.headers.items() if name.lower() in ours}
    assert "authorization" in ours


def test_secrets_are_not_shown() -> None:
    shown = repr(Credentials("AKIDEXAMPLE", "wJalr/secret", "session"))
    assert "AKIDEXAMPLE" in shown
    assert "wJalr" not in shown
    assert "session" not in shown
