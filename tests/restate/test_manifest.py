"""The options of an endpoint's manifest, as the engine takes them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import restate

from adapter.engine.types import Options, RetryPolicy
from adapter.errors import DefinitionError
from adapter.registry import BoundService
from adapter.restate.apps import AppEndpoint
from adapter.restate.manifest import read_manifest, remote_services
from tests.restate.hosting import CallError, hosted

SERVICE: dict[str, Any] = {
    "documentation": "Of the service.",
    "inactivityTimeout": 1_000,
    "abortTimeout": 2_000,
    "journalRetention": 3_000,
    "idempotencyRetention": 4_000,
    "workflowCompletionRetention": 5_000,
    "enableLazyState": True,
    "ingressPrivate": True,
    "retryPolicyInitialInterval": 6_000,
    "retryPolicyMaxInterval": 7_000,
    "retryPolicyMaxAttempts": 8,
    "retryPolicyExponentiationFactor": 9,
    "retryPolicyOnMaxAttempts": "KILL",
}

HANDLER: dict[str, Any] = {
    "documentation": "Of the handler.",
    "inactivityTimeout": 11_000,
    "abortTimeout": 12_000,
    "journalRetention": 13_000,
    "idempotencyRetention": 14_000,
    "workflowCompletionRetention": 15_000,
    "enableLazyState": False,
    "ingressPrivate": False,
    "retryPolicyInitialInterval": 16_000,
    "retryPolicyMaxInterval": 17_000,
    "retryPolicyMaxAttempts": 18,
    "retryPolicyExponentiationFactor": 19,
    "retryPolicyOnMaxAttempts": "PAUSE",
}
"""The same options as `SERVICE` has, each with another value."""

OF_THE_SERVICE = Options(
    inactivity_timeout=timedelta(seconds=1),
    abort_timeout=timedelta(seconds=1 + 2),
    journal_retention=timedelta(seconds=3),
    idempotency_retention=timedelta(seconds=4),
    workflow_retention=timedelta(seconds=5),
    lazy_state=True,
    private=True,
    retry=RetryPolicy(
        initial=timedelta(seconds=6), maximum=timedelta(seconds=7), attempts=8, factor=9, exhausted="kill"
    ),
)

OF_THE_HANDLER = Options(
    inactivity_timeout=timedelta(seconds=11),
    abort_timeout=timedelta(seconds=11 + 12),
    journal_retention=timedelta(seconds=13),
    idempotency_retention=timedelta(seconds=14),
    workflow_retention=timedelta(seconds=15),
    lazy_state=False,
    private=False,
    retry=RetryPolicy(
        initial=timedelta(seconds=16), maximum=timedelta(seconds=17), attempts=18, factor=19, exhausted="pause"
    ),
)

DEFAULT = Options(lazy_state=False)
"""Of a manifest without options: the engine's, except that the state goes along with the first exchange."""


def offered(handler: dict[str, Any], service: dict[str, Any]) -> BoundService:
    """Return the service of a manifest that has one with one handler."""
    described = {"name": "Shop", "ty": "WORKFLOW", "handlers": [{"name": "sell", **handler}], **service}
    manifest = {"minProtocolVersion": 5, "maxProtocolVersion": 7, "services": [described]}
    way = AppEndpoint(restate.app(services=[]))
    return remote_services(read_manifest(json.dumps(manifest).encode()), way)["Shop"]


@pytest.mark.parametrize(
    ("handler", "service", "expected"),
    [
        ({}, {}, DEFAULT),
        ({}, SERVICE, OF_THE_SERVICE),
        ({}, HANDLER, OF_THE_HANDLER),
        (HANDLER, {}, OF_THE_HANDLER),
        (HANDLER, SERVICE, OF_THE_HANDLER),
        (SERVICE, HANDLER, OF_THE_SERVICE),
    ],
    ids=["none", "service", "service, others", "handler", "both", "both, exchanged"],
)
def test_a_handlers_options_come_before_those_of_its_service(
    handler: dict[str, Any], service: dict[str, Any], expected: Options
) -> None:
    shop = offered(handler, service)
    assert shop.handlers["sell"].options == expected
    assert shop.doc == service.get("documentation", "")
    assert shop.handlers["sell"].doc == handler.get("documentation", "")


@pytest.mark.parametrize("name", list(SERVICE)[1:])
def test_an_option_of_the_handler_leaves_the_other_options_of_its_service(name: str) -> None:
    mixed = offered({}, {**SERVICE, name: HANDLER[name]}).handlers["sell"].options
    assert offered({name: HANDLER[name]}, SERVICE).handlers["sell"].options == mixed
    assert mixed != OF_THE_SERVICE


def test_a_time_limit_of_zero_is_none_and_an_interval_of_zero_is_the_default() -> None:
    zeros = {"inactivityTimeout": 0, "abortTimeout": 0, "retryPolicyInitialInterval": 0}
    retry = replace(OF_THE_SERVICE.retry, initial=RetryPolicy().initial)
    expected = replace(OF_THE_SERVICE, inactivity_timeout=None, abort_timeout=None, retry=retry)
    assert offered(zeros, SERVICE).handlers["sell"].options == expected


def test_the_limit_to_abort_begins_after_that_of_inactivity() -> None:
    assert offered({"abortTimeout": 2_000}, {}).handlers["sell"].options.abort_timeout == timedelta(seconds=60 + 2)


