"""The functions of the shared stack, the registrar and the courier, on AWS clients in memory."""

from __future__ import annotations

import importlib
import io
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, ClassVar

import boto3
import pytest
from botocore.exceptions import ClientError

ENVIRONMENT = {
    "API_ID": "api",
    "API_ARN": "arn:api/*",
    "DEAD_LETTERS": "arn:dead",
    "FUNCTION_PREFIX": "app_",
    "OBJECTS": "objects",
}


def alias(name: str) -> str:
    return f"arn:aws:lambda:eu-central-1:1:function:app_{name}:live"


SHOP, MAIL, OTHER = alias("shop"), alias("mail"), alias("other")


def listed(*functions: tuple[str, int], **more: Any) -> dict[str, Any]:
    """The properties of a deployment of these versions."""
    versions = [{"Alias": name, "Version": name.replace("live", str(version))} for name, version in functions]
    return {"Functions": versions, **more}


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code}}, "x")


class Pages:
    def __init__(self, items: list[dict[str, Any]]) -> None:
        self._items = items

    def paginate(self, **_: Any) -> Iterator[dict[str, Any]]:
        for item in self._items:
            yield {"Items": [dict(item)]}


class Api:
    """What the registrar uses of API Gateway."""

    def __init__(self) -> None:
        self.integrations: dict[str, str] = {}
        self.routes: dict[str, dict[str, Any]] = {}
        self.changes = 0
        self._ids = iter(range(1000))

    def get_paginator(self, operation: str) -> Pages:
        if operation == "get_routes":
            return Pages(list(self.routes.values()))
        return Pages([{"IntegrationId": id, "IntegrationUri": uri} for id, uri in self.integrations.items()])

    def create_integration(self, **values: Any) -> dict[str, str]:
        assert (values["IntegrationType"], values["PayloadFormatVersion"]) == ("AWS_PROXY", "2.0")
        self.changes += 1
        id = f"i{next(self._ids)}"
        self.integrations[id] = values["IntegrationUri"]
        return {"IntegrationId": id}

    def create_route(self, ApiId: str, **values: Any) -> None:  # noqa: N803
        assert values["RouteKey"] not in {route["RouteKey"] for route in self.routes.values()}
        self.changes += 1
        id = f"r{next(self._ids)}"
        self.routes[id] = {"RouteId": id, **values}

    def update_route(self, ApiId: str, RouteId: str, **values: Any) -> None:  # noqa: N803
        self.changes += 1
        self.routes[RouteId] |= values

    def delete_route(self, ApiId: str, RouteId: str) -> None:  # noqa: N803
        self.changes += 1
        del self.routes[RouteId]

    def delete_integration(self, ApiId: str, IntegrationId: str) -> None:  # noqa: N803
        assert f"integrations/{IntegrationId}" not in {route["Target"] for route in self.routes.values()}
        self.changes += 1
        del self.integrations[IntegrationId]

    def lead(self) -> dict[str, tuple[str, str]]:
        """Where each path leads, and what it asks for."""
        return {
            route["RouteKey"].split("/")[1]: (
                self.integrations[route["Target"].partition("/")[2]],
                route.get("AuthorizationType", "NONE"),
            )
            for route in self.routes.values()
        }


