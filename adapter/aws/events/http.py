"""A request by API Gateway's HTTP API, in payload format 2.0, to the ingress or the admin.

See https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final, cast

from mangum.handlers import HTTPGateway
from mangum.protocols import HTTPCycle
from mangum.types import LambdaConfig
from starlette.types import ASGIApp

from adapter.aws.host import Host
from adapter.engine.types import MAX_PAYLOAD
from adapter.http.messages import number, refuse
from adapter.http.services import is_admin

GATEWAY_LIMIT: Final = 28_500
"""Milliseconds from its arrival at which a request is answered, ready or not: API Gateway gives up after 30 seconds."""

RESERVE: Final = 1_000
"""Milliseconds that suspending, and answering, take at most."""

LARGE: Final = 1024 * 1024
"""Bytes above which a body is answered in Base64. Lambda's limit is 6 MB of JSON, and text may double when quoted."""

TEXT: Final = ["text/", "application/json"]

log = logging.getLogger("adapter")


def recognises(event: Mapping[str, Any]) -> bool:
    """Whether it is a request in this format."""
    match event:
        case {"version": "2.0", "rawPath": str(), "requestContext": {"http": dict(), "timeEpoch": int()}}:
            return True
        case _:
            return False


async def handle(event: Mapping[str, Any], host: Host) -> Any:
    """Have the ingress answer it, or the admin, if the gateway says who asks."""
    deadline = cast(int, host.engine.process.deadline)
    host.until = min(event["requestContext"]["timeEpoch"] + GATEWAY_LIMIT, deadline - RESERVE)
    try:
        if _is_mangled(event):
            return _refused("invalid input: Invalid JSON: the body is not UTF-8")
        request = HTTPGateway(dict(event), cast(Any, None), _config(TEXT))
        scope, body = request.scope, request.body
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        log.warning("a request that cannot be read", exc_info=True)
        return _refused(f"the request cannot be read: {error!r}")
    # The gateway decodes the path, but may leave a %25. Its changes to "?" and "%" cannot be undone, so keys with these
    # characters are passed in the query (see docs/http.md).
    path = event["rawPath"].replace("%25", "%")
    cycle = HTTPCycle({**scope, "path": path, "raw_path": None}, body)
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
    """Return True if the request came by a route with IAM authorization. A route that a user added may have none."""
    authorizer: dict[str, Any] = event["requestContext"].get("authorizer") or {}
    return bool(authorizer.get("iam"))


def _is_mangled(event: Mapping[str, Any]) -> bool:
    """Whether the body, sent as text, was not UTF-8: then it comes with replacement characters, of another length."""
    body = event.get("body") or ""
    if event.get("isBase64Encoded") or "\ufffd" not in body:
        return False
    headers: dict[str, str] = event.get("headers") or {}
    length = {name.lower(): value for name, value in headers.items()}.get("content-length", "")
    return length.isdecimal() and number(length, MAX_PAYLOAD) != len(body.encode())


def _refused(message: str) -> dict[str, Any]:
    """Return a 400 for an event that makes no request."""
    response = refuse(400, message)
    body = bytes(response.body).decode()
    return {"statusCode": 400, "headers": dict(response.headers), "body": body, "isBase64Encoded": False}


def _config(text_mime_types: list[str]) -> LambdaConfig:
    return LambdaConfig(api_gateway_base_path="/", text_mime_types=text_mime_types, exclude_headers=[])
