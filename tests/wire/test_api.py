"""What services answer: output, errors, refusals for the time or the credentials, and what cannot be read."""

from __future__ import annotations

import asyncio
import json
import time
import zlib
from collections.abc import Mapping
from email.utils import formatdate
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from adapter.aws.wire import Answer, Api, AwsError, Credentials, NoAnswerError, NoRegionError, Place, locate
from tests.wire.loopback import loopback, never
from tests.wire.scripted import KEY, PLACE, Scripted


class Rotating:
    """A source that has new credentials once the old ones were refused."""

    def __init__(self, *keys: str) -> None:
        self.keys = list(keys)

    async def get(self, *, refused: Credentials | None = None) -> Credentials:
        if refused is not None and len(self.keys) > 1:
            self.keys.pop(0)
        return Credentials(self.keys[0], "s")

    def copy(self) -> Rotating:
        return self


def ok(body: object = None, **headers: str) -> Answer:
    return Answer(200, headers, json.dumps(body or {}).encode())


def error(code: str, status: int = 400, headers: Mapping[str, str] | None = None, **more: Any) -> Answer:
    body = {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "no", **more}
    return Answer(status, headers or {}, json.dumps(body).encode())


def api(
    *answers: Answer | Exception, service: str = "dynamodb", attempts: int = 1, source: Any = KEY
) -> tuple[Api, Scripted]:
    transport = Scripted(*answers)
    return Api(service, attempts=attempts, place=PLACE, source=source, transport=transport), transport


class TestConnections:
    async def test_no_thread_is_made(self, monkeypatch: pytest.MonkeyPatch) -> None:
        started: list[Thread] = []
        start = Thread.start

        def begin(thread: Thread) -> None:
            started.append(thread)
            start(thread)

        monkeypatch.setattr(Thread, "start", begin)
        monkeypatch.setattr("adapter.aws.wire.http.CONNECT_SECONDS", 60)  # fifty at once may take longer than two
        async with loopback() as server:
            place = Place("us-east-1", f"http://127.0.0.1:{server.port}")
            dynamodb = Api("dynamodb", connections=50, patience=60, place=place, source=KEY)
            await asyncio.gather(*(dynamodb.call("PutItem", {}) for _ in range(50)))
            dynamodb.close()
            assert len(server.visits) == 50
        assert started == []

    async def test_a_copy_waits_as_long_for_an_answer(self) -> None:
        async with loopback(never) as server:
            place = Place("us-east-1", f"http://127.0.0.1:{server.port}")
            copied = Api("dynamodb", patience=0.2, place=place, source=KEY).copy()
            with pytest.raises(NoAnswerError, match=r"within 0\.2 s"):
                await copied.call("GetItem", {})


class TestRequests:
    async def test_the_json_protocol(self) -> None:
        dynamodb, transport = api(ok({"Item": {"a": {"N": "1"}}}))
        assert await dynamodb.call("GetItem", {"TableName": "t"}) == {"Item": {"a": {"N": "1"}}}
        (asked,) = transport.asked
        assert (asked.method, asked.target, asked.body) == ("POST", "/base/", b'{"TableName":"t"}')
        assert asked.headers["x-amz-target"] == "DynamoDB_20120810.GetItem"
        assert "/us-east-1/dynamodb/aws4_request" in asked.headers["authorization"]

    async def test_binary_values(self) -> None:
        item = {"b": {"B": b"\xff\x00"}, "m": {"M": {"B": {"B": b"x"}, "n": {"B": b""}}}, "B": {"S": "B"}}
        dynamodb, transport = api(ok())
        await dynamodb.call("PutItem", {"Item": item})
        transport.answers = [Answer(200, {}, transport.asked[0].body)]
        assert await dynamodb.call("GetItem", {}) == {"Item": item}

    async def test_what_json_cannot_hold(self) -> None:
        dynamodb, _ = api(ok())
        with pytest.raises(TypeError, match="set is no attribute value"):
            await dynamodb.call("PutItem", {"Item": {"a": {"SS": {"b"}}}})

    async def test_paths_and_queries(self) -> None:
        scheduler, transport = api(Answer(204, {}, b""), service="scheduler")
        answer = await scheduler.send(
            "DeleteSchedule", "DELETE", "/schedules/n", query={"groupName": "a b", "clientToken": "c/d"}
        )
        assert answer.status == 204
        assert transport.asked[0].target == "/base/schedules/n?clientToken=c%2Fd&groupName=a%20b"


