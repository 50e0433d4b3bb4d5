"""Functions of SDKs, in JavaScript and in Python, behind their drivers."""

from __future__ import annotations

import base64
import io
import json
import re
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import pytest

from adapter.aws.deployed import find_stack
from adapter.cli.checks import account
from adapter.cli.checks.finding import Level
from infra.emulator import Emulator
from infra.stack import LOCAL_CREDENTIALS, Stack
from tests.integration.probes import Probes
from tests.integration.waiting import accepted, answer, called, result, until

CANCELLED = {"message": "Cancelled", "code": 409, "source": "invocation"}
"""The SDK's own error."""


@pytest.fixture
def stack(probes: Probes) -> Stack:
    if probes.sdk_deployments is None:
        pytest.skip("npm cannot install the SDK")
    return probes.stack


@pytest.fixture
def http(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url, timeout=60) as client:
        yield client


def shown(admin: httpx.Client, id: str) -> dict[str, Any]:
    return dict(admin.get(f"/invocations/{id}").json())


def suspended(admin: httpx.Client, id: str) -> None:
    until("it is suspended", lambda: shown(admin, id).get("status") == "suspended")


def go(http: httpx.Client, id: str) -> None:
    assert http.post(f"/restate/invocation/{id}/signals/go").status_code == 202


def test_a_sleep_between_two_steps(http: httpx.Client, admin: httpx.Client) -> None:
    id = accepted(http, "/SdkClerk/nap/send", 3_000)
    assert result(http, f"/restate/attach/{id}").json() == "slept"
    entries = admin.get(f"/invocations/{id}/journal").json()["entries"]
    assert [each.get("name", each["command"]) for each in entries if each.get("command") in ("run", "sleep")] == [
        "fall asleep",
        "sleep",
        "wake up",
    ]


def test_the_state_of_a_key(http: httpx.Client, key: str) -> None:
    assert [answer(http, f"/SdkCounter/{key}/add", amount) for amount in (1, 2)] == [1, 3]
    assert answer(http, f"/SdkCounter/{key}/total") == 3


def test_a_call_into_python_and_back(http: httpx.Client, key: str) -> None:
    assert answer(http, "/SdkClerk/ask", key) == 1
    assert answer(http, f"/SdkCounter/{key}/total") == 1


def test_an_idempotency_key(http: httpx.Client, key: str) -> None:
    keys = key, key, key[1:]
    first, second, other = (called(http, "/SdkClerk/unique", idempotency_key=each) for each in keys)
    assert first.json() == second.json() != other.json()
    assert first.headers["x-restate-id"] == second.headers["x-restate-id"]


def test_a_cancelled_sleep(http: httpx.Client, admin: httpx.Client) -> None:
    id = accepted(http, "/SdkClerk/nap/send", 3_600_000)
    suspended(admin, id)
    assert admin.post(f"/invocations/{id}/cancel").status_code == 202
    assert result(http, f"/restate/attach/{id}").json() == CANCELLED


def test_a_deadlock_is_reported_and_broken(http: httpx.Client, admin: httpx.Client, key: str) -> None:
    keys = [f"{key}-a", f"{key}-b"]
    holders = [accepted(http, f"/SdkLock/{own}/hold/send", other) for own, other in (keys, keys[::-1])]
    for each in holders:
        suspended(admin, each)
    for each in holders:
        go(http, each)
    answers = [result(http, f"/restate/attach/{each}") for each in holders]
    failed, touched = sorted(answers, key=lambda each: -each.status_code)
    assert (failed.status_code, touched.json()) == (508, "touched")
    rings = [f"deadlock: SdkLock/{own} → SdkLock/{other} → SdkLock/{own}" for own, other in (keys, keys[::-1])]
    assert failed.json()["message"] in rings


# --- in Python ---


def test_a_function_of_the_python_sdk(http: httpx.Client, admin: httpx.Client, key: str) -> None:
    answered = called(http, "/PyClerk/nap", key, idempotency_key=key)
    assert answered.json() == ["slept", 2, key]
    entries = admin.get(f"/invocations/{answered.headers['x-restate-id']}/journal").json()["entries"]
    assert [each["command"] for each in entries if "command" in each] == ["run", "sleep", "call"]
    assert admin.get("/services/PyClerk").json()["metadata"] == {"team": "probes"}
    assert answer(http, "/PyClerk/ask", key) == 1
    assert answer(http, f"/SdkCounter/{key}/total") == 1


