"""What services take and give, as OpenAPI 3.1 documents: from annotations and docstrings.

Each service has a document of its own; `merge` makes one of several. A call says in ``x-adapter`` what OpenAPI has no
words for: its service, handler and kind, of which ``adapter stubs`` makes definitions again, and its metadata. A tag
has that of the service.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode, JsonSchemaValue

from adapter.engine.ids import AWAKEABLE_ID, INVOCATION_ID
from adapter.engine.types import MAX_IDEMPOTENCY_KEY, MAX_KEY, Kind
from adapter.http.foreign import Shared
from adapter.http.messages import ID
from adapter.http.services import JSON
from adapter.registry import BoundService, HostedHandler, Registry
from adapter.serde import Json, JsonSchema, Serde

Document = dict[str, Any]

SCHEMAS: Final = "#/components/schemas/"


def documents(registry: Registry) -> dict[str, Document]:
    """The documents of the services that have handlers for the public, by their names."""
    described = {name: describe(service) for name, service in registry.services.items()}
    return {name: document for name, document in described.items() if document["paths"]}


def describe(service: BoundService) -> Document:
    """The document of a service, without its private handlers.

    >>> from adapter import Context, Service, handler
    >>> class Greeter(Service):
    ...     @handler
    ...     async def greet(self, ctx: Context, name: str) -> str:
    ...         return f"Hello {name}"
    >>> list(describe(Registry(Greeter).services["Greeter"])["paths"])
    ['/Greeter/greet', '/Greeter/greet/send']
    """
    handlers = [handler for handler in service.handlers.values() if not handler.options.private]
    schemas, shared = _schemas(handlers)
    paths: dict[str, Any] = {}
    for handler in handlers:
        input, output = schemas.get((handler.name, "validation")), schemas.get((handler.name, "serialization"))
        paths |= _paths(service, handler, input, output)
    return _document(service.name, service.doc, paths, shared, [_tag(service)] if handlers else [])


def merge(documents: Mapping[str, Document]) -> Document:
    """One document of several services', and of what is not of any one service.

    A schema's name that stands for different things in different services gets the service's name in front.
    """
    ambiguous = _ambiguous(documents.values())
    paths: dict[str, Any] = dict(_COMMON)
    schemas: dict[str, Any] = {}
    tags: list[dict[str, Any]] = []
    for service, document in sorted(documents.items()):
        document = _renamed(document, {SCHEMAS + name: f"{SCHEMAS}{service}{name}" for name in ambiguous})
        paths |= document["paths"]
        for name, schema in document["components"]["schemas"].items():
            new = f"{service}{name}" if name in ambiguous else name
            schemas[new] = {**schema, "title": new} if name in ambiguous else schema
        tags += document["tags"]
    return _document("Services", "", paths, schemas, tags)


# --- schemas ---------------------------------------------------------------------------------------------------------


class _Generator(JsonSchema):
    """Lets anything pass where a type has no schema, so that one handler's does not spoil the document."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - as in the base

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> JsonSchemaValue:
        return {}


_Schemas = Mapping[tuple[str, JsonSchemaMode], dict[str, Any]]


def _schemas(handlers: Iterable[HostedHandler]) -> tuple[_Schemas, dict[str, Any]]:
    """The schemas of inputs and outputs by handler and mode, and those that they refer to by name."""
    wanted: list[tuple[str, JsonSchemaMode, TypeAdapter[Any]]] = []
    foreign, others = Shared(SCHEMAS), dict[tuple[str, JsonSchemaMode], dict[str, Any]]()
    sides: tuple[tuple[Literal["input", "output"], JsonSchemaMode], ...]
    sides = (("input", "validation"), ("output", "serialization"))
    for handler in handlers:
        for side, mode in sides:
            serde = handler.input if side == "input" else handler.output
            if isinstance(serde, Json):
                if side == "input" or not serde.void:
                    wanted.append((handler.name, mode, serde.adapter))
            elif (schema := handler.schema(side)) is not None:
                others[handler.name, mode] = foreign.take(schema, f"{handler.name.capitalize()}{side.capitalize()}")
    found, shared = TypeAdapter.json_schemas(wanted, ref_template=SCHEMAS + "{model}", schema_generator=_Generator)
    defined = shared.get("$defs", {})
    # Generators of clients call a model by its title, which here two may have, and by a name without its hyphen.
    names = {name: re.sub("-(Input|Output)$", r"\1", name) for name in defined}
    names = {name: name if new in defined else new for name, new in names.items()}
    references = {SCHEMAS + old: SCHEMAS + new for old, new in names.items()}
    others.update({(str(name), mode): _renamed(schema, references) for (name, mode), schema in found.items()})
    return (
        others,
        foreign.schemas
        | {names[name]: _renamed({**schema, "title": names[name]}, references) for name, schema in defined.items()},
    )


