"""JSON schemas of handlers in other languages, as parts of an OpenAPI document.

A schema that an endpoint's manifest has is whole in itself. What it refers to becomes a schema of the document, so that
clients made from it have types of these names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, count
from typing import Any, Final, cast
from urllib.parse import unquote

DEFINITIONS: Final = ("definitions", "$defs")
"""Where a schema has its named parts."""

NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""A title that can be the name of a type."""

Place = tuple[str, ...]
"""A place in a schema: the names on the way to it."""


class Shared:
    """The named schemas of a document.

    Args:
        prefix: What references to them begin with.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.schemas: dict[str, Any] = {}

    def take(self, schema: dict[str, Any], name: str = "Schema") -> dict[str, Any]:
        """Return a schema whose named parts, and itself if it has a title or is recursive, are among the named ones.

        A named part that is the whole again, as Restate's Go SDK writes it, is its title.

        Args:
            schema: The schema.
            name: The name of a recursive schema without a title.

        >>> shared = Shared("#/components/schemas/")
        >>> shared.take({"title": "Order", "type": "object", "properties": {}})
        {'$ref': '#/components/schemas/Order'}
        >>> shared.take({"title": "Order", "type": "object", "properties": {"sku": {"type": "string"}}})
        {'$ref': '#/components/schemas/Order2'}
        >>> shared.take({"type": "array", "items": {"$ref": "#"}}, "Tree")
        {'$ref': '#/components/schemas/Tree'}
        >>> shared.schemas["Tree"]["items"]
        {'$ref': '#/components/schemas/Tree'}
        """
        own = {key: value for key, value in schema.items() if key not in (*DEFINITIONS, "$schema")}
        parts: dict[Place, dict[str, Any]] = {}
        for key in DEFINITIONS:
            parts.update({(key, part): _schema(value) for part, value in object_of(schema.get(key)).items()})
        wholes = [place for place, part in parts.items() if part == {"$ref": "#"}]
        for place in wholes:
            del parts[place]
        titles = [own.get("title"), *(place[-1] for place in wholes)]
        titled = next((each for each in titles if isinstance(each, str) and NAME.fullmatch(each)), "")
        references = [() if place in wholes else place for place in _references([own, *parts.values()])]
        parts.update({place: _schema(at(schema, place)) for place in references if place not in parts})
        if () in parts or (titled and own.get("type") == "object"):
            parts[()] = own
        names = self._named(parts, wholes, titled or name)
        self.schemas |= self._titled(parts, names)
        return {"$ref": self._prefix + names[()]} if () in parts else self._renamed(own, names)

    def _named(self, parts: Mapping[Place, dict[str, Any]], wholes: Iterable[Place], whole: str) -> dict[Place, str]:
        """Return the names of parts by their places. A name that a different schema has gets a number."""
        names: dict[Place, str] = {}
        for place in parts:
            wanted = place[-1] if place else whole
            names[place] = wanted if NAME.fullmatch(wanted) else f"Type{len(self.schemas) + len(names) + 1}"
        names |= {place: names[()] for place in wholes if () in names}
        titled = self._titled(parts, names)
        if len(titled) == len(parts) and all(
            self.schemas.get(each, schema) == schema for each, schema in titled.items()
        ):
            return names
        used = set(self.schemas)
        for place, part in parts.items():
            wanted = names[place]
            if next(_references(part), None) is None and self.schemas.get(wanted) == {**part, "title": wanted}:
                continue
            numbered = (f"{wanted}{number}" for number in count(2))
            names[place] = next(each for each in chain([wanted], numbered) if each not in used)
            used.add(names[place])
        return names | {place: names[()] for place in wholes if () in names}

    def _titled(self, parts: Mapping[Place, dict[str, Any]], names: Mapping[Place, str]) -> dict[str, dict[str, Any]]:
        return {names[place]: {**self._renamed(part, names), "title": names[place]} for place, part in parts.items()}

    def _renamed(self, value: Any, names: Mapping[Place, str]) -> Any:
        match value:
            case {"$ref": str(reference), **others} if reference.startswith("#"):
                return {"$ref": self._prefix + names[place_of(reference)], **self._renamed(others, names)}
            case dict():
                items = cast("dict[str, Any]", value).items()
                return {key: self._renamed(item, names) for key, item in items}
            case list():
                return [self._renamed(item, names) for item in cast("list[Any]", value)]  # type: ignore[redundant-cast]
            case str() if value.startswith("#/") and place_of(value) in names:
                return self._prefix + names[place_of(value)]  # in the mapping of a discriminator
            case _:
                return value


def _references(value: Any) -> Iterator[Place]:
    """Yield the places in a schema that it refers to."""
    match value:
        case dict():
            for key, item in cast("dict[str, Any]", value).items():
                if key == "$ref" and isinstance(item, str) and item.startswith("#"):
                    yield place_of(item)
                yield from _references(item)
        case list():
            for item in cast("list[Any]", value):  # type: ignore[redundant-cast]
                yield from _references(item)
        case _:
            pass


def place_of(reference: str) -> Place:
    """Return the place that a reference names.

    >>> place_of("#"), place_of("#anchor"), place_of("#/$defs/Page%5BItem%5D/properties/a~1b")
    ((), ('anchor',), ('$defs', 'Page[Item]', 'properties', 'a/b'))
    """
    anchor, *names = reference[1:].split("/")
    return tuple(unquote(name).replace("~1", "/").replace("~0", "~") for name in ([anchor] if anchor else names))


def at(schema: Any, place: Place) -> Any:
    """Return the part of a schema at a place; ``None`` if there is no such part."""
    try:
        for name in place:
            schema = schema[int(name) if isinstance(schema, list) else name]
    except (LookupError, TypeError, ValueError):
        return None
    return schema


def object_of(value: Any) -> dict[str, Any]:
    """Return a JSON object; an empty one for any other value.

    >>> object_of({"a": 1}), object_of([1])
    ({'a': 1}, {})
    """
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _schema(part: Any) -> dict[str, Any]:
    """Return a schema as an object. What is no schema lets anything pass, as ``true`` does.

    >>> _schema(True), _schema(False)
    ({}, {'not': {}})
    """
    if isinstance(part, dict):
        return cast("dict[str, Any]", part)
    return {"not": {}} if part is False else {}
