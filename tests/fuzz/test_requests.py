"""Requests in both forms in which they reach the ingress: as a server hands them on, and as API Gateway does.

API Gateway decodes the path once but for ``%25``, drops what is no UTF-8, and sends a text body as a string.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import quote, unquote

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from adapter import Context, ObjectContext, ObjectSharedContext, Service, VirtualObject, handler
from adapter.aws.directory import Directory
from adapter.aws.entry import LambdaEntry
from adapter.aws.host import Host
from adapter.aws.observability import CountedReports, Observed
from adapter.clock import SystemClock
from adapter.engine.engine import Engine
from adapter.engine.ids import INVOCATION_ID, idempotent_id
from adapter.engine.types import MAX_IDEMPOTENCY_KEY, MAX_KEY, MAX_PAYLOAD, Target
from adapter.local.memory import MemoryStore
from adapter.registry import Registry
from tests.fuzz.bounds import bounded
from tests.unit.test_entry import Elsewhere, FakeContext, Recorded


class Box(VirtualObject):
    @handler
    async def key(self, ctx: ObjectSharedContext) -> str:
        return ctx.key

    @handler
    async def put(self, ctx: ObjectContext, value: Any) -> str:
        ctx.set("value", value)
        return ctx.key


class Echo(Service):
    @handler
    async def raw(self, ctx: Context, data: bytes) -> bytes:
        return data

    @handler
    async def any(self, ctx: Context, value: Any) -> Any:
        return value

    @handler
    async def number(self, ctx: Context, value: int) -> int:
        return value

    @handler
    async def headers(self, ctx: Context) -> dict[str, str]:
        return dict(ctx.request.headers)


@dataclass(frozen=True)
class Answer:
    code: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def refused(self) -> bool:
        """Whether it is a refusal as documented."""
        if not 400 <= self.code < 500 and self.code != 501:
            return False
        assert self.headers["content-type"] == "application/json"
        body = self.json
        assert set(body) == {"message", "code", "source"}
        assert body["code"] == self.code
        assert body["message"]
        return True


class Process:
    """A function, to be asked as a server asks it, and as Lambda does."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self._entry = LambdaEntry(Registry(Box, Echo), self._connect)
        self.loop, self.host = self._entry._start()

    def _connect(self, registry: Registry) -> Host:
        observed, ports = Observed(), Recorded()
        engine = Engine(
            store=self.store,
            timers=ports,
            dispatcher=ports,
            clock=SystemClock(),
            handlers=registry.specs,
            reports=CountedReports(observed),
        )
        return Host(registry, engine, cast(Directory, Elsewhere()), observed)

    def ask(
        self,
        method: str,
        raw_path: bytes,
        body: bytes = b"",
        headers: tuple[tuple[bytes, bytes], ...] = (),
        query: bytes = b"",
        chunks: int = 1,
    ) -> Answer:
        """Ask in the form of a server."""
        self.host.until = self.host.engine.process.now() + 10_000
        scope = {
            "type": "http",
            "method": method,
            "path": unquote(raw_path.decode("latin-1")),
            "raw_path": raw_path,
            "query_string": query,
            "headers": list(headers),
        }
        size = max(1, -(-len(body) // chunks))
        pieces = [body[start : start + size] for start in range(0, len(body), size)] or [b""]
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            piece = pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

        async def send(message: Any) -> None:
            sent.append(message)

        self.loop.run_until_complete(self.host.ingress(scope, receive, send))
        start, *rest = sent
        decoded = {name.decode(): value.decode("latin-1") for name, value in start["headers"]}
        return Answer(start["status"], decoded, b"".join(each.get("body", b"") for each in rest))

    def event(self, **changes: Any) -> Any:
        """Invoke the function with an API Gateway event, and give what it answers."""
        event: dict[str, Any] = {
            "version": "2.0",
            "rawPath": "/",
            "rawQueryString": "",
            "headers": {"host": "example.org"},
            "requestContext": {
                "http": {"method": "POST", "path": "/", "sourceIp": "1.2.3.4"},
                "timeEpoch": time.time_ns() // 1_000_000,
            },
            "isBase64Encoded": False,
        } | changes
        return self._entry(json.loads(json.dumps(event)), FakeContext())

    def gateway(self, path: str, body: bytes = b"", **changes: Any) -> Answer:
        """Ask as API Gateway would, of a path as it was before it was encoded."""
        encoded = base64.b64encode(body).decode()
        answer = self.event(rawPath=path.replace("%", "%25"), body=encoded, isBase64Encoded=True, **changes)
        content = answer["body"]
        data = base64.b64decode(content) if answer["isBase64Encoded"] else content.encode()
        return Answer(answer["statusCode"], answer["headers"], data)


def _now() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture(scope="module")
def process() -> Iterator[Process]:
    process = Process()
    yield process
    process.loop.close()


SIGNS = ["/", "%", "%2F", "%25", "%00", "\0", ".", "..", "send", "key", "é", "e\u0301", " ", "+", "?", "#"]
NAMES = [b"content-type", b"content-length", b"idempotency-key", b"accept", b"x-own"]

keys = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40),
    st.lists(st.sampled_from(SIGNS), min_size=1, max_size=6).map("".join),
)
fields = st.tuples(st.sampled_from(NAMES) | st.binary(max_size=20).map(bytes.lower), st.binary(max_size=200))
headers = st.lists(fields, max_size=6).map(tuple)
queries = st.one_of(
    st.binary(max_size=60), st.text(max_size=30).map(lambda text: b"delay=" + quote(text, errors="replace").encode())
)
bodies = st.one_of(
    st.binary(max_size=100),
    st.text().map(str.encode),
    st.from_regex(r'[\[\]{}",:0-9eE.+\-ntrufalsNaIi\\ ]{0,40}').map(str.encode),
)


