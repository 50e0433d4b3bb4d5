"""`adapter stubs` of JSON schemas with anything done to them: the module that is printed can be imported."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.cli.stubs import generate
from adapter.definitions import describe as described
from adapter.errors import DefinitionError
from adapter.http.openapi import describe, merge
from adapter.local.samples import curl_lines
from adapter.registry import Registry
from adapter.restate.http import HttpEndpoint
from tests.fuzz.bounds import bounded
from tests.fuzz.changes import ODD, changes
from tests.fuzz.test_manifests import MANIFEST, PAYLOAD

SIZE = {"$ref": "#/$defs/Size"}
SCHEMA: dict[str, Any] = {
    "title": "Order",
    "description": "What is ordered.",
    "type": "object",
    "properties": {
        "size": SIZE,
        "place": {"type": "object", "properties": {"x": {"type": "number", "default": 0.5}}},
        "class": {"type": ["string", "null"], "enum": ["a", "b", None]},
        "lines": {"type": "array", "items": {"anyOf": [SIZE, {"$ref": "#/$defs/Tree"}]}},
        "pair": {"type": "array", "prefixItems": [{"const": 1}, {"$ref": "#/$defs/None"}], "items": False},
        "more": {"type": "object", "additionalProperties": {"allOf": [{"type": "string", "format": "uuid"}]}},
    },
    "required": ["size", "class"],
    "$defs": {
        "Size": {"enum": [1, 2]},
        "None": {"type": "null"},
        "Tree": {"anyOf": [SIZE, {"$ref": "#/$defs/Branch"}]},
        "Branch": {"type": "object", "properties": {"branches": {"$ref": "#/$defs/Trees"}}},
        "Trees": {"type": "array", "items": {"$ref": "#/$defs/Tree"}},
    },
}
TREE = {**SCHEMA["$defs"]["Tree"], "$defs": SCHEMA["$defs"]}

NAMES = ("", "é", "ﬁ", "fi", "None", "a b", "__x", "\0", "x")
PARTS = st.sampled_from(
    [
        *({"enum": value} for value in (None, [], {}, "a", [float("nan")], [[]], ["\0", "\ud800", '"', 1, True])),
        *({"anyOf": value} for value in (None, [], {}, [None], [{"type": "null"}, {"$ref": "#/$defs/None"}])),
        *({"type": value} for value in (None, [], ["null", "null"], [["object"]], "any")),
        *(
            {"$ref": value}
            for value in (
                None,
                1,
                "#",
                "#/$defs/Tree",
                "#/$defs/None",
                "#/properties/size",
                "#size",
                "#/$defs/a~1b",
                "https://a/b",
            )
        ),
        {"type": "array", "prefixItems": None},
        {"type": "object", "properties": {}, "required": None, "description": 1},
        {
            "type": "object",
            "properties": dict.fromkeys(NAMES, True),
        },
        {"type": "integer", "default": float("inf")},
    ]
)
TEXTS = st.text(max_size=10) | st.sampled_from(['"', '"""', "\\", 'a\n"', "\r", "\0", "\ud800", "date", " \n "])


@bounded(400)
@given(changes(SCHEMA, ODD | PARTS | TEXTS), changes(TREE, ODD | PARTS), TEXTS)
def test_the_module_of_invalid_schemas_can_be_imported(input: Any, output: Any, text: str) -> None:
    handler = {
        "name": "place",
        "documentation": text,
        "input": {**PAYLOAD, "jsonSchema": input},
        "output": {**PAYLOAD, "jsonSchema": output},
    }
    service = {"name": "Shop", "ty": "SERVICE", "documentation": text, "handlers": [handler]}
    with suppress(DefinitionError):
        services = HttpEndpoint("http://localhost:9080").services(
            json.dumps({**MANIFEST, "services": [service]}, ensure_ascii=True).encode()
        )
        document = merge({name: describe(each) for name, each in services.items()})
        assert [place for place in references(document) if not resolves(document, place)] == []
        registry = Registry()
        registry.services.update(services)
        assert [line.split()[:2] for line in curl_lines(registry, "")] == [["curl", "/Shop/place"]]
        shop = imported(generate(document, text)).Shop
        assert list(described(shop).methods) == ["place"]


def references(value: Any) -> Iterator[str]:
    """Yield what a document refers to in itself."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            if key == "$ref" and isinstance(item, str) and item.startswith("#"):
                yield item
            yield from references(item)


def resolves(document: dict[str, Any], place: str) -> bool:
    """Return True if there is a schema, or another component, of this name."""
    _, components, kind, name = place.split("/")
    return components == "components" and name in document["components"][kind]


def imported(text: str) -> ModuleType:
    """Run a module's text, as it is in a file."""
    sys.modules["stubs_of_test"] = module = ModuleType("stubs_of_test")
    try:
        exec(compile(text.encode(), "stubs_of_test", "exec"), module.__dict__)
    finally:
        del sys.modules["stubs_of_test"]
    return module


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "null"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize("depth", [150, 100_000])
def test_a_schema_that_nests_too_deeply_is_refused(depth: int) -> None:
    told = {"service": "Shop", "category": "service", "handler": "place", "kind": "service"}
    content = {"content": {"application/json": {"schema": nested(depth)}}}
    document = {"paths": {"/Shop/place": {"post": {"responses": {"200": content}, "x-adapter": told}}}}
    if depth < 200:
        imported(generate(document, "here"))
    else:
        with pytest.raises(ValueError, match="nests too deeply"):
            generate(document, "here")
