"""The OpenAPI documents: valid, complete, and as the handlers' annotations and docstrings have it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import BaseModel, create_model

from adapter import Context, Service, handler
from adapter.http import openapi
from adapter.registry import Registry
from tests.ingress.conftest import Stack


def valid(document: Any) -> None:
    assert document["openapi"] == "3.1.0"
    OpenAPIV31SpecValidator(document).validate()
    ids = [operation["operationId"] for item in document["paths"].values() for operation in item.values()]
    assert len(ids) == len(set(ids))


def content(message: dict[str, Any]) -> Any:
    [(_, media)] = message["content"].items()
    return media["schema"]


def test_it_is_valid(document: dict[str, Any]) -> None:
    valid(document)


async def test_it_is_given_out(http: httpx.AsyncClient, document: dict[str, Any]) -> None:
    response = await http.get("/restate/openapi.json")
    assert response.headers["content-type"] == "application/json"
    assert response.json() == document
    one = (await http.get("/restate/services/basket-2/openapi.json")).json()
    valid(one)
    assert one["info"]["title"] == "basket-2"
    assert set(one["paths"]) < set(document["paths"])
    for refused in ("Nobody", "Internal"):
        assert (await http.get(f"/restate/services/{refused}/openapi.json")).status_code == 404
    assert (await http.post("/restate/openapi.json")).status_code == 405


async def test_it_has_the_services_of_other_functions() -> None:
    stack = Stack()
    document = (await stack.http.get("/restate/openapi.json")).json()
    assert {"/Far/away", "/Greeter/greet"} <= set(document["paths"])
    assert "/Far/away" in (await stack.http.get("/restate/services/Far/openapi.json")).json()["paths"]
    await stack.close()


def parameters(*names: str) -> list[dict[str, str]]:
    return [{"$ref": f"#/components/parameters/{name}"} for name in names]


def test_a_call(document: dict[str, Any]) -> None:
    call = document["paths"]["/Catalogue/page"]["post"]
    assert (call["operationId"], call["tags"]) == ("Catalogue.page", ["Catalogue"])
    assert call["requestBody"]["required"] is False
    assert content(call["requestBody"]) == {"type": "integer", "default": 10}
    assert content(call["responses"]["200"]) == {"$ref": "#/components/schemas/Page_Item_"}
    assert call["parameters"] == parameters("IdempotencyKey", "Prefer")
    assert call["x-adapter"] == {"service": "Catalogue", "category": "service", "handler": "page", "kind": "service"}


def test_docstrings(document: dict[str, Any]) -> None:
    order = document["paths"]["/Catalogue/order"]["post"]
    assert order["summary"] == "Place an order."
    assert order["description"] == 'Place an order.\n\nIt is "given" back.'
    assert document["tags"][0]["name"] == "Catalogue"
    assert document["tags"][0]["description"].startswith("Sells things.")
    assert document["components"]["schemas"]["Item"]["description"] == "What somebody buys."


def test_a_send(document: dict[str, Any]) -> None:
    send = document["paths"]["/basket-2/{key}/put/send"]["post"]
    assert [parameter["$ref"].rpartition("/")[2] for parameter in send["parameters"]] == [
        "Key",
        "IdempotencyKey",
        "Delay",
    ]
    assert set(send["responses"]) == {"202", "default"}
    sent = document["components"]["responses"]["Sent"]
    assert content(sent) == {"$ref": "#/components/schemas/adapter.Sent"}
    assert "x-restate-id" in sent["headers"]


def test_a_workflow_takes_no_idempotency_key_and_is_attached_to(document: dict[str, Any]) -> None:
    run = document["paths"]["/Delivery/{key}/run"]["post"]
    assert run["parameters"] == parameters("Key", "Prefer")
    for what in ("attach", "output"):
        get = document["paths"][f"/restate/workflow/Delivery/{{key}}/{what}"]["get"]
        assert get["responses"]["200"] == run["responses"]["200"]
    assert "470" in get["responses"]


@pytest.mark.parametrize(
    "path",
    [
        "/Catalogue/page",
        "/Delivery/{key}/run",
        "/restate/workflow/Delivery/{key}/attach",
        "/restate/invocation/{id}/attach",
    ],
)
def test_a_client_may_leave_before_there_is_a_result(document: dict[str, Any], path: str) -> None:
    operation = next(iter(document["paths"][path].values()))
    assert parameters("Prefer")[0] in operation["parameters"]
    assert operation["responses"]["202"] == {"$ref": "#/components/responses/Pending"}
    pending = document["components"]["responses"]["Pending"]
    assert content(pending) == {"$ref": "#/components/schemas/adapter.Sent"}
    assert set(pending["headers"]) == {"x-restate-id", "retry-after"}


def test_output_does_not_wait(document: dict[str, Any]) -> None:
    output = document["paths"]["/restate/workflow/Delivery/{key}/output"]["get"]
    assert output["parameters"] == parameters("Key")
    assert "202" not in output["responses"]


def test_what_is_no_json(document: dict[str, Any]) -> None:
    raw = document["paths"]["/Catalogue/raw"]["post"]
    assert list(raw["requestBody"]["content"]) == ["application/octet-stream"]
    nothing = document["paths"]["/Catalogue/dotted.name"]["post"]
    assert "requestBody" not in nothing
    assert "content" not in nothing["responses"]["200"]


def test_private_handlers_are_left_out(document: dict[str, Any]) -> None:
    assert not [path for path in document["paths"] if "hidden" in path or "Internal" in path]
    assert [tag["name"] for tag in document["tags"]] == ["Catalogue", "Delivery", "basket-2"]


def test_what_is_of_no_service(document: dict[str, Any]) -> None:
    for path in ("awakeables/{id}/resolve", "awakeables/{id}/reject", "invocation/{id}/signals/{name}"):
        assert "202" in document["paths"][f"/restate/{path}"]["post"]["responses"]


def service(name: str, item: dict[str, Any]) -> Registry:
    """A service whose models are called as another's may be."""
    item_model = create_model("Item", **item)
    bag = create_model("Bag", items=(list[item_model], ...))  # type: ignore[valid-type]

    class Seller(Service, name=name):
        @handler
        async def sell(self, ctx: Context, bag: bag) -> Same: ...  # type: ignore[valid-type]

    return Registry(Seller)


