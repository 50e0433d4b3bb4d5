"""A curl line for each handler, with a body that fits."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from itertools import count
from typing import Any, Final, cast

from pydantic.errors import PydanticInvalidForJsonSchema

from adapter.engine.types import Kind
from adapter.http.foreign import at, object_of, place_of
from adapter.registry import HostedHandler, Registry

MOST_REFERENCES: Final = 100
"""Types that refer to each other have samples that grow with the factorial of their number."""


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


def sample(schema: Any, root: Any) -> Any:
    """Return a value that fits a JSON schema, except for patterns and bounds, which are ignored.

    The value is ``None`` where a part of the schema contains itself, and after `MOST_REFERENCES`.

    Args:
        schema: The schema, or a part of one. Another value lets anything pass, as ``true`` does.
        root: What the references in it lead through.
    """
    followed = count(1)

    def fitting(part: Any, within: frozenset[str]) -> Any:
        match part:
            case {"default": given} | {"const": given} | {"examples": [given, *_]} | {"enum": [given, *_]}:
                return given
            case {"$ref": str(reference)}:
                if reference in within or next(followed) > MOST_REFERENCES:
                    return None
                return fitting(at(root, place_of(reference)), within | {reference})
            case {"anyOf": [first, *_]} | {"oneOf": [first, *_]} | {"allOf": [first, *_]}:
                return fitting(first, within)
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
                return {name: fitting(properties.get(name), within) for name in names}
            case _:
                return None

    return fitting(schema, frozenset({"#"}))