def _ambiguous(documents: Iterable[Document]) -> set[str]:
    """The names of schemas that differ, in themselves or in what they refer to."""
    seen: dict[str, set[str]] = {}
    for document in documents:
        for name, schema in document["components"]["schemas"].items():
            seen.setdefault(name, set()).add(json.dumps(schema, sort_keys=True))
    ambiguous = {name for name, texts in seen.items() if len(texts) > 1}
    while more := {
        name
        for name, texts in seen.items()
        if name not in ambiguous and any(f'"{SCHEMAS}{other}"' in text for text in texts for other in ambiguous)
    }:
        ambiguous |= more
    return ambiguous - set(_SCHEMAS)


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """A document whose references have other names."""
    match value:
        case dict():
            return {key: _renamed(item, names) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType]
        case list():
            return [_renamed(item, names) for item in value]  # pyright: ignore[reportUnknownVariableType]
        case str():
            return names.get(value, value)
        case _:
            return value


# --- paths -----------------------------------------------------------------------------------------------------------


def _paths(
    service: BoundService, handler: HostedHandler, input: dict[str, Any] | None, output: dict[str, Any] | None
) -> dict[str, Any]:
    """How a handler is called, how it is sent to, and, for a workflow's ``run``, how one attaches to it."""
    keyed, workflow = handler.kind is not Kind.SERVICE, handler.kind is Kind.WORKFLOW
    place, name = f"/{service.name}/{'{key}/' if keyed else ''}{handler.name}", f"{service.name}.{handler.name}"
    common: dict[str, Any] = {"tags": [service.name], **_texts(handler.doc)}
    parameters = [*([_KEY] if keyed else []), *([] if workflow else [_IDEMPOTENCY_KEY])]
    body: dict[str, Any] = {}
    if handler.input is not None:
        content = _content(handler.input, None if input is None else {**input, **_default(handler)})
        body = {"requestBody": {"content": content, "required": handler.default is inspect.Parameter.empty}}
    result: dict[str, Any] = {"description": "The result.", "headers": _HEADERS}
    if not (isinstance(handler.output, Json) and handler.output.void):
        result["content"] = _content(handler.output, output)
    told: dict[str, Any]
    told = {"service": service.name, "category": service.category, "handler": handler.name, "kind": str(handler.kind)}
    if handler.metadata:
        told["metadata"] = dict(handler.metadata)
    call = {
        "operationId": name,
        **common,
        "parameters": [*parameters, _PREFER],
        **body,
        "responses": {"200": result, **_PENDING, **_FAILED},
    }
    send = {
        "operationId": f"{name}.send",
        **common,
        "parameters": [*parameters, _DELAY],
        **body,
        "responses": {"202": {"$ref": "#/components/responses/Sent"}, **_FAILED},
    }
    methods: dict[str, Any] = {"post": {**call, "x-adapter": told}}
    if handler.input is None:
        methods["get"] = {**call, "operationId": f"{name}.get"}
    paths: dict[str, Any] = {place: methods, f"{place}/send": {"post": send}}
    if workflow:
        for what in ("attach", "output"):
            waits = what == "attach"
            responses: dict[str, Any] = {"200": result, **(_PENDING if waits else _NOT_READY), **_FAILED}
            asked = [_KEY, *([_PREFER] if waits else [])]
            get = {"operationId": f"{name}.{what}", **common, "parameters": asked, "responses": responses}
            paths[f"/restate/workflow/{service.name}/{{key}}/{what}"] = {"get": get}
    return paths


def _content(serde: Serde[Any], schema: dict[str, Any] | None) -> dict[str, Any]:
    if schema is None:
        schema = _TEXT if serde.content_type.startswith("text/") else _BINARY
    return {serde.content_type: {"schema": schema}}


def _default(handler: HostedHandler) -> dict[str, Any]:
    """The input's default, where JSON can say it."""
    if handler.default is inspect.Parameter.empty or handler.input is None:
        return {}
    try:
        return {"default": json.loads(handler.input.serialize(handler.default) or b"null")}
    except Exception:
        return {}