class Same(BaseModel):
    size: int


def test_schemas_of_one_name_are_told_apart() -> None:
    registry = service("First", {"sku": (str, ...)})
    registry.services |= service("Second", {"number": (int, ...)}).services
    document = openapi.merge(openapi.documents(registry))
    valid(document)
    schemas = document["components"]["schemas"]
    assert set(schemas) == {"FirstBag", "FirstItem", "SecondBag", "SecondItem", "Same", "adapter.Error", "adapter.Sent"}
    assert schemas["FirstBag"]["properties"]["items"]["items"] == {"$ref": "#/components/schemas/FirstItem"}
    assert schemas["SecondItem"]["title"] == "SecondItem"
    assert content(document["paths"]["/Second/sell"]["post"]["requestBody"])["$ref"].endswith("/SecondBag")


def test_a_type_without_a_schema_lets_anything_pass(recwarn: pytest.WarningsRecorder) -> None:
    class Opaque:
        pass

    class Odd(Service):
        @handler
        async def odd(self, ctx: Context, value: int) -> OpaqueModel: ...

    class OpaqueModel(BaseModel, arbitrary_types_allowed=True):
        opaque: Opaque
        size: int

    document = openapi.merge(openapi.documents(Registry(Odd)))
    valid(document)
    assert document["components"]["schemas"]["OpaqueModel"]["properties"]["size"]["type"] == "integer"
    assert not recwarn.list