class TestKeys:
    @given(keys)
    @example("\u212b")  # an Ångström sign, which normalization would take for a letter
    @example("%")
    @example("/")
    @example("a//b/")
    @example("\x7f\u2028\ufeff\U0010ffff")
    @bounded(300)
    def test_both_forms_have_the_same_key(self, process: Process, key: str) -> None:
        """The very characters that the client meant."""
        encoded = quote(key, safe="").encode()
        called = process.ask("POST", b"/Box/" + encoded + b"/key")
        if len(key.encode()) > MAX_KEY:
            assert called.refused
            return
        assert called.json == key
        assert process.ask("POST", b"/restate/call/Box/" + encoded + b"/key").json == key
        assert process.gateway(f"/Box/{key}/key").json == key
        assert process.gateway(f"/restate/call/Box/{key}/key").json == key

    @given(keys)
    @bounded(100)
    def test_both_send_to_the_same_key(self, process: Process, key: str) -> None:
        assume(len(key.encode()) <= MAX_KEY)
        encoded = quote(key, safe="").encode()
        sent = [
            process.ask("POST", b"/restate/send/Box/" + encoded + b"/put", b"1", ((b"idempotency-key", b"a"),)),
            process.gateway(f"/restate/send/Box/{key}/put", b"1", headers={"idempotency-key": "a"}),
        ]
        assert {answer.json["invocationId"] for answer in sent} == {idempotent_id(Target("Box", "put", key), "a")}

    @given(st.binary(max_size=60), st.sampled_from([b"GET", b"POST"]))
    @example(b"/Box/\xff/key", b"POST")
    @example(b"/Box/%ed%a0%80/key", b"POST")
    @example(b"/Box/%/key", b"POST")
    @example(b"/restate/invocation/Box/k/key/%00/attach", b"GET")
    @example(b"", b"GET")
    @bounded(300)
    def test_any_path_is_answered(self, process: Process, path: bytes, method: bytes) -> None:
        for prefix in (b"", b"/Box/", b"/restate/", b"/restate/invocation/", b"/restate/workflow/"):
            answer = process.ask(method.decode(), prefix + path)
            assert answer.refused or answer.code == 200

    @given(st.text(max_size=60))
    @example("\ud800")
    @bounded(200)
    def test_any_path_of_the_gateway_is_answered(self, process: Process, path: str) -> None:
        """One that JSON can say, which may hold half of a surrogate pair."""
        ends = ("", "/key", "/attach", "/key/attach", "/signals/x")
        for prefix in (
            "/",
            "/Box/",
            "/restate/call/Box/",
            "/restate/invocation/Box/k/key/",
            f"/restate/invocation/inv_{'a' * 32}/signals/",
        ):
            for end in ends:
                for method in ("GET", "POST"):
                    context = {
                        "http": {"method": method, "path": "/", "sourceIp": "1.2.3.4"},
                        "timeEpoch": time.time_ns() // 1_000_000,
                    }
                    answer = process.gateway(prefix + path + end, requestContext=context)
                    assert answer.refused or answer.code == 200