def _texts(doc: str) -> dict[str, str]:
    """A docstring's first line, and the whole of it if there is more."""
    first, _, more = doc.partition("\n")
    return {**({"summary": first} if first else {}), **({"description": doc} if more else {})}


def _tag(service: BoundService) -> dict[str, Any]:
    tag: dict[str, Any] = {"name": service.name}
    if service.doc:
        tag["description"] = service.doc
    if service.metadata:
        tag["x-adapter"] = {"metadata": dict(service.metadata)}
    return tag


def _document(
    title: str, description: str, paths: dict[str, Any], schemas: dict[str, Any], tags: list[dict[str, Any]]
) -> Document:
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": "1", **({"description": description} if description else {})},
        "paths": paths,
        "components": {**_COMPONENTS, "schemas": {**schemas, **_SCHEMAS}},
        "tags": tags,
    }


# --- what is the same for all ----------------------------------------------------------------------------------------

_BINARY: Final[dict[str, Any]] = {"type": "string", "format": "binary"}
_TEXT: Final[dict[str, Any]] = {"type": "string"}
_NAME: Final[dict[str, Any]] = {"type": "string", "minLength": 1, "maxLength": MAX_KEY}
_INVOCATION_ID: Final[dict[str, Any]] = {"type": "string", "pattern": f"^{INVOCATION_ID.pattern}$"}

_KEY: Final = {"$ref": "#/components/parameters/Key"}
_IDEMPOTENCY_KEY: Final = {"$ref": "#/components/parameters/IdempotencyKey"}
_PREFER: Final = {"$ref": "#/components/parameters/Prefer"}
_DELAY: Final = {"$ref": "#/components/parameters/Delay"}
_ID: Final = {"$ref": "#/components/parameters/Id"}
_AWAKEABLE: Final = {"$ref": "#/components/parameters/Awakeable"}
_HEADERS: Final = {ID: {"$ref": "#/components/headers/Id"}}
_FAILED: Final = {"default": {"$ref": "#/components/responses/Failed"}}
_NOT_READY: Final = {"470": {"$ref": "#/components/responses/NotReady"}}
_PENDING: Final = {"202": {"$ref": "#/components/responses/Pending"}}
_SCHEMAS: Final[dict[str, Any]] = {
    "adapter.Sent": {
        "type": "object",
        "properties": {
            "invocationId": _INVOCATION_ID,
            "status": {"type": "string", "enum": ["Accepted", "PreviouslyAccepted"]},
            "executionTime": {
                "type": "string",
                "format": "date-time",
                "description": "When a delayed message is handled.",
            },
        },
        "required": ["invocationId", "status"],
    },
    "adapter.Error": {
        "type": "object",
        "properties": {
            "message": _TEXT,
            "code": {"type": "integer", "description": "The HTTP status."},
            "source": {
                "type": "string",
                "enum": ["ingress", "invocation"],
                "description": "`invocation`: the handler ended with this terminal error. `ingress`: all other errors.",
            },
        },
        "required": ["message", "code", "source"],
    },
}

_ERROR: Final = {JSON: {"schema": {"$ref": SCHEMAS + "adapter.Error"}}}

