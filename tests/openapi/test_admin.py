"""The admin's OpenAPI document, and the page that lists its operations."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from adapter.http.admin.openapi import document
from adapter.http.admin.routing import OPERATIONS

PAGE = Path(__file__).parents[2] / "docs" / "admin.md"


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return document()


def test_it_is_openapi(described: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(described).validate()


def test_each_operation_has_an_id_a_summary_and_an_answer(described: dict[str, Any]) -> None:
    operations = [each for methods in described["paths"].values() for each in methods.values()]
    ids = [each["operationId"] for each in operations]
    assert len(set(ids)) == len(ids)
    for each in operations:
        assert each["summary"].endswith(".")
        assert len(each["responses"]["200"]["content"]) >= 1
        assert each["responses"]["default"] == {"$ref": "#/components/responses/Problem"}


def test_answers_have_schemas_with_properties(described: dict[str, Any]) -> None:
    schemas = described["components"]["schemas"]
    assert {"Invocations", "Invocation", "Journal", "Why", "Tree", "BulkDone", "Key", "Overview"} <= schemas.keys()
    assert schemas["Summary"]["required"] == [
        "id", "target", "service", "handler", "kind", "status", "created", "attempts", "failures",
    ]  # fmt: skip
    assert "from" in schemas["Edge"]["properties"]
    assert "from" in schemas["Bulk"]["properties"]


def test_the_page_lists_each_operation() -> None:
    listed = set(re.findall(r"`((?:GET|POST|PUT|DELETE) /admin/[^`?]+)`", PAGE.read_text()))
    there = {
        f"{method} /admin{each.path.replace('+}', '}')}"
        for each in OPERATIONS
        for method in each.methods
        if method != "PATCH" and not (method == "DELETE" and each.path.endswith("purge"))
    }
    assert listed == there