class Lambda:
    """What both use of Lambda."""

    def __init__(self) -> None:
        self.services: dict[str, list[str]] = {}
        self.calls: list[tuple[str, ...]] = []
        self.configs: dict[tuple[str, str], dict[str, Any]] = {}
        self.permissions: set[tuple[str, str]] = set()
        self.recursion: dict[str, str] = {}
        self.broken: set[str] = set()
        self.unknown_role = 0

    def invoke(self, FunctionName: str, Payload: bytes, InvocationType: str = "") -> dict[str, Any]:  # noqa: N803
        event = json.loads(Payload)
        if FunctionName in self.broken:
            if InvocationType:
                raise refused("ResourceNotFoundException")
            return {"FunctionError": "Unhandled", "Payload": io.BytesIO(b'{"errorMessage": "no module x"}')}
        self.calls.append((event["adapter"], FunctionName, event.get("function", ""), InvocationType))
        answer = {"services": self.services.get(FunctionName, [])}
        return {"Payload": io.BytesIO(json.dumps(answer).encode())}

    def put_function_recursion_config(self, FunctionName: str, RecursiveLoop: str) -> None:  # noqa: N803
        self.recursion[FunctionName] = RecursiveLoop

    def put_function_event_invoke_config(self, FunctionName: str, Qualifier: str, **values: Any) -> None:  # noqa: N803
        if self.unknown_role:
            self.unknown_role -= 1
            raise refused("InvalidParameterValueException")
        self.configs[FunctionName, Qualifier] = values

    def delete_function_event_invoke_config(self, FunctionName: str, Qualifier: str) -> None:  # noqa: N803
        del self.configs[FunctionName, Qualifier]

    def add_permission(self, FunctionName: str, Qualifier: str, **values: Any) -> None:  # noqa: N803
        assert (values["Principal"], values["SourceArn"]) == ("apigateway.amazonaws.com", "arn:api/*")
        if (FunctionName, Qualifier) in self.permissions:
            raise refused("ResourceConflictException")
        self.permissions.add((FunctionName, Qualifier))

    def remove_permission(self, FunctionName: str, Qualifier: str, StatementId: str) -> None:  # noqa: N803
        self.permissions.remove((FunctionName, Qualifier))


class Table:
    def __init__(self) -> None:
        self.functions: list[str] = []

    def get_paginator(self, operation: str) -> Pages:
        assert operation == "query"
        return Pages([{"function": {"S": function}} for function in self.functions])


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def functions() -> Lambda:
    return Lambda()


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def load(api: Api, functions: Lambda, table: Table, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    def module(name: str) -> ModuleType:
        for variable, value in ENVIRONMENT.items():
            monkeypatch.setenv(variable, value)
        clients = {"lambda": functions, "apigatewayv2": api, "dynamodb": table}
        monkeypatch.setattr(boto3, "client", lambda service, config: clients[service])
        monkeypatch.delitem(sys.modules, f"adapter.project.{name}", raising=False)
        return importlib.import_module(f"adapter.project.{name}")

    return module


@pytest.fixture
def registrar(load: Callable[[str], ModuleType], functions: Lambda) -> ModuleType:
    functions.services |= {
        f"{SHOP[:-4]}1": ["Shop", "Basket"],
        f"{SHOP[:-4]}2": ["Shop", "Order"],
        f"{MAIL[:-4]}1": ["Mailer"],
        f"{OTHER[:-4]}1": ["Other"],
    }
    return load("registrar")


# --- the registrar ---


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


# --- the courier ---


def record(id: str, function: str) -> dict[str, str]:
    return {"messageId": id, "body": json.dumps({"function": function, "event": {"adapter": "wake", "id": "inv_a"}})}


def test_messages_are_delivered_and_what_fails_comes_again(
    load: Callable[[str], ModuleType], functions: Lambda
) -> None:
    functions.broken.add(MAIL)
    records = [record("1", SHOP), record("2", MAIL), {"messageId": "3", "body": "{"}, record("4", OTHER)]
    failed = load("courier").handler({"Records": records}, None)
    assert failed == {"batchItemFailures": [{"itemIdentifier": "2"}, {"itemIdentifier": "3"}]}
    assert functions.calls == [("wake", SHOP, "", "Event"), ("wake", OTHER, "", "Event")]


def test_one_function_sweeps(load: Callable[[str], ModuleType], functions: Lambda, table: Table) -> None:
    courier = load("courier")
    courier.handler({"adapter": "sweep"}, None)  # nothing is deployed yet
    assert not functions.calls
    table.functions = [SHOP, SHOP, MAIL]
    functions.broken.add(MAIL)
    for _ in range(20):
        courier.handler({"adapter": "sweep"}, None)
    assert functions.calls == [("sweep", SHOP, "", "Event")] * 20
    functions.broken.add(SHOP)
    with pytest.raises(RuntimeError, match="no function could be invoked to sweep"):
        courier.handler({"adapter": "sweep"}, None)
