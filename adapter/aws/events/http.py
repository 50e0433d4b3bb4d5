"""A request by API Gateway's HTTP API, in payload format 2.0, to the ingress or the admin.

See https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from mangum.handlers import HTTPGateway
from mangum.protocols import HTTPCycle
from mangum.types import LambdaConfig
from starlette.types import ASGIApp

from adapter.aws.host import Host
from adapter.http.messages import refuse
from adapter.http.services import is_admin

GATEWAY_LIMIT: Final = 28_500
"""Milliseconds from its arrival at which a request is answered, ready or not: API Gateway gives up after 30 seconds."""

RESERVE: Final = 1_000
"""Milliseconds that suspending, and answering, take at most."""

LARGE: Final = 1024 * 1024
"""Bytes above which a body is answered in Base64. Lambda's limit is 6 MB of JSON, and text may double when quoted."""

TEXT: Final = ["text/", "application/json"]


def recognises(event: Mapping[str, Any]) -> bool:
    """Whether it is a request in this format."""
    return event.get("version") == "2.0" and "http" in event.get("requestContext", {})


async def handle(event: Mapping[str, Any], host: Host) -> Any:
    """Have the ingress answer it, or the admin, if the gateway says who asks."""
    deadline = cast(int, host.engine.deadline)
    host.until = min(event["requestContext"]["timeEpoch"] + GATEWAY_LIMIT, deadline - RESERVE)
    if _is_mangled(event):
        return {
            "statusCode": 400,
            "headers": {"content-type": "application/json"},
            "body": '{"message":"invalid input: Invalid JSON: the body is not UTF-8","code":400}',
            "isBase64Encoded": False,
        }
    request = HTTPGateway(dict(event), cast(Any, None), _config(TEXT))
    # The path comes decoded but for %25, and has to be decoded once: of "a%252Fb" nothing else is left to decode.
    path = event["rawPath"].replace("%25", "%")
    cycle = HTTPCycle({**request.scope, "path": path, "raw_path": None}, request.body)
    if not is_admin(path):
        app: ASGIApp = host.ingress
    elif _is_signed(event):
        app = host.admin
    else:
        app = refuse(403, "requests to the admin are signed (IAM)")
    await cycle.run(cast(Any, app))
    request.config = _config([] if len(cycle.body) > LARGE else TEXT)
    return request({"status": cycle.status, "headers": cycle.headers, "body": cycle.body})


def _is_signed(event: Mapping[str, Any]) -> bool:
    """Whether it came by a route that asks IAM. The template's does; somebody may add another that leads here."""
    authorizer: dict[str, Any] = event["requestContext"].get("authorizer") or {}
    return bool(authorizer.get("iam"))


def _is_mangled(event: Mapping[str, Any]) -> bool:
    """Whether the body, sent as text, was not UTF-8: then it comes with replacement characters, of another length."""
    body = event.get("body") or ""
    if event.get("isBase64Encoded") or "\ufffd" not in body:
        return False
    headers = {name.lower(): value for name, value in event.get("headers", {}).items()}
    return headers.get("content-length", "").isdecimal() and int(headers["content-length"]) != len(body.encode())


def _config(text_mime_types: list[str]) -> LambdaConfig:
    return LambdaConfig(api_gateway_base_path="/", text_mime_types=text_mime_types, exclude_headers=[])
