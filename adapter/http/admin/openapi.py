"""The admin's OpenAPI 3.1 document, made from its operations and their types."""

from __future__ import annotations

import inspect
import re
from typing import Any, Final, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter
from starlette.responses import Response

from adapter.engine.ids import AWAKEABLE_ID, INVOCATION_ID
from adapter.engine.records import Ended, Status
from adapter.engine.types import MAX_IDEMPOTENCY_KEY, MAX_KEY
from adapter.http.admin import models as m
from adapter.http.admin import parameters
from adapter.http.admin.filters import ALTERNATIVES, LIVE, MAX_TEXT
from adapter.http.admin.routing import OPERATIONS, Call, Operation, Reply, operation

_NAME: Final[dict[str, Any]] = {"type": "string", "minLength": 1, "maxLength": MAX_KEY}
_TIME: Final[dict[str, Any]] = {"type": "string", "format": "date-time"}

QUERY: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "status": (
        "Only those with one of these statuses. `live` stands for all but `completed`.",
        {"type": "array", "items": {"type": "string", "enum": [*map(str, Status), LIVE]}},
    ),
    "outcome": (
        "Only those that ended in one of these ways.",
        {"type": "array", "items": {"type": "string", "enum": [*map(str, Ended)]}},
    ),
    "service": ("Only those of this service.", {"type": "string"}),
    "handler": ("Only those of this handler.", {"type": "string"}),
    "text": (
        "Only those in whose id, target, status, outcome, deployment or error it occurs. One that begins with `inv_` "
        "is the beginning of an id.",
        {"type": "array", "items": {"type": "string", "maxLength": MAX_TEXT}},
    ),
    "key": ("The key.", _NAME),
    "name": ("The name of an entry.", _NAME),
    "deployment": ("The version of a function, such as `shop:7`. `latest` with resume.", {"type": "string"}),
    "since": ("Only those created at this time or later.", _TIME),
    "until": ("Only those created before this time.", _TIME),
    "limit": (
        "The most entries of a page.",
        {"type": "integer", "minimum": 1, "maximum": parameters.MAX_LIMIT, "default": parameters.LIMIT},
    ),
    "part": (
        "What an SDK's handler did within an exchange: its place there.",
        {"type": "integer", "minimum": 0},
    ),
    "cursor": ("Where the page before ended.", {"type": "string"}),
    "from": ("The number of the first command that is run again.", {"type": "integer", "minimum": 0}),
    "dry_run": ("Change nothing.", {"type": "boolean"}),
    "queued": ("Only keys that have a queue.", {"type": "boolean"}),
}
"""The parameters of the query, by name."""

REQUIRED: Final = {"/services/{service}/key": {"key"}, "/services/{service}/state": {"key"}}
"""The parameters that have to be given, by path."""

HEADERS: Final[dict[str, dict[str, Any]]] = {
    "if-match": {
        "name": "If-Match",
        "in": "header",
        "required": True,
        "description": "The key's version, as GET tells it.",
        "schema": {"type": "string"},
    },
    "idempotency-key": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "Requests that carry the same one take effect once.",
        "schema": {"type": "string", "minLength": 1, "maxLength": MAX_IDEMPOTENCY_KEY},
    },
}

IDS: Final = {"/awakeables/": rf"({AWAKEABLE_ID.pattern}|sign_1[A-Za-z0-9_-]+)", "/invocations/": INVOCATION_ID.pattern}
"""The forms of ids, by what their paths begin with."""


@operation("GET", "/openapi.json")
async def openapi(call: Call) -> dict[str, Any]:
    """Describe the admin: this document."""
    return document()


