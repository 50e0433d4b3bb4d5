"""A curl line for each handler, with a body that fits."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any, cast

from pydantic.errors import PydanticInvalidForJsonSchema

from adapter.engine.types import Kind
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


def sample(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int = 0) -> Any:
    """Return a value that fits a JSON schema, except for patterns and bounds, which are ignored."""
    for given in ("default", "const"):
        if given in schema:
            return schema[given]
    if examples := schema.get("examples") or schema.get("enum"):
        return examples[0]
    if "$ref" in schema:
        if depth > 8:
            return None
        return sample(root["$defs"][schema["$ref"].rpartition("/")[2]], root, depth + 1)
    for union in ("anyOf", "oneOf", "allOf"):
        if union in schema:
            return sample(schema[union][0], root, depth)
    match schema.get("type"):
        case "string":
            return "text"
        case "integer" | "number":
            return 1
        case "boolean":
            return True
        case "array":
            return []
        case "object":
            properties = cast("dict[str, Any]", schema.get("properties", {}))
            return {name: sample(properties[name], root, depth) for name in schema.get("required", [])}
        case _:
            return None
