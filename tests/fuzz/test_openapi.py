"""The ingress keeps to its OpenAPI document, whatever is sent: schemathesis makes the requests and checks the answers.

Every operation gets what fits its description and what does not. What fits is answered as described; what does not is
refused with a 4xx; nothing is a 500.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import requests
import schemathesis
from schemathesis.checks import CHECKS

from adapter.http import openapi
from adapter.registry import Registry
from tests.fuzz.bounds import EXAMPLES, bounded
from tests.fuzz.services import Cart, Delivery, Shop

REGISTRY = Registry(Shop, Cart, Delivery)

schema = schemathesis.openapi.from_dict(
    openapi.merge(openapi.documents(REGISTRY)),
    config=schemathesis.Config.from_dict({"generation": {"deterministic": not EXAMPLES, "database": "none"}}),
)


@schema.parametrize()
@bounded(12)
def test_an_operation(case: schemathesis.Case, send: Any) -> None:
    request = requests.Request(**case.as_transport_kwargs(base_url="http://test")).prepare()
    response = send(request)
    case.validate_response(response, excluded_checks=list(_beside_the_point(case, request)))


def _beside_the_point(case: schemathesis.Case, request: requests.PreparedRequest) -> Iterator[Any]:
    body = request.body.encode() if isinstance(request.body, str) else request.body or b""
    # The document does not say how a duration is written; and pydantic, when strict, takes no 1.0 for an integer.
    if "delay" in (case.query or {}) or b".0" in body:
        yield CHECKS.get_one("positive_data_acceptance")
    # No body is the empty one, which stands for null, or for no bytes.
    if not body:
        yield CHECKS.get_one("negative_data_rejection")
