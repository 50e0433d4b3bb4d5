"""A curl line for each handler, with a body that fits."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import Any, cast

from pydantic.errors import PydanticInvalidForJsonSchema

from adapter.engine.types import Kind
from adapter.http.foreign import at, object_of, place_of
from adapter.registry import HostedHandler, Registry


def curl_lines(registry: Registry, url: str) -> Iterator[str]:
    """Yield a command for each handler that may be called from outside.

    >>> from adapter import Context, Service, handler
    >>> class Greeter(Service):
    ...     @handler
    ...     async def greet(self, ctx: Context, name: str) -> str:
    ...         return f"Hello {name}"
    >>> list(curl_lines(Registry(Greeter), "http://localhost:8080"))
    ['curl http://localhost:8080/Greeter/greet --json \\'"text"\\'']
    """
    for service in registry.services.values():
        for handler in service.handlers.values():
            if not handler.options.private:
                key = "" if handler.kind is Kind.SERVICE else "/my-key"
                yield f"curl {url}/{service.name}{key}/{handler.name}{_body(handler)}"


def _body(handler: HostedHandler) -> str:
    if handler.input is None:
        return " -X POST"
    try:
        schema = handler.schema("input")
    except PydanticInvalidForJsonSchema:
        return " --json @FILE"
    if schema is None:
        return " --data-binary @FILE"
    return " --json " + shlex.quote(json.dumps(sample(schema, schema), ensure_ascii=False))


def sample(schema: Any, root: Any, within: frozenset[str] = frozenset({"#"})) -> Any:
    """Return a value that fits a JSON schema, except for patterns and bounds, which are ignored.

    Args:
        schema: The schema, or a part of one. Another value lets anything pass, as ``true`` does.
        root: What the references in it lead through.
        within: The references that led here. The value is ``None`` where one of them comes again.
    """
    match schema:
        case {"default": given} | {"const": given} | {"examples": [given, *_]} | {"enum": [given, *_]}:
            return given
        case {"$ref": str(reference)}:
            found = None if reference in within else at(root, place_of(reference))
            return sample(found, root, within | {reference})
        case {"anyOf": [part, *_]} | {"oneOf": [part, *_]} | {"allOf": [part, *_]}:
            return sample(part, root, within)
        case {"type": "string" | ["string", *_]}:
            return "text"
        case {"type": "integer" | "number" | ["integer" | "number", *_]}:
            return 1
        case {"type": "boolean" | ["boolean", *_]}:
            return True
        case {"type": "array" | ["array", *_]}:
            return []
        case {"type": "object" | ["object", *_], **others}:
            properties = object_of(others.get("properties"))
            required = cast("list[object]", others["required"]) if isinstance(others.get("required"), list) else []
            names = (name for name in required if isinstance(name, str))
            return {name: sample(properties.get(name), root, within) for name in names}
        case _:
            return None
