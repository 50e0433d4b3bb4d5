"""JSON schemas of handlers in other languages as parts of a document: what refers to what."""

from __future__ import annotations

from typing import Any

from adapter.http.foreign import Shared

PREFIX = "#/components/schemas/"


def taken(schema: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    shared = Shared(PREFIX)
    return shared.take(schema, "PlaceInput"), shared.schemas


def to(name: str) -> dict[str, str]:
    return {"$ref": PREFIX + name}


def test_a_recursive_schema_has_its_title_or_the_name_that_is_given() -> None:
    tree = {"type": "object", "properties": {"sub": {"type": "array", "items": {"$ref": "#"}}, "at": {"const": "#"}}}
    for title, name in [({}, "PlaceInput"), ({"title": "Tree"}, "Tree"), ({"title": "a b"}, "PlaceInput")]:
        schema, schemas = taken({"$schema": "https://json-schema.org/draft/2020-12/schema", **title, **tree})
        assert schema == to(name)
        assert schemas[name]["properties"] == {"sub": {"type": "array", "items": to(name)}, "at": {"const": "#"}}


def test_a_named_part_may_refer_to_the_whole() -> None:
    schema, schemas = taken(
        {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/List"}], "$defs": {"List": {"items": {"$ref": "#"}}}}
    )
    assert schema == to("PlaceInput")
    assert schemas["PlaceInput"]["anyOf"] == [{"type": "null"}, to("List")]
    assert schemas["List"]["items"] == to("PlaceInput")


def test_a_place_that_is_referred_to_becomes_a_named_schema() -> None:
    schema, schemas = taken({"properties": {"from": {"type": "string"}, "to": {"$ref": "#/properties/from"}}})
    assert schema == {"properties": {"from": {"type": "string"}, "to": to("from")}}
    assert schemas == {"from": {"type": "string", "title": "from"}}


def test_references_are_written_in_several_ways() -> None:
    page = {"type": "object"}
    references = ["#/$defs/Page%5BItem%5D", "#/$defs/Page[Item]", "#/definitions/a~1b", "#/$defs/gone", "#gone"]
    schema, schemas = taken(
        {
            "prefixItems": [{"$ref": each} for each in references],
            "$defs": {"Page[Item]": page},
            "definitions": {"a/b": page},
        }
    )
    names = [each["$ref"].removeprefix(PREFIX) for each in schema["prefixItems"]]
    assert [schemas[name].get("type") for name in names] == ["object", "object", "object", None, None]
    assert names[0] == names[1]
    assert len(schemas) == 4


def test_what_a_discriminator_maps_to_is_renamed() -> None:
    schema, _ = taken({"discriminator": {"mapping": {"cat": "#/$defs/Cat"}}, "$defs": {"Cat": {"type": "object"}}})
    assert schema == {"discriminator": {"mapping": {"cat": PREFIX + "Cat"}}}


def test_a_named_part_that_is_the_whole_gives_it_its_name() -> None:
    """As Restate's Go SDK names the types of handlers."""
    line = {"type": "object", "properties": {"sku": {"type": "string"}}}
    order = {
        "$defs": {"Line": line, "Order": {"$ref": "#"}},
        "type": "object",
        "properties": {"lines": {"items": {"$ref": "#/$defs/Line"}}, "parent": {"$ref": "#/$defs/Order"}},
    }
    schema, schemas = taken(order)
    assert schema == to("Order")
    assert schemas["Order"]["properties"] == {"lines": {"items": to("Line")}, "parent": to("Order")}
    assert sorted(schemas) == ["Line", "Order"]
    schema, schemas = taken({"$defs": {"Name": {"$ref": "#"}}, "type": "string"})
    assert (schema, schemas) == ({"type": "string"}, {})


def test_schemas_of_one_name_that_are_equal_are_one() -> None:
    shared = Shared(PREFIX)
    update = {"$defs": {"Update": {"$ref": "#"}}, "type": "object", "properties": {"new": {"type": "integer"}}}
    line = {"type": "object", "properties": {"sku": {"type": "string"}}}
    order = {
        "$defs": {"Line": line, "Order": {"$ref": "#"}},
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/Line"}},
    }
    node = {"$defs": {"Node": {"$ref": "#"}}, "type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}
    assert [shared.take(update, name) for name in ("AddOutput", "SetOutput")] == [to("Update")] * 2
    assert [shared.take(order, name) for name in ("PlaceInput", "CheckInput")] == [to("Order")] * 2
    assert [shared.take(node, name) for name in ("PlaceInput", "CheckInput")] == [to("Node")] * 2
    assert shared.take({**node, "type": ["object", "null"]}) == to("Node2")
    assert shared.schemas["Node2"]["properties"] == {"next": to("Node2")}
    assert sorted(shared.schemas) == ["Line", "Node", "Node2", "Order", "Update"]


def test_named_schemas_have_the_order_of_the_references() -> None:
    """The stubs of an endpoint are the same each time."""
    names = [f"part{each}" for each in range(8)]
    whole = {each: {"type": "string"} for each in names}
    _, schemas = taken({"properties": whole, "prefixItems": [{"$ref": f"#/properties/{each}"} for each in names]})
    assert list(schemas) == names
