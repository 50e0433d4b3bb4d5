"""What an endpoint offers, with anything done to it: it is refused with a reason, or all that it offers can be used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.errors import DefinitionError
from adapter.http.admin.stack import described
from adapter.http.openapi import describe, merge
from adapter.http.services import Deployed, endpoints
from adapter.registry import BoundService
from adapter.restate.http import HttpEndpoint
from tests.fuzz.bounds import bounded
from tests.fuzz.changes import changes
from tests.restate.test_manifest import HANDLER, SERVICE

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {"size": {"$ref": "#/$defs/Size"}},
    "required": ["size"],
    "$defs": {"Size": {"enum": [1, 2]}},
}
PAYLOAD: dict[str, Any] = {"contentType": "application/json", "required": True, "jsonSchema": SCHEMA}
MANIFEST: dict[str, Any] = {
    "minProtocolVersion": 5,
    "maxProtocolVersion": 7,
    "protocolMode": "BIDI_STREAM",
    "lambdaCompression": "zstd",
    "services": [
        {
            **SERVICE,
            "name": name,
            "ty": ty,
            "metadata": {"team": "billing"},
            "handlers": [
                {"name": "first", "ty": handles, **HANDLER, "input": PAYLOAD, "output": PAYLOAD, "metadata": {}},
                {"name": "second", "ty": "SHARED"},
            ],
        }
        for name, ty, handles in [
            ("Shop", "SERVICE", None),
            ("Cart", "VIRTUAL_OBJECT", "EXCLUSIVE"),
            ("Delivery", "WORKFLOW", "WORKFLOW"),
        ]
    ],
}


@bounded(500)
@given(changes(MANIFEST))
def test_a_manifest_is_refused_or_can_be_used(manifest: dict[str, Any]) -> None:
    endpoint = HttpEndpoint("http://localhost:9080")
    services: Mapping[str, BoundService] = {}
    with suppress(DefinitionError):
        services = endpoint.services(json.dumps(manifest).encode())
    for service in services.values():
        check(endpoint, service)
    merge({name: describe(service) for name, service in services.items()})


def check(endpoint: HttpEndpoint, service: BoundService) -> None:
    for name, handler in service.handlers.items():
        retry = handler.spec.options.retry
        waits = [retry.backoff(failures) for failures in (1, 2, 65, 1000)]
        assert waits == sorted(waits)
        assert 0 < waits[0] <= waits[-1] <= retry.maximum.total_seconds()
        assert 0 < endpoint.patience(f"/invoke/{service.name}/{name}") < 10**11
    shown = described(Deployed(service.name, "", "", endpoints(service)), describe(service))
    json.dumps(shown, allow_nan=False)
    for each in shown["handlers"].values():
        for content_type in (each.get("takes"), each.get("gives")):
            assert (content_type or "a/b").isascii()
            assert (content_type or "a/b").isprintable()


@bounded(200)
@given(st.binary(max_size=50) | st.text(max_size=50).map(str.encode))
def test_what_is_no_manifest_is_refused(body: bytes) -> None:
    with pytest.raises(DefinitionError, match="the endpoint's manifest cannot be read"):
        HttpEndpoint("http://localhost:9080").services(body)
