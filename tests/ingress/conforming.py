"""Answers of the admin are what its operations' types say."""

from __future__ import annotations

from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

import httpx
from pydantic import TypeAdapter
from starlette.responses import Response

from adapter.http.admin import models as m
from adapter.http.admin.routing import OPERATIONS, Operation, Reply


async def conforming(response: httpx.Response) -> None:
    """Check a response: as an event hook of a client of the admin it sees every one."""
    await response.aread()
    kind = response.headers["content-type"]
    if not response.is_success:
        assert kind == "application/problem+json"
        TypeAdapter(m.Problem).validate_json(response.content, strict=True, extra="forbid")
        return
    path = response.request.url.raw_path.decode().partition("?")[0].removeprefix("/admin")
    [operation, *_] = [
        each for each in OPERATIONS if each.pattern.fullmatch(path) and response.request.method in each.methods
    ]
    assert response.status_code == 200 or (response.status_code == 202 and operation.accepts)
    types = _types(operation)
    if kind == "application/octet-stream":
        assert Response in types
        return
    [type] = [each for each in types if each is not Response]
    TypeAdapter(type).validate_json(response.content, strict=True, extra="forbid")


@cache
def _types(operation: Operation) -> list[Any]:
    """The types that an operation answers with."""
    returned = get_type_hints(operation.run)["return"]
    union = get_args(returned) if get_origin(returned) not in (Reply, dict) and get_args(returned) else (returned,)
    return [get_args(each)[0] if get_origin(each) is Reply else each for each in union]