class TestErrors:
    async def test_an_error(self) -> None:
        dynamodb, _ = api(error("ConditionalCheckFailedException", Item={"data": {"B": "eA=="}}))
        with pytest.raises(AwsError, match="PutItem: ConditionalCheckFailedException: no") as raised:
            await dynamodb.call("PutItem", {})
        assert (raised.value.code, raised.value.status) == ("ConditionalCheckFailedException", 400)
        assert raised.value.details["Item"] == {"data": {"B": b"x"}}
        assert not raised.value.passes()

    @pytest.mark.parametrize(
        ("answer", "code", "passes"),
        [
            (Answer(404, {"x-amzn-errortype": "ResourceNotFoundException:http://x"}, b'{"Message":"no"}'),
             "ResourceNotFoundException", False),
            (Answer(429, {"x-amzn-errortype": "TooManyRequestsException"}, b'{"message":"no"}'),
             "TooManyRequestsException", True),
            (Answer(503, {}, b"<html>no</html>"), "HTTP 503", True),
            (Answer(413, {}, b"{}"), "HTTP 413", False),
        ],
    )  # fmt: skip
    async def test_other_forms(self, answer: Answer, code: str, passes: bool) -> None:
        function, _ = api(answer, service="lambda")
        with pytest.raises(AwsError) as raised:
            await function.send("Invoke", "POST", "/")
        assert (raised.value.code, raised.value.passes()) == (code, passes)

    async def test_a_checksum(self) -> None:
        body = b'{"a": 1}'
        good, bad = str(zlib.crc32(body)), str(zlib.crc32(b"other"))
        dynamodb, transport = api(Answer(200, {"x-amz-crc32": good}, body))
        assert await dynamodb.call("GetItem", {}) == {"a": 1}
        for status in (200, 400):
            transport.answers = [Answer(status, {"x-amz-crc32": bad}, body)]
            with pytest.raises(NoAnswerError, match="damaged"):
                await dynamodb.call("GetItem", {})

    async def test_what_is_not_json(self) -> None:
        dynamodb, _ = api(Answer(200, {}, b"<html>"))
        with pytest.raises(NoAnswerError, match="not JSON"):
            await dynamodb.call("GetItem", {})


class TestAgain:
    @pytest.mark.parametrize(
        "trouble", [NoAnswerError("no"), error("ThrottlingException"), error("InternalFailure", 500)]
    )
    async def test_as_often_as_allowed(self, trouble: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("adapter.aws.wire.api.PAUSE_SECONDS", 0)
        sqs, transport = api(trouble, trouble, ok(), service="sqs", attempts=3)
        assert await sqs.call("SendMessage", {}) == {}
        assert len(transport.asked) == 3
        transport.answers = [trouble]
        with pytest.raises((AwsError, NoAnswerError)):
            await sqs.call("SendMessage", {})
        assert len(transport.asked) == 6

    async def test_not_what_will_not_pass(self) -> None:
        sqs, transport = api(error("AccessDenied"), service="sqs", attempts=3)
        with pytest.raises(AwsError):
            await sqs.call("SendMessage", {})
        assert len(transport.asked) == 1

    @pytest.mark.parametrize("wrong", [-600, 600])
    async def test_a_wrong_clock_is_corrected(self, wrong: int, monkeypatch: pytest.MonkeyPatch) -> None:
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + wrong)
        dynamodb, transport = api(
            error("InvalidSignatureException", headers={"date": formatdate(now, usegmt=True)}), ok()
        )
        await dynamodb.call("GetItem", {})
        first, second = (asked.headers["x-amz-date"] for asked in transport.asked)
        assert first != second == time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(int(now)))
        await dynamodb.call("GetItem", {})
        assert len(transport.asked) == 3

    @pytest.mark.parametrize("date", ["", "then", "now"])
    async def test_a_wrong_signature_at_the_right_time(self, date: str) -> None:
        headers = {"date": formatdate(usegmt=True) if date == "now" else date} if date else {}
        dynamodb, transport = api(error("InvalidSignatureException", headers=headers))
        with pytest.raises(AwsError):
            await dynamodb.call("GetItem", {})
        assert len(transport.asked) == 1

    async def test_rotated_credentials(self) -> None:
        dynamodb, transport = api(error("ExpiredTokenException"), ok(), source=Rotating("old", "new"))
        await dynamodb.call("GetItem", {})
        assert ["Credential=old/" in asked.headers["authorization"] for asked in transport.asked] == [True, False]

    @pytest.mark.parametrize("keys", [["old"], ["old", "new"]])
    async def test_credentials_that_stay_refused(self, keys: list[str]) -> None:
        dynamodb, transport = api(error("UnrecognizedClientException"), source=Rotating(*keys))
        with pytest.raises(AwsError, match="UnrecognizedClientException"):
            await dynamodb.call("GetItem", {})
        assert len(transport.asked) == len(keys)


class TestPlaces:
    @pytest.fixture(autouse=True)
    def environment(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        for name in ("AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_DYNAMODB"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_REGION", "eu-central-1")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))

    @pytest.mark.parametrize(
        ("variables", "url"),
        [
            ({}, "https://dynamodb.eu-central-1.amazonaws.com"),
            ({"AWS_REGION": "cn-north-1"}, "https://dynamodb.cn-north-1.amazonaws.com.cn"),
            ({"AWS_USE_FIPS_ENDPOINT": "true"}, "https://dynamodb-fips.eu-central-1.amazonaws.com"),
            ({"AWS_USE_DUALSTACK_ENDPOINT": "true"}, "https://dynamodb.eu-central-1.api.aws"),
            ({"AWS_ENDPOINT_URL": "http://a"}, "http://a"),
            ({"AWS_ENDPOINT_URL": "http://a", "AWS_ENDPOINT_URL_DYNAMODB": "http://b"}, "http://b"),
            ({"AWS_ENDPOINT_URL": "http://a", "AWS_ENDPOINT_URL_SQS": "http://b"}, "http://a"),
            ({"AWS_ENDPOINT_URL": "http://a", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
             "https://dynamodb.eu-central-1.amazonaws.com"),
        ],
    )  # fmt: skip
    def test_of_the_environment(self, variables: dict[str, str], url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert locate("dynamodb").url == url

    def test_of_a_profile(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.delenv("AWS_REGION")
        with pytest.raises(NoRegionError, match="set AWS_REGION"):
            locate("dynamodb")
        (tmp_path / "config").write_text("[default]\nregion = eu-west-1\n")
        assert locate("dynamodb").region == "eu-west-1"