def test_handlers_of_the_python_sdk_beside_definitions(http: httpx.Client, admin: httpx.Client, key: str) -> None:
    answered = called(http, "/BesideClerk/nap", key, idempotency_key=key)
    assert answered.json() == ["slept", '"woke up"']
    assert answer(http, f"/Board/{key}/notes") == ["woke up"]
    entries = admin.get(f"/invocations/{answered.headers['x-restate-id']}/journal").json()["entries"]
    assert [each["command"] for each in entries if "command" in each] == ["run", "sleep", "call", "call"]
    assert [answer(http, "/Copier/count", key) for _ in range(2)] == [1, 2]
    assert answer(http, f"/BesideCounter/{key}/add", 1) == 3
    places = [admin.get(f"/services/{service}").json()["deployment"] for service in ("BesideClerk", "Copier")]
    assert places[0] == places[1]


def test_a_large_journal_is_compressed_or_refused(http: httpx.Client, admin: httpx.Client) -> None:
    compressed, plain = (accepted(http, f"/{service}/carry/send", 6) for service in ("PyClerk", "SdkClerk"))
    until("it is paused", lambda: shown(admin, plain).get("status") == "paused", 400)
    assert re.search(
        "the journal is [0-9]+ bytes as a payload, and Lambda takes 6291456:", shown(admin, plain)["error"]
    )
    assert result(http, f"/restate/attach/{compressed}", 400).json() == 6
    assert admin.post(f"/invocations/{plain}/kill").status_code == 202


# --- versions ---


def test_what_has_begun_ends_on_its_versions_of_both_functions(
    http: httpx.Client, admin: httpx.Client, stack: Stack, probes: Probes
) -> None:
    assert probes.sdk_deployments is not None
    first, second = probes.sdk_deployments
    assert first != second  # although nothing of the driver has changed
    go(http, probes.sdk)
    assert result(http, f"/restate/attach/{probes.sdk}").json() == [1, 1]
    assert shown(admin, probes.sdk)["deployment"] == first
    new = accepted(http, "/SdkClerk/wait/send")
    suspended(admin, new)
    go(http, new)
    assert result(http, f"/restate/attach/{new}").json() == [2, 2]
    assert shown(admin, new)["deployment"] == second
    functions = stack.client("lambda")
    endpoints = [
        functions.get_function_configuration(FunctionName=each)["Environment"]["Variables"]["ADAPTER_ENDPOINT"]
        for each in (first, second)
    ]
    assert [each.rpartition(":")[2] for each in endpoints] == ["1", "2"]
    driver, _, current = second.partition(":")
    assert functions.get_alias(FunctionName=driver, Name="live")["FunctionVersion"] == current


# --- permissions ---


def test_the_driver_alone_may_invoke_the_sdks_function(stack: Stack, emulator: Emulator | None) -> None:
    if emulator is None:
        pytest.skip("not every emulator evaluates policies")
    functions, iam = stack.client("lambda"), stack.client("iam")
    found = {name: functions.get_function_configuration(FunctionName=name) for name in stack.functions}
    [sdk] = [each for name, each in found.items() if "SdkFunction" in name]
    [driver] = [each for name, each in found.items() if name.endswith("_Sdk-driver")]
    [python] = [each for name, each in found.items() if name.endswith("_greeter")]

    def may(function: dict[str, Any], action: str, resource: str) -> bool:
        answered = iam.simulate_principal_policy(
            PolicySourceArn=function["Role"], ActionNames=[action], ResourceArns=[resource]
        )
        return bool(answered["EvaluationResults"][0]["EvalDecision"] == "allowed")

    def invokes(function: dict[str, Any], other: dict[str, Any]) -> bool:
        return may(function, "lambda:InvokeFunction", f"{other['FunctionArn'].removesuffix(':$LATEST')}:1")

    assert [invokes(each, sdk) for each in (driver, python, sdk)] == [True, False, False]
    assert [invokes(each, driver) for each in (driver, python, sdk)] == [True, True, False]
    table = f"arn:aws:dynamodb:{stack.region}:000000000000:table/{stack.tables[0]}"
    assert [may(each, "dynamodb:GetItem", table) for each in (driver, python, sdk)] == [True, True, False]
    logs = f"arn:aws:logs:{stack.region}:000000000000:log-group:/aws/lambda/{stack.name}:log-stream:x"
    assert may(sdk, "logs:PutLogEvents", logs)


