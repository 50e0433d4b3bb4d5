"""Payloads of an SDK's Lambda function: compressed where they are large, and refused where they are too large."""

from __future__ import annotations

import base64
import json
import random
from typing import Any

import pytest

from adapter.restate import lambdas
from adapter.restate import messages as m
from adapter.restate.answers import EndpointError, read_answer
from adapter.restate.lambdas import MAX_PAYLOAD, LambdaEndpoint
from adapter.restate.wire import Frame, write_frame
from tests.restate.fakes import MANIFEST
from tests.restate.sandbox import LambdaSandbox


class Limited:
    """Lambda, with its limit, before a function."""

    def __init__(self, function: Any) -> None:
        self._function = function
        self.payloads: list[int] = []

    async def __call__(self, event: bytes) -> bytes:
        assert len(event) <= MAX_PAYLOAD
        answer: bytes = await self._function(event)
        assert len(answer) <= MAX_PAYLOAD
        self.payloads += [len(event), len(answer)]
        return answer


def journal(data: bytes) -> bytes:
    start = m.Start(b"id", "inv", 1, key="")
    input = m.InputCommand([], m.Value(data))
    return write_frame(Frame(m.START, start.encode())) + write_frame(Frame(0x0400, input.encode()))


@pytest.mark.parametrize("language", ["sandbox", "python_sandbox"])
async def test_large_payloads_are_compressed_both_ways(language: str, request: pytest.FixtureRequest) -> None:
    function = Limited(request.getfixturevalue(language))
    endpoint = LambdaEndpoint("sandbox", function)
    await endpoint.discover()
    data = b"compressible" * 500_000
    answer = read_answer(await endpoint.exchange("TestUtilsService", "rawEcho", journal(data)))
    output = next(each for each in answer.commands if isinstance(each, m.OutputCommand))
    assert output.value is not None
    assert output.value.content == data
    assert max(function.payloads) < len(data) / 10


async def test_what_cannot_be_sent_pauses(sandbox: LambdaSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = LambdaEndpoint("sandbox", Limited(sandbox))
    await endpoint.discover()
    body = journal(random.Random(0).randbytes(5_000_000))
    with pytest.raises(EndpointError, match="although it is compressed") as raised:
        await endpoint.exchange("TestUtilsService", "rawEcho", body)
    assert raised.value.pause
    monkeypatch.setattr(lambdas, "_zstd", lambda: None)
    with pytest.raises(EndpointError, match=r"add serverless-adapter\[zstd\]"):
        await endpoint.exchange("TestUtilsService", "rawEcho", body)
    with pytest.raises(EndpointError, match="a runtime that compresses"):
        await LambdaEndpoint("sandbox", sandbox).exchange("TestUtilsService", "rawEcho", body)


async def test_a_damaged_answer_is_tried_again(sandbox: LambdaSandbox) -> None:
    async def damaging(event: bytes) -> bytes:
        answer = json.loads(await sandbox(event))
        if answer["headers"].get("content-encoding") == "zstd":
            answer["body"] = base64.b64encode(b"damaged").decode()
        return json.dumps(answer).encode()

    endpoint = LambdaEndpoint("sandbox", damaging)
    await endpoint.discover()
    with pytest.raises(EndpointError, match="cannot be decompressed"):
        await endpoint.exchange("TestUtilsService", "rawEcho", journal(b"compressible" * 500_000))


@pytest.mark.parametrize(
    ("cut", "reason"),
    [(None, "answers with more than 1000 bytes"), (-1, "cannot be decompressed: it ends too soon")],
    ids=["too large", "cut off"],
)
async def test_a_compressed_answer_is_bounded(cut: int | None, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    zstd: Any = lambdas._zstd()
    monkeypatch.setattr(lambdas, "MAX_ANSWER", 1000)
    answers = {"/discover": json.dumps(MANIFEST | {"lambdaCompression": "zstd"}).encode()}

    async def function(event: bytes) -> bytes:
        path = json.loads(event)["path"]
        packed = path not in answers
        body = zstd.compress(bytes(1_000_000 if cut is None else 900))[:cut] if packed else answers[path]
        headers = {"content-encoding": "zstd"} if packed else {}
        said = {"statusCode": 200, "headers": headers, "body": base64.b64encode(body).decode(), "isBase64Encoded": True}
        return json.dumps(said).encode()

    endpoint = LambdaEndpoint("function", function)
    await endpoint.discover()
    with pytest.raises(EndpointError, match=reason):
        await endpoint.exchange("Fake", "run", b"")