_COMPONENTS: Final[dict[str, Any]] = {
    "parameters": {
        "Key": {
            "name": "key",
            "in": "path",
            "required": True,
            "description": f"The virtual object's key, or the workflow's id: up to {MAX_KEY} bytes in UTF-8. "
            "One with `?` or `%` gets through API Gateway only in the query: `?key=`, without its segment of the path.",
            "schema": _NAME,
        },
        "IdempotencyKey": {
            "name": "Idempotency-Key",
            "in": "header",
            "description": "Requests to one handler and key that carry the same one are one invocation.",
            "schema": {"type": "string", "minLength": 1, "maxLength": MAX_IDEMPOTENCY_KEY},
        },
        "Prefer": {
            "name": "Prefer",
            "in": "header",
            "description": "Whether to wait for the result: `respond-suspended` until the invocation is suspended, "
            "`wait=5` for five seconds, `respond-async` not at all. The response is then 202 if there is no result.",
            "schema": _TEXT,
        },
        "Delay": {
            "name": "delay",
            "in": "query",
            "description": "How long to wait before the handler runs: `10s`, `1h 30m`, `1500ms`, `PT10S`.",
            "schema": _TEXT,
        },
        "Id": {
            "name": "id",
            "in": "path",
            "required": True,
            "description": "The invocation's id.",
            "schema": _INVOCATION_ID,
        },
        "Awakeable": {
            "name": "id",
            "in": "path",
            "required": True,
            "description": "The awakeable's id.",
            "schema": {"type": "string", "pattern": f"^{AWAKEABLE_ID.pattern}$"},
        },
    },
    "headers": {
        "Id": {"description": "The invocation's id.", "schema": _INVOCATION_ID},
        "RetryAfter": {
            "description": "The seconds after which to ask again, if they are known.",
            "schema": {"type": "integer", "minimum": 1},
        },
    },
    "responses": {
        "Pending": {
            "description": "With `Prefer`: the invocation is stored, and has no result yet. Attach to it.",
            "headers": {**_HEADERS, "retry-after": {"$ref": "#/components/headers/RetryAfter"}},
            "content": {JSON: {"schema": {"$ref": SCHEMAS + "adapter.Sent"}}},
        },
        "Sent": {
            "description": "The message is stored.",
            "headers": _HEADERS,
            "content": {JSON: {"schema": {"$ref": SCHEMAS + "adapter.Sent"}}},
        },
        "NotReady": {"description": "There is no result yet.", "headers": _HEADERS, "content": _ERROR},
        "Failed": {
            "description": "The request was refused (400 does not fit, 404 not found, 409 done already, 413 too large, "
            "503 try again, 504 not ready in time: attach), or the handler failed, with the code of its choice.",
            "content": _ERROR,
        },
    },
}

_ANY_BODY: Final[dict[str, Any]] = {"requestBody": {"content": {JSON: {"schema": {}}}}}
_DONE: Final = {"202": {"description": "Delivered."}, **_FAILED}
_ANY_RESULT: Final[dict[str, Any]] = {
    "200": {"description": "The result.", "headers": _HEADERS, "content": {JSON: {"schema": {}}}}
}


def _told(target: str, *required: str, **schemas: Any) -> dict[str, Any]:
    """What tells an invocation: the kind of it, and its parts, which are names if nothing else is said."""
    properties = {"target": {"const": target}, **dict.fromkeys(required, _NAME), **schemas}
    return {"type": "object", "properties": properties, "required": ["target", *required]}


_TOLD: Final = [
    _told("invocation", "invocationId", invocationId=_INVOCATION_ID),
    _told("workflow", "workflowName", "workflowKey"),
    _told("idempotentInvocation", "service", "handler", "idempotencyKey", key=_NAME),
]
_FOUND: Final = {"type": "object", "properties": {"invocationId": _INVOCATION_ID}, "required": ["invocationId"]}

_COMMON: Final[dict[str, Any]] = {
    "/restate/invocation/{id}/attach": {
        "get": {
            "operationId": "restate.attach",
            "summary": "Wait for an invocation's result.",
            "parameters": [_ID, _PREFER],
            "responses": {**_ANY_RESULT, **_PENDING, **_FAILED},
        }
    },
    "/restate/invocation/{id}/output": {
        "get": {
            "operationId": "restate.output",
            "summary": "Look whether an invocation's result is there.",
            "parameters": [_ID],
            "responses": {**_ANY_RESULT, **_NOT_READY, **_FAILED},
        }
    },
    "/restate/lookup": {
        "post": {
            "operationId": "restate.lookup",
            "summary": "Work out an invocation's id, be it there or not.",
            "requestBody": {"content": {JSON: {"schema": {"oneOf": _TOLD}}}, "required": True},
            "responses": {
                "200": {"description": "The id.", "headers": _HEADERS, "content": {JSON: {"schema": _FOUND}}},
                **_FAILED,
            },
        }
    },
    "/restate/invocation/{id}/signals/{name}": {
        "post": {
            "operationId": "restate.signal",
            "summary": "Send a signal to an invocation.",
            "parameters": [_ID, {"name": "name", "in": "path", "required": True, "schema": _NAME}],
            **_ANY_BODY,
            "responses": _DONE,
        }
    },
    "/restate/awakeables/{id}/resolve": {
        "post": {
            "operationId": "restate.resolve",
            "summary": "Give an awakeable its result.",
            "parameters": [_AWAKEABLE],
            **_ANY_BODY,
            "responses": _DONE,
        }
    },
    "/restate/awakeables/{id}/reject": {
        "post": {
            "operationId": "restate.reject",
            "summary": "Fail an awakeable; the body says why.",
            "parameters": [_AWAKEABLE],
            "requestBody": {"content": {"text/plain": {"schema": _TEXT}}},
            "responses": _DONE,
        }
    },
}