def test_the_doctor_finds_nothing_wrong_with_the_driver(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", stack.endpoint or "")
    for name, value in LOCAL_CREDENTIALS.items():
        monkeypatch.setenv(name.upper(), value)
    found = [each for each in account.check(find_stack(stack.name, region=stack.region)) if "function" in each.check]
    assert {each.check.rpartition("_")[2] for each in found} == {"Py-driver", "Sdk-driver", "greeter", "signup"}
    assert [each for each in found if each.level is not Level.OK] == []


# --- a deployment that is refused ---


@contextmanager
def cloudformation() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Listen for what the registrar answers. Yields the URL, and the answers."""
    answers: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            answers.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    listening = threading.Thread(target=server.serve_forever)
    listening.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", answers
    finally:
        server.shutdown()
        listening.join()
        server.server_close()


def zipped(code: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("app.mjs", code)
    return file.getvalue()


def offering(manifest: dict[str, Any]) -> str:
    """Code that answers with a manifest."""
    body = base64.b64encode(json.dumps(manifest).encode()).decode()
    answer = json.dumps({"statusCode": 200, "headers": {}, "body": body, "isBase64Encoded": True})
    return f"export const handler = async () => ({answer})"


OLD = {"protocolMode": "REQUEST_RESPONSE", "minProtocolVersion": 1, "maxProtocolVersion": 3, "services": []}


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("throw new Error('no database')", "no database"),
        (offering(OLD), "speaks versions 1 to 3"),
    ],
    ids=["does not start", "too old"],
)
def test_an_sdks_function_that_is_refused_at_discovery(
    http: httpx.Client, admin: httpx.Client, stack: Stack, emulator: Emulator | None, key: str, code: str, says: str
) -> None:
    if emulator is None:
        pytest.skip("a registrar elsewhere does not reach this process")
    functions = stack.client("lambda")
    [sdk] = [name for name in stack.functions if "SdkFunction" in name]
    [driver] = [name for name in stack.functions if name.endswith("_Sdk-driver")]
    before = {path: admin.get(path).json() for path in ("/services", "/services/SdkClerk")}
    alias = functions.get_alias(FunctionName=driver, Name="live")
    current = functions.get_function_configuration(FunctionName=driver, Qualifier="live")
    # What CloudFormation does before it invokes the registrar.
    published = functions.update_function_code(FunctionName=sdk, ZipFile=zipped(code), Publish=True)["FunctionArn"]
    variables = dict(current["Environment"]["Variables"])
    functions.update_function_configuration(
        FunctionName=driver, Environment={"Variables": variables | {"ADAPTER_ENDPOINT": published}}
    )
    with cloudformation() as (url, answers):
        try:
            _deploy(stack, url, alias, current["Version"], published)
        finally:
            functions.update_function_configuration(FunctionName=driver, Environment={"Variables": variables})
        [answered] = answers
    assert answered["Status"] == "FAILED"
    assert re.search(f"{driver}:[0-9]+ did not register: .*{says}", answered["Reason"])
    assert functions.get_alias(FunctionName=driver, Name="live")["FunctionVersion"] == alias["FunctionVersion"]
    assert {path: admin.get(path).json() for path in before} == before
    assert answer(http, f"/SdkCounter/{key}/add", 1) == 1


def _deploy(stack: Stack, url: str, alias: dict[str, Any], version: str, endpoint: str) -> None:
    """Have the registrar deploy the driver with another version of the SDK's function."""
    function = alias["AliasArn"].rpartition(":")[0]
    listed = {"Alias": alias["AliasArn"], "Version": f"{function}:{version}", "Endpoint": endpoint}
    event = {
        "RequestType": "Update",
        "ResponseURL": url,
        "StackId": "stack",
        "RequestId": "request",
        "LogicalResourceId": "Deployment",
        "ResourceProperties": {"Functions": [listed], "Authorization": "NONE"},
        "OldResourceProperties": {"Functions": [listed], "Authorization": "NONE"},
    }
    functions = stack.client("lambda", read_timeout=310, retries={"total_max_attempts": 1})
    functions.invoke(FunctionName=stack.outputs["Registrar"], Payload=json.dumps(event).encode())