def document() -> dict[str, Any]:
    """Return the admin's OpenAPI 3.1 document."""
    schemas = _Schemas()
    paths: dict[str, Any] = {}
    for each in OPERATIONS:
        path = paths.setdefault("/admin" + each.path.replace("+}", "}"), {})
        for method in each.methods:
            path[method.lower()] = _operation(each, method, schemas)
    problem = {"application/problem+json": {"schema": schemas.of(m.Problem)}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Admin", "version": "1"},
        "paths": paths,
        "components": {
            "schemas": schemas.defined,
            "responses": {"Problem": {"description": "The request was refused.", "content": problem}},
        },
    }


class _Schemas:
    """The schemas of the operations' types, each defined once."""

    def __init__(self) -> None:
        self.defined: dict[str, Any] = {}

    def of(self, type: Any) -> dict[str, Any]:
        """Return a type's schema, as a reference where it has a name."""
        schema = TypeAdapter(type).json_schema(ref_template="#/components/schemas/{model}")
        self.defined |= schema.pop("$defs", {})
        if "title" in schema and schema.get("type") == "object":
            self.defined[schema["title"]] = schema
            return {"$ref": f"#/components/schemas/{schema['title']}"}
        return schema


def _operation(each: Operation, method: str, schemas: _Schemas) -> dict[str, Any]:
    names = re.findall(r"\{(\w+)\+?\}", each.path)
    doc = inspect.getdoc(each.run) or ""
    first, _, more = doc.partition("\n\n")
    described: dict[str, Any] = {
        "operationId": each.run.__name__ if method == each.methods[0] else f"{each.run.__name__}_{method.lower()}",
        "summary": " ".join(first.split()),
        "parameters": [
            *(_path_parameter(each.path, name) for name in names),
            *(_query_parameter(each.path, name) for name in each.query),
            *(HEADERS[name] for name in each.headers),
        ],
        "responses": {**_responses(each, schemas), "default": {"$ref": "#/components/responses/Problem"}},
    }
    if more:
        described["description"] = " ".join(more.split())
    if each.body is bytes and method != "DELETE":
        content: dict[str, Any] = {"application/json": {"schema": {}}, "application/octet-stream": {"schema": {}}}
        described["requestBody"] = {"content": content}
    elif each.body is not None and method != "DELETE":
        content = {"application/json": {"schema": schemas.of(each.body)}}
        described["requestBody"] = {"content": content, "required": True}
    return described


def _path_parameter(path: str, name: str) -> dict[str, Any]:
    pattern = next((pattern for prefix, pattern in IDS.items() if path.startswith(prefix) and name == "id"), None)
    schema = {"type": "string", **({"pattern": f"^{pattern}$"} if pattern else {})}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _query_parameter(path: str, name: str) -> dict[str, Any]:
    description, schema = QUERY[name]
    if path.startswith("/invocations") and name in ALTERNATIVES and schema["type"] != "array" and "{" not in path:
        description, schema = f"{description} Repeat it for alternatives.", {"type": "array", "items": schema}
    required = (
        {"required": True} if name in REQUIRED.get(path, ()) or (path.startswith(_OF_A_KEY) and name == "key") else {}
    )
    return {"name": name, "in": "query", **required, "description": description, "schema": schema}


_OF_A_KEY: Final = "/services/{service}/promises"


def _responses(each: Operation, schemas: _Schemas) -> dict[str, Any]:
    """Return the responses by what the function returns: a type, a `Reply` with it, bytes, or one of several."""
    hints = get_type_hints(each.run)["return"]
    types = get_args(hints) if get_origin(hints) not in (Reply, dict) and get_args(hints) else (hints,)
    content: dict[str, Any] = {}
    for type in types:
        if type is Response:
            content["application/octet-stream"] = {"schema": {"type": "string", "format": "binary"}}
        else:
            inner = get_args(type)[0] if get_origin(type) is Reply else type
            content["application/json"] = {"schema": schemas.of(inner)}
    responses: dict[str, Any] = {"200": {"description": "The answer.", "content": content}}
    if each.accepts:
        responses = {"202": {"description": "It is done, or under way.", "content": content}, **responses}
        responses["200"]["description"] = "Nothing was left to do."
    return responses