class TestHeaders:
    @given(headers)
    @example(((b"content-length", b"9" * 5000),))
    @example(((b"content-length", "\u0663".encode()),))
    @example(((b"content-length", b"-1"),))
    @example(((b"content-type", b"\xff"),))
    @example(((b"x-own", b"x" * 9000),))
    @example(((b"\xff\x00", b"\xff\x00"),))
    @example(((b"x-restate-limit-key", b"k"),))
    @bounded(300)
    def test_any_are_passed_on_or_refused(self, process: Process, headers: Any) -> None:
        answer = process.ask("POST", b"/Echo/headers", headers=headers)
        if answer.refused:
            return
        assert answer.code == 200
        given = answer.json
        for name, value in headers:
            if name == b"x-own":
                assert value.decode(errors="replace") in given["x-own"]

    @given(st.binary(max_size=700))
    @example(b"k" * 512)
    @example(b"k" * 513)
    @example("ë".encode() * 256)
    @example(b"\xff")
    @example(b" ")
    @bounded(200)
    def test_idempotency_keys(self, process: Process, key: bytes) -> None:
        answer = process.ask("POST", b"/Echo/any/send", b"1", ((b"idempotency-key", key),))
        try:
            text = key.decode()
        except UnicodeDecodeError:
            assert answer.refused
            return
        if 0 < len(key) <= MAX_IDEMPOTENCY_KEY:
            assert answer.json["invocationId"] == idempotent_id(Target("Echo", "any"), text)
        else:
            assert answer.refused

    @given(st.dictionaries(st.text(max_size=20), st.text(max_size=50), max_size=5))
    @example({"x-own": "\ud800"})
    @example({"idempotency-key": "\ud800"})
    @example({"content-length": "9" * 5000})
    @example({"x-restate-limit-key": ""})
    @bounded(200)
    def test_any_of_the_gateway(self, process: Process, headers: dict[str, str]) -> None:
        answer = process.gateway("/Echo/headers", headers=headers)
        assert answer.refused or answer.code == 200

    @given(st.integers(0, 50), st.binary(max_size=60), st.integers(1, 5))
    @bounded(100)
    def test_a_length_that_lies(self, process: Process, said: int, body: bytes, chunks: int) -> None:
        """What comes is what counts: a server sees to the length."""
        length = ((b"content-length", str(said).encode()),)
        assert process.ask("POST", b"/Echo/raw", body, length, chunks=chunks).body == body


class TestQueries:
    @given(queries)
    @example(b"delay=\xff")
    @example(b"delay=%ff")
    @example(b"delay=1s&delay=1s")
    @example(b"delay=" + b"9" * 5000)
    @example(b"&&&=;")
    @bounded(300)
    def test_any_are_read_or_refused(self, process: Process, query: bytes) -> None:
        sent = process.ask("POST", b"/Echo/any/send", b"1", query=query)
        assert sent.refused or INVOCATION_ID.fullmatch(sent.json["invocationId"])
        called = process.ask("POST", b"/Echo/any", b"1", query=query)
        assert called.refused or called.json == 1

    @given(st.text(max_size=60))
    @example("delay=\ud800")
    @bounded(100)
    def test_any_of_the_gateway(self, process: Process, query: str) -> None:
        answer = process.gateway("/Echo/any/send", b"1", rawQueryString=query)
        assert answer.refused or answer.code == 202


class TestBodies:
    @given(st.binary(max_size=200))
    @example(b"")
    @example(b"\x00")
    @bounded(100)
    def test_bytes(self, process: Process, body: bytes) -> None:
        assert process.ask("POST", b"/Echo/raw", body).body == body
        assert process.gateway("/Echo/raw", body).body == body

    @given(bodies)
    @example(b"[" * 50_000)
    @example(b'{"a":' * 50_000)
    @example(b"9" * 50_000)
    @example(b"1e400")
    @example(b"-0")
    @example(b"NaN")
    @example(b"[Infinity]")
    @example(b'"\\ud800"')
    @example(b'"\xed\xa0\x80"')
    @example(b'{"a":1,"a":2}')
    @example(b'"\\u0000"')
    @example(b"\xef\xbb\xbf1")
    @bounded(300)
    def test_json(self, process: Process, body: bytes) -> None:
        """It is read as it was meant, or refused; whatever is answered is JSON, in UTF-8."""
        for path in (b"/Echo/any", b"/Echo/number", b"/Box/bodies/put", b"/Echo/any/send"):
            answer = process.ask("POST", path, body)
            if not answer.refused:
                assert answer.code in (200, 202)
                json.loads(answer.body.decode(), parse_constant=_refuse)
        assert process.gateway("/Echo/any", body).code == process.ask("POST", b"/Echo/any", body).code

    @given(st.integers(-3, 3))
    @bounded(7)
    def test_sizes(self, process: Process, more: int) -> None:
        body = b"x" * (MAX_PAYLOAD + more)
        answer = process.ask("POST", b"/Echo/raw", body, chunks=7)
        assert answer.code == (413 if more > 0 else 200)
        assert more <= 0 or re.match("a body has up to", answer.json["message"])

    @given(st.text(max_size=100), st.booleans())
    @example("\ud800", False)
    @example("%%%", True)
    @example("é", True)
    @bounded(200)
    def test_any_of_the_gateway(self, process: Process, body: str, encoded: bool) -> None:
        """Text that it calls base64, and is not, or that is no Unicode."""
        for headers in ({}, {"content-length": "3"}, {"content-length": "9" * 5000}, None):
            raw = process.event(rawPath="/Echo/raw", body=body, isBase64Encoded=encoded, headers=headers)
            assert raw["statusCode"] in (200, 400, 413)


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def test_nothing_is_left_under_way(process: Process) -> None:
    assert asyncio.all_tasks(process.loop) == set()