def test_the_longest_interval_is_not_shorter_than_the_first() -> None:
    retry = offered({"retryPolicyInitialInterval": 10_000}, SERVICE).handlers["sell"].options.retry
    assert (retry.initial, retry.maximum) == (timedelta(seconds=10), timedelta(seconds=10))


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({"retryPolicyInitialInterval": 120_000}, (120_000, 120_000)),
        ({"retryPolicyMaxInterval": 10}, (10, 10)),
        ({"retryPolicyMaxInterval": 0}, (50, 60_000)),
    ],
    ids=str,
)
def test_an_interval_that_is_not_given_fits_the_other(policy: dict[str, int], expected: tuple[int, int]) -> None:
    retry = offered(policy, {}).handlers["sell"].options.retry
    assert (retry.initial, retry.maximum) == tuple(timedelta(milliseconds=each) for each in expected)


@pytest.mark.parametrize("duration", [name for name, value in SERVICE.items() if type(value) is int and value >= 1000])
def test_a_duration_has_up_to_100_years(duration: str) -> None:
    assert offered({duration: 100 * 365 * 86_400_000}, {})
    for service in ({}, {"ty": "SERVICE"}):
        for value in (10**20, 100 * 365 * 86_400_000 + 1, -1):
            with pytest.raises(DefinitionError, match=rf"services\.0\.handlers\.0\.{duration}: .*from 0 to 100 years"):
                offered({duration: value}, service)


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        ({"abortTimeout": True}, r"services\.0\.handlers\.0\.abortTimeout: .*valid integer"),
        ({"abortTimeout": 0.5}, r"services\.0\.handlers\.0\.abortTimeout: .*valid integer"),
        ({"enableLazyState": 1}, r"services\.0\.handlers\.0\.enableLazyState: .*valid boolean"),
        ({"retryPolicyMaxAttempts": 0}, r"services\.0\.handlers\.0\.retryPolicyMaxAttempts: "),
        ({"retryPolicyExponentiationFactor": 0.5}, r"services\.0\.handlers\.0\.retryPolicyExponentiationFactor: "),
        ({"retryPolicyExponentiationFactor": float("inf")}, r"retryPolicyExponentiationFactor: .*finite"),
        ({"output": {"contentType": "a/b\r\nc: d"}}, r"services\.0\.handlers\.0\.output\.contentType: .*ASCII"),
        ({"output": {"jsonSchema": {"maximum": float("inf")}}}, r"services\.0\.handlers\.0\.output\.jsonSchema: "),
        ({"ty": "EXCLUSIVE"}, "Shop/sell is EXCLUSIVE, and its service is WORKFLOW"),
    ],
    ids=str,
)
def test_what_is_out_of_range_is_refused_with_its_place(handler: dict[str, Any], said: str) -> None:
    with pytest.raises(DefinitionError, match=said):
        offered(handler, {})


def test_two_handlers_of_one_name_are_refused() -> None:
    with pytest.raises(DefinitionError, match="Shop has two handlers called sell"):
        offered({}, {"handlers": [{"name": "sell"}, {"name": "sell", "ty": "SHARED"}]})


def test_metadata_is_kept_and_bounded() -> None:
    assert offered({"metadata": None}, {}).metadata == {}
    shop = offered({"metadata": {"page": "sell"}}, {"metadata": {"team": "billing"}})
    assert (shop.metadata, shop.handlers["sell"].metadata) == ({"team": "billing"}, {"page": "sell"})
    with pytest.raises(DefinitionError, match=r"services\.0\.handlers\.0\.metadata.* has up to 8192 bytes, not 9000"):
        offered({"metadata": {"": "x" * 9000}}, {})


async def test_the_admin_shows_documentation_and_metadata() -> None:
    shop = restate.Service("Shop", description="Sells fruit.", metadata={"team": "sales"})

    @shop.handler(metadata={"page": "sell"})
    async def sell(ctx: restate.Context, item: str) -> str:
        return item

    async with hosted(AppEndpoint(restate.app(services=[shop]))) as host:
        shown = (await host.http.get("/admin/services/Shop")).json()
        theirs = (await host.http.get("/admin/restate/services/Shop")).json()
    assert (shown["doc"], shown["metadata"]) == ("Sells fruit.", {"team": "sales"})
    assert shown["handlers"]["sell"]["metadata"] == {"page": "sell"}
    assert (theirs["documentation"], theirs["metadata"]) == ("Sells fruit.", {"team": "sales"})
    assert theirs["handlers"][0]["metadata"] == {"page": "sell"}


async def test_a_private_service_is_not_found_over_the_ingress() -> None:
    stock, shop = restate.Service("Stock", ingress_private=True), restate.Service("Shop")

    @stock.handler()
    async def reserve(ctx: restate.Context, item: str) -> str:
        return f"reserved {item}"

    @shop.handler()
    async def sell(ctx: restate.Context, item: str) -> str:
        return await ctx.service_call(reserve, item)

    async with hosted(AppEndpoint(restate.app(services=[stock, shop]))) as host:
        assert await host.call("Shop/sell", "pear") == "reserved pear"
        for request in (host.call, host.send):
            with pytest.raises(CallError) as raised:
                await request("Stock/reserve", "pear")
            assert raised.value.status == 404
