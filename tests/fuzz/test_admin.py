"""The admin keeps to its OpenAPI document, whatever is sent: schemathesis makes the requests and checks the answers.

Answers fit their schemas, and nothing is a 500. A request that fits the document may be refused all the same: for an
invocation that does not exist, or a filter that contradicts itself.
"""

from __future__ import annotations

from typing import Any

import requests
import schemathesis
from schemathesis.checks import CHECKS

from adapter.http.admin.openapi import document
from tests.fuzz.bounds import EXAMPLES, bounded

schema = schemathesis.openapi.from_dict(
    document(),
    config=schemathesis.Config.from_dict({"generation": {"deterministic": not EXAMPLES, "database": "none"}}),
)


@schema.parametrize()
@bounded(4)
def test_an_operation(case: schemathesis.Case, send: Any) -> None:
    request = requests.Request(**case.as_transport_kwargs(base_url="http://test")).prepare()
    response = send(request)
    assert response.status_code < 500, response.text
    excluded = ("positive_data_acceptance", "missing_required_header", "unsupported_method")
    case.validate_response(response, excluded_checks=[CHECKS.get_one(name) for name in excluded])
