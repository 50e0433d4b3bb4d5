"""Core schemas that read all that they write.

pydantic writes some values in a way that it does not read: a field whose aliases differ, bytes that are not UTF-8, the
computed fields of a model that forbids other fields. `adjust` changes a type's core schema so that each is read back.
Sets are sorted, because a replay that writes a set again has to write the same bytes, in any process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

Schema = dict[str, Any]

_DATA: Final = frozenset({"cls", "config", "default", "expected", "members", "metadata"})
"""The keys of a schema that hold no schemas."""

_SCALARS: Final = tuple({"type": kind} for kind in ("str", "int", "bool", "none"))
"""Not floats: a large integer is rounded to one when it is written."""


@dataclass(slots=True)
class Traits:
    """What a core schema contains.

    Attributes:
        changed: Whether `adjust` changed something.
        decimal: Whether there is a ``Decimal``.
        json: Whether there is a pydantic ``Json[T]``: JSON in a string.
        loose: Whether there is an ``Any``, whose value is read as plain JSON.
        nested: Whether values can be nested to any depth.
    """

    changed: bool = False
    decimal: bool = False
    json: bool = False
    loose: bool = False
    nested: bool = False


def exact(schema: Mapping[str, Any]) -> bool:
    """Return True if every value that fits this schema is read back equal: text, integers, lists of them.

    >>> exact({"type": "list", "items_schema": {"type": "str"}}), exact({"type": "str", "max_length": 3})
    (True, False)
    """
    match schema:
        case {"type": "nullable", "schema": inner, **more}:
            return not more and exact(inner)
        case {"type": "list", "items_schema": inner, **more}:
            return not more and exact(inner)
        case {"type": "dict", "keys_schema": {"type": "str", **limits}, "values_schema": inner, **more}:
            return not more and not limits and exact(inner)
        case _:
            return schema in _SCALARS


def adjust(schema: Mapping[str, Any]) -> tuple[Schema, Schema, Traits]:
    """Return a copy of the schema that reads what it writes, the configuration to use it with, and what is in it.

    A type's own settings are kept: if a model's configuration says how to write bytes, they are read in the same way.
    """
    walk = _Walk()
    made = walk.copy(schema)
    return made, walk.config({}), walk.traits


class _Walk:
    def __init__(self) -> None:
        self.traits = Traits()
        self._encoded = False
        """Whether the class at hand has bytes with an encoding of their own, such as ``Base64Bytes``."""

    def copy(self, node: Any) -> Any:
        if isinstance(node, list | tuple):
            return type(cast("list[Any]", node))(self.copy(item) for item in cast("list[Any]", node))
        if not isinstance(node, Mapping):
            return node
        schema = cast("Mapping[str, Any]", node)
        kind: object = schema.get("type")
        if not isinstance(kind, str):  # fields, or the choices of a tagged union, by name
            return {name: self.copy(inner) for name, inner in schema.items()}
        if kind in ("model", "dataclass", "typed-dict"):
            return self._copy_class(schema)
        self._note(kind, schema)
        made = self._copy_items(schema)
        if kind in ("set", "frozenset") and "serialization" not in schema:
            made["serialization"] = {"type": "function-wrap", "function": _in_order, "when_used": "json"}
            self.traits.changed = True
        if kind == "generator":  # an ``Iterable``: read as a list, not as something that can be read once
            made["type"] = "list"
            self.traits.changed = True
        return made

    def config(self, own: Schema) -> Schema:
        """Return a configuration that has bytes as base64, unless it says something else."""
        mode = own.get("ser_json_bytes", "utf8" if self._encoded else "base64")
        return {"ser_json_bytes": mode, "val_json_bytes": mode, **own}

    def _copy_class(self, schema: Mapping[str, Any]) -> Schema:
        outer, self._encoded = self._encoded, False
        made = self._copy_items(schema)
        own: Schema = schema.get("config") or {}
        made["config"] = self.config(own)
        self._encoded |= outer  # what a serializing function returns is written by the outermost configuration
        if own.get("validate_by_alias") is False:
            made["config"] |= {"validate_by_alias": True, "validate_by_name": True}
            self.traits.changed = True
        for fields in _levels(made):
            extra = fields.get("extra_behavior") or own.get("extra_fields_behavior") or "ignore"
            if fields.get("computed_fields") and extra != "ignore":
                fields["computed_fields"] = []
                self.traits.changed = True
        return made

    def _copy_items(self, schema: Mapping[str, Any]) -> Schema:
        made = {name: inner if name in _DATA else self.copy(inner) for name, inner in schema.items()}
        fields = made.get("fields")
        if isinstance(fields, dict):
            for name, field in cast("dict[str, Schema]", fields).items():
                self._widen(name, field)
        elif made["type"] == "dataclass-args":
            for field in cast("list[Schema]", fields):
                self._widen(field["name"], field)
        return made

    def _widen(self, name: str, field: Schema) -> None:
        """Have a field read by the name that it is written by as well."""
        written, read = field.get("serialization_alias", name), field.get("validation_alias", name)
        paths: list[Any] = [*read] if isinstance(read, list) else [[read]]
        if not isinstance(paths[0], list):
            paths = [paths]
        if [written] not in paths:
            field["validation_alias"] = [*paths, [written]]
            self.traits.changed = True

    def _note(self, kind: str, schema: Mapping[str, Any]) -> None:
        traits = self.traits
        traits.decimal |= kind == "decimal"
        traits.json |= kind == "json"
        traits.loose |= kind == "any"
        traits.nested |= kind in ("any", "definition-ref")
        traits.changed |= kind == "bytes"
        if kind.startswith("function-") and "serialization" in schema and "'type': 'bytes'" in repr(schema):
            self._encoded = True


def _in_order(value: Any, write: Callable[[Any], list[Any]]) -> list[Any]:
    return sorted(write(value), key=repr)


def _levels(schema: Schema) -> Iterator[Schema]:
    """Yield the schema of a class and those that its validators wrap."""
    level: Schema | None = schema
    while level is not None:
        yield level
        level = level.get("schema")
