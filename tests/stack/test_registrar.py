"""The registrar: what a deployment connects, and disconnects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, ClassVar

import pytest
from botocore.exceptions import ClientError

from tests.stack.conftest import MAIL, OTHER, SHOP, Api, Lambda, listed, refused


def test_a_deployment_connects_its_functions(registrar: ModuleType, api: Api, functions: Lambda) -> None:
    registrar.run("Create", listed((SHOP, 1), (MAIL, 1)), {})
    assert api.lead() == {
        "Shop": (SHOP, "AWS_IAM"),
        "Basket": (SHOP, "AWS_IAM"),
        "Mailer": (MAIL, "AWS_IAM"),
        "restate": (SHOP, "AWS_IAM"),
        "admin": (SHOP, "AWS_IAM"),
    }
    shop, mail = SHOP.removesuffix(":live"), MAIL.removesuffix(":live")
    assert sorted(functions.calls) == [
        ("register", f"{mail}:1", MAIL, ""),
        ("register", f"{shop}:1", SHOP, ""),
    ]
    assert set(functions.configs) == {(shop, "live"), (shop, "1"), (mail, "live"), (mail, "1")}
    for config in functions.configs.values():
        assert config == {
            "MaximumRetryAttempts": 0,
            "MaximumEventAgeInSeconds": 60,
            "DestinationConfig": {"OnFailure": {"Destination": "arn:dead"}},
        }
    assert functions.permissions == {(shop, "live"), (mail, "live")}
    assert functions.recursion == {shop: "Allow", mail: "Allow"}


def test_an_update_changes_what_has_changed(registrar: ModuleType, api: Api, functions: Lambda) -> None:
    first, second = listed((SHOP, 1), (MAIL, 1)), listed((SHOP, 2), (MAIL, 1))
    registrar.run("Create", first, {})
    before = {key for key in api.routes if api.routes[key]["RouteKey"] != "ANY /Basket/{proxy+}"}
    registrar.run("Update", second, first)
    assert set(api.lead()) == {"Shop", "Order", "Mailer", "restate", "admin"}
    assert before <= set(api.routes)
    assert (SHOP.removesuffix(":live"), "1") in functions.configs  # invocations still resume on it
    api.changes = 0
    registrar.run("Update", second, second)
    assert api.changes == 0


def test_integrations_in_the_long_form_are_known(registrar: ModuleType, api: Api) -> None:
    registrar.run("Create", listed((SHOP, 1)), {})
    (id,) = api.integrations
    api.integrations[id] = f"arn:aws:apigateway:eu-central-1:lambda:path/2015-03-31/functions/{SHOP}/invocations"
    api.changes = 0
    registrar.run("Update", listed((SHOP, 1)), listed((SHOP, 1)))
    assert api.changes == 0


def test_a_rollback_repeats_the_former_deployment(registrar: ModuleType, api: Api, functions: Lambda) -> None:
    first, second = listed((SHOP, 1)), listed((SHOP, 2), (MAIL, 1))
    registrar.run("Create", first, {})
    before = api.lead()
    registrar.run("Update", second, first)
    registrar.run("Update", first, second)
    assert api.lead() == before
    assert list(api.integrations.values()) == [SHOP]
    assert functions.permissions == {(SHOP.removesuffix(":live"), "live")}


def test_a_function_that_is_not_listed_any_more_is_disconnected(
    registrar: ModuleType, api: Api, functions: Lambda
) -> None:
    registrar.run("Create", listed((SHOP, 1), (MAIL, 1)), {})
    registrar.run("Update", listed((MAIL, 1)), listed((SHOP, 1), (MAIL, 1)))
    assert api.lead() == {"Mailer": (MAIL, "AWS_IAM"), "restate": (MAIL, "AWS_IAM"), "admin": (MAIL, "AWS_IAM")}
    assert ("withdraw", SHOP, SHOP, "") in functions.calls
    assert functions.recursion[SHOP.removesuffix(":live")] == "Terminate"
    assert (SHOP.removesuffix(":live"), "live") not in functions.configs


@pytest.mark.parametrize("broken", [False, True])
def test_a_deletion_leaves_nothing(registrar: ModuleType, api: Api, functions: Lambda, broken: bool) -> None:
    registrar.run("Create", listed((SHOP, 1), (MAIL, 1)), {})
    if broken:
        functions.broken |= {SHOP, MAIL}
    registrar.run("Delete", listed((SHOP, 1), (MAIL, 1)), {})
    assert (api.routes, api.integrations, functions.permissions) == ({}, {}, set())
    registrar.run("Delete", listed((SHOP, 1), (MAIL, 1)), {})  # or nothing was there in the first place


def test_applications_share_an_api(registrar: ModuleType, api: Api, functions: Lambda) -> None:
    registrar.run("Create", listed((SHOP, 1)), {})
    registrar.run("Create", listed((OTHER, 1), Authorization="NONE"), {})
    assert api.lead()["restate"] == (SHOP, "AWS_IAM")
    assert api.lead()["Other"] == (OTHER, "NONE")
    registrar.run("Delete", listed((SHOP, 1)), {})
    assert api.lead() == {"Other": (OTHER, "NONE"), "restate": (OTHER, "AWS_IAM"), "admin": (OTHER, "AWS_IAM")}
    registrar.run("Delete", listed((OTHER, 1)), {})
    assert api.lead() == {}


def test_a_service_moves_between_applications(registrar: ModuleType, api: Api, functions: Lambda) -> None:
    registrar.run("Create", listed((SHOP, 1)), {})
    functions.services[f"{OTHER[:-4]}1"] = ["Basket"]
    registrar.run("Create", listed((OTHER, 1)), {})
    assert api.lead()["Basket"] == (OTHER, "AWS_IAM")
    registrar.run("Delete", listed((SHOP, 1)), {})
    assert api.lead()["Basket"] == (OTHER, "AWS_IAM")


@pytest.mark.parametrize(
    ("asked", "kind"),
    [({"Authorization": "NONE"}, "NONE"), ({"Authorization": "JWT", "AuthorizerId": "a1"}, "JWT"), ({}, "AWS_IAM")],
)
def test_what_routes_ask_for(registrar: ModuleType, api: Api, asked: dict[str, str], kind: str) -> None:
    registrar.run("Create", listed((SHOP, 1)), {})
    registrar.run("Update", listed((SHOP, 1), **asked), listed((SHOP, 1)))
    assert {name: asks for name, (_, asks) in api.lead().items()} == {
        "Shop": kind,
        "Basket": kind,
        "restate": kind,
        "admin": "AWS_IAM",
    }
    found = [route.get("AuthorizerId") for route in api.routes.values() if "admin" not in route["RouteKey"]]
    assert set(found) == {asked.get("AuthorizerId")}


@pytest.mark.parametrize("asked", [{"Authorization": "JWT"}, {"Authorization": "none"}])
def test_an_authorization_that_makes_no_sense(registrar: ModuleType, functions: Lambda, asked: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="Authorization is AWS_IAM, NONE or"):
        registrar.run("Create", listed((SHOP, 1), **asked), {})
    assert not functions.calls
    registrar.run("Delete", listed((SHOP, 1), **asked), {})  # the rollback


def test_two_functions_with_one_service(registrar: ModuleType, api: Api, functions: Lambda) -> None:
    functions.services[f"{MAIL[:-4]}1"] = ["Basket"]
    with pytest.raises(ValueError, match=r"app_shop:live and .*app_mail:live both have a service Basket"):
        registrar.run("Create", listed((SHOP, 1), (MAIL, 1)), {})
    assert api.changes == 0


def test_a_function_with_another_name(registrar: ModuleType, functions: Lambda) -> None:
    foreign = SHOP.replace("app_", "app-eu_")
    with pytest.raises(ValueError, match=r"app-eu_shop is not the stack's: .* that begins with app_"):
        registrar.run("Create", listed((foreign, 1)), {})
    assert not functions.calls


def test_a_function_that_cannot_start(registrar: ModuleType, functions: Lambda) -> None:
    functions.broken.add(f"{SHOP[:-4]}1")
    with pytest.raises(RuntimeError, match="app_shop:1 did not register: no module x"):
        registrar.run("Create", listed((SHOP, 1)), {})


def test_a_role_that_lambda_does_not_know_yet(
    registrar: ModuleType, functions: Lambda, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(registrar.time, "sleep", pauses.append)
    functions.unknown_role = 2
    registrar.run("Create", listed((SHOP, 1)), {})
    assert pauses == [1, 3]
    functions.unknown_role = 4
    with pytest.raises(ClientError):
        registrar.run("Create", listed((SHOP, 1)), {})


class CloudFormation:
    """CloudFormation, as far as the registrar meets it."""

    NAMES: ClassVar = {"StackId": "stack", "RequestId": "request", "LogicalResourceId": "Deployment"}

    def __init__(self, registrar: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        self._registrar = registrar
        self._answers: list[dict[str, Any]] = []
        monkeypatch.setattr(registrar.urllib.request, "urlopen", self._open)

    @contextmanager
    def _open(self, request: Any, timeout: float) -> Iterator[None]:
        assert (request.method, request.full_url, request.headers) == ("PUT", "https://s3", {"Content-type": ""})
        self._answers.append(json.loads(request.data))
        yield

    def ask(self, request: str, properties: dict[str, Any]) -> dict[str, Any]:
        event = {"RequestType": request, "ResponseURL": "https://s3", "ResourceProperties": properties, **self.NAMES}
        self._registrar.handler(event, None)
        answer = self._answers.pop()
        assert {name: answer[name] for name in self.NAMES} == self.NAMES
        assert answer["PhysicalResourceId"] == "adapter-Deployment"
        return answer


@pytest.fixture
def cloudformation(registrar: ModuleType, monkeypatch: pytest.MonkeyPatch) -> CloudFormation:
    return CloudFormation(registrar, monkeypatch)


def test_cloudformation_is_answered(cloudformation: CloudFormation, functions: Lambda) -> None:
    assert cloudformation.ask("Create", listed((SHOP, 1)))["Status"] == "SUCCESS"
    functions.broken.add(f"{SHOP[:-4]}1")
    answer = cloudformation.ask("Create", listed((SHOP, 1)))
    assert answer["Status"] == "FAILED"
    assert "no module x" in answer["Reason"]


def test_a_stack_can_always_be_deleted(
    cloudformation: CloudFormation, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(operation: str) -> Any:
        raise refused("NotFoundException")

    monkeypatch.setattr(api, "get_paginator", gone)
    answer = cloudformation.ask("Delete", listed((SHOP, 1)))
    assert (answer["Status"], "NotFoundException" in answer["Reason"]) == ("SUCCESS", True)
