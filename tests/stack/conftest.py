"""The functions of the shared stack on AWS clients in memory."""

from __future__ import annotations

import importlib
import io
import json
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

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
        self.endpoints: dict[str, str] = {}
        """What the variable of drivers says: of their code that is not published, and of versions."""
        self.aliases: dict[tuple[str, str], str] = {}
        self.awaited: list[tuple[str, str]] = []
        self.updating = 0

    def invoke(self, FunctionName: str, Payload: bytes, InvocationType: str = "") -> dict[str, Any]:  # noqa: N803
        event = json.loads(Payload)
        if FunctionName in self.broken:
            if InvocationType:
                raise refused("ResourceNotFoundException")
            return {"FunctionError": "Unhandled", "Payload": io.BytesIO(b'{"errorMessage": "no module x"}')}
        self.calls.append((event["adapter"], FunctionName, event.get("function", ""), InvocationType))
        answer = {"services": self.services.get(FunctionName, [])}
        return {"Payload": io.BytesIO(json.dumps(answer).encode())}

    def get_function_configuration(self, FunctionName: str) -> dict[str, Any]:  # noqa: N803
        if FunctionName not in self.endpoints:
            return {"FunctionArn": FunctionName}
        return {"Environment": {"Variables": {"ADAPTER_ENDPOINT": self.endpoints[FunctionName]}}}

    def publish_version(self, FunctionName: str) -> dict[str, Any]:  # noqa: N803
        if self.updating:
            self.updating -= 1
            raise refused("ResourceConflictException")
        numbers = [int(each.rpartition(":")[2]) for each in self.endpoints if each.startswith(f"{FunctionName}:")]
        last = max(numbers, default=0)
        # Lambda publishes nothing where nothing has changed since the last version.
        version = last if self.endpoints.get(f"{FunctionName}:{last}") == self.endpoints[FunctionName] else last + 1
        self.endpoints[f"{FunctionName}:{version}"] = self.endpoints[FunctionName]
        return {"Version": str(version), **self.get_function_configuration(FunctionName)}

    def get_waiter(self, name: str) -> Lambda:
        assert name == "published_version_active"
        return self

    def wait(self, FunctionName: str, Qualifier: str, WaiterConfig: dict[str, int]) -> None:  # noqa: N803
        self.awaited.append((FunctionName, Qualifier))

    def update_alias(self, FunctionName: str, Name: str, FunctionVersion: str) -> None:  # noqa: N803
        self.aliases[FunctionName, Name] = FunctionVersion

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
