"""The driver of an SDK's Lambda function, without AWS."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from adapter.aws import driver
from adapter.aws.driver import Function, Manifests, discover
from adapter.aws.wire import Answer, NoAnswerError
from adapter.errors import DefinitionError
from adapter.restate.answers import EndpointError
from adapter.restate.endpoints import UnreachableError
from adapter.restate.lambdas import LambdaEndpoint
from tests.wire.scripted import Fake, error, refusal, scripted

VERSION = "arn:aws:lambda:us-east-1:000000000000:function:shop_ts:7"

MANIFEST: dict[str, Any] = {
    "protocolMode": "REQUEST_RESPONSE",
    "minProtocolVersion": 5,
    "maxProtocolVersion": 6,
    "services": [{"name": "Greeter", "ty": "SERVICE", "handlers": [{"name": "greet"}]}],
}


class Table:
    """A table of objects."""

    def __init__(self, *, fails: bool = False) -> None:
        self.items: dict[tuple[str, str], dict[str, Any]] = {}
        self.fails = fails

    def get_item(self, TableName: str, Key: dict[str, Any]) -> dict[str, Any]:  # noqa: N803
        if self.fails:
            raise error("InternalServerError")
        item = self.items.get((Key["pk"]["S"], Key["sk"]["S"]))
        return {"Item": item} if item else {}

    def put_item(self, TableName: str, Item: dict[str, Any]) -> dict[str, Any]:  # noqa: N803
        if self.fails:
            raise error("InternalServerError")
        self.items[Item["pk"]["S"], Item["sk"]["S"]] = Item
        return {}


class Sdk:
    """An SDK's function that answers with a manifest."""

    def __init__(self, manifest: dict[str, Any] = MANIFEST, status: int = 200) -> None:
        self.manifest = manifest
        self.status = status
        self.events: list[dict[str, Any]] = []

    async def __call__(self, event: bytes) -> bytes:
        self.events.append(json.loads(event))
        body = base64.b64encode(json.dumps(self.manifest).encode()).decode()
        return json.dumps({"statusCode": self.status, "headers": {}, "body": body, "isBase64Encoded": True}).encode()


async def services(table: Table, sdk: Sdk) -> list[str]:
    api: Any = Fake(table)
    registry = await discover(LambdaEndpoint(VERSION, sdk), Manifests("objects", api))
    return list(registry.services)


async def test_a_version_is_asked_once_for_its_manifest() -> None:
    table, sdk = Table(), Sdk()
    assert await services(table, sdk) == ["Greeter"]
    assert await services(table, sdk) == ["Greeter"]
    assert [event["path"] for event in sdk.events] == ["/discover"]


async def test_a_version_is_asked_again_where_the_table_does_not_answer() -> None:
    table, sdk = Table(fails=True), Sdk()
    assert await services(table, sdk) == ["Greeter"]
    assert await services(table, sdk) == ["Greeter"]
    assert len(sdk.events) == 2


async def test_what_cannot_be_served_is_not_kept() -> None:
    table = Table()
    with pytest.raises(DefinitionError, match="speaks versions 1 to 3"):
        await services(table, Sdk(MANIFEST | {"minProtocolVersion": 1, "maxProtocolVersion": 3}))
    assert table.items == {}


async def test_a_function_that_is_no_sdk_is_refused() -> None:
    with pytest.raises(UnreachableError, match=r"answers 404 .* another identity key \(ADAPTER_IDENTITY_KEY\)"):
        await services(Table(), Sdk(status=404))


async def test_a_function_that_does_not_answer_is_refused() -> None:
    async def fail(event: bytes) -> bytes:
        raise EndpointError(f"the function {VERSION} cannot be invoked: AccessDeniedException")

    table = Table()
    api: Any = Fake(table)
    with pytest.raises(
        UnreachableError, match=r"AccessDeniedException: .* whether the role of its driver may invoke it"
    ):
        await discover(LambdaEndpoint(VERSION, fail), Manifests("objects", api))
    assert table.items == {}


async def invoked(monkeypatch: pytest.MonkeyPatch, answer: Answer | Exception) -> tuple[bytes, Any]:
    api, transport = scripted("lambda", answer)
    monkeypatch.setattr(driver, "Api", lambda *_, **__: api)
    return await Function(VERSION)(b"{}"), transport


async def test_a_version_is_invoked_and_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    body, transport = await invoked(monkeypatch, Answer(200, {}, b"answer"))
    assert body == b"answer"
    (request,) = transport.asked
    assert "function%3Ashop_ts%3A7/invocations" in request.target
    assert request.headers["x-amz-invocation-type"] == "RequestResponse"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(200, {"x-amz-function-error": "Unhandled"}, b'{"errorMessage": "boom"}'), "failed: .*boom"),
        (refusal("TooManyRequestsException", 429), "cannot be invoked: .*TooManyRequests"),
        (refusal("ResourceNotFoundException", 404), "cannot be invoked: .*ResourceNotFound"),
        (NoAnswerError("it was silent"), "cannot be invoked: it was silent"),
    ],
)
async def test_a_function_that_fails_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, answer: Answer | Exception, said: str
) -> None:
    with pytest.raises(EndpointError, match=said) as raised:
        await invoked(monkeypatch, answer)
    assert not raised.value.pause


async def test_an_answer_that_is_too_large_for_lambda_pauses_its_invocation(monkeypatch: pytest.MonkeyPatch) -> None:
    said = b'{"errorType": "Function.ResponseSizeTooLarge", "errorMessage": "Response payload size exceeded"}'
    with pytest.raises(EndpointError, match="let the handler do less") as raised:
        await invoked(monkeypatch, Answer(200, {"x-amz-function-error": "Unhandled"}, said))
    assert raised.value.pause
