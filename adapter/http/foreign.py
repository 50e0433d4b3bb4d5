"""JSON schemas of handlers in other languages, as parts of an OpenAPI document.

A schema that an endpoint's manifest has is whole in itself. What it names becomes a schema of the document, so that
clients made from it have types of these names.
"""

from __future__ import annotations

import re
from typing import Any, Final, cast

LOCAL: Final = re.compile(r"#/(?:\$defs|definitions)/([^/]+)")
"""A reference within a schema."""

NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""A title that can be the name of a type."""


class Shared:
    """The named schemas of a document.

    Args:
        prefix: What references to them begin with.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.schemas: dict[str, Any] = {}

    def take(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Return a schema whose named parts, and itself if it has a title, are among the named ones.

        >>> shared = Shared("#/components/schemas/")
        >>> shared.take({"title": "Order", "type": "object", "properties": {}})
        {'$ref': '#/components/schemas/Order'}
        >>> shared.take({"title": "Order", "type": "object", "properties": {"sku": {"type": "string"}}})
        {'$ref': '#/components/schemas/Order2'}
        """
        parts = {**_named(schema, "definitions"), **_named(schema, "$defs")}
        own = {key: value for key, value in schema.items() if key not in ("$defs", "definitions", "$schema")}
        names: dict[str, str] = {}
        for name, part in parts.items():
            names[name] = self._free(name if NAME.fullmatch(name) else f"Type{len(self.schemas) + 1}", part, parts)
        for name, part in parts.items():
            self.schemas[names[name]] = {**self._renamed(part, names), "title": names[name]}
        taken: dict[str, Any] = self._renamed(own, names)
        title = own.get("title")
        if own.get("type") != "object" or not isinstance(title, str) or not NAME.fullmatch(title):
            return taken
        name = self._free(title, taken, {})
        self.schemas[name] = {**taken, "title": name}
        return {"$ref": self._prefix + name}

    def _free(self, name: str, schema: Any, parts: dict[str, Any]) -> str:
        """Return a name that no other schema has. Two that look alike are one, if they refer to nothing."""
        number, free = 1, name
        while free in self.schemas and (parts or self.schemas[free] != {**schema, "title": free}):
            number += 1
            free = f"{name}{number}"
        self.schemas.setdefault(free, schema)
        return free

    def _renamed(self, value: Any, names: dict[str, str]) -> Any:
        match value:
            case dict():
                items = cast("dict[str, Any]", value).items()
                return {key: self._renamed(item, names) for key, item in items}
            case list():
                return [self._renamed(item, names) for item in cast("list[Any]", value)]  # type: ignore[redundant-cast]
            case str() if (match := LOCAL.fullmatch(value)) is not None:
                return self._prefix + names.get(match[1], match[1])
            case _:
                return value


def _named(schema: dict[str, Any], key: str) -> dict[str, dict[str, Any]]:
    """Return the named parts of a schema. A part that is no schema lets anything pass, as ``true`` does.

    >>> _named({"$defs": {"Anything": True, "Nothing": False}}, "$defs")
    {'Anything': {}, 'Nothing': {'not': {}}}
    """
    parts = schema.get(key)
    return (
        {name: _schema(part) for name, part in cast("dict[str, Any]", parts).items()} if isinstance(parts, dict) else {}
    )


def _schema(part: Any) -> dict[str, Any]:
    if isinstance(part, dict):
        return cast("dict[str, Any]", part)
    return {"not": {}} if part is False else {}
