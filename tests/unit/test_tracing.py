"""Traces: the spans of invocations, attempts and steps nest, across processes too, and ``traceparent`` goes along."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.responses import PlainTextResponse

from adapter import Context, RetryPolicy, Service, TerminalError, handler
from adapter.aws.observability import Observed
from adapter.engine.ports import Store
from adapter.local.memory import MemoryStore
from adapter.local.server import running
from adapter.registry import Registry
from adapter.tracing import TracedApp

EXPORTER = InMemorySpanExporter()
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "tracestate": "vendor=1"}


@pytest.fixture(scope="module", autouse=True)
def provider() -> Iterator[None]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(EXPORTER))
    trace.set_tracer_provider(provider)
    yield
    EXPORTER.shutdown()  # a process has one provider for good: other tests' spans are not kept


@pytest.fixture(autouse=True)
def empty(provider: None) -> None:
    EXPORTER.clear()


class Shop(Service):
    failures = 0

    @handler
    async def order(self, ctx: Context) -> str:
        await ctx.run("charge", self.charge)
        invoice = await ctx.service_client(Shop).invoice()
        ctx.service_send_client(Shop).mail()
        return invoice

    async def charge(self) -> None:
        with trace.get_tracer("mine").start_as_current_span("the bank"):
            pass

    @handler
    async def invoice(self, ctx: Context) -> str:
        return str(ctx.request.headers.get("tracestate"))

    @handler
    async def mail(self, ctx: Context) -> None: ...

    @handler
    async def nap(self, ctx: Context) -> None:
        await ctx.run("before", int)
        await ctx.sleep(timedelta(seconds=3))
        await ctx.service_client(Shop).invoice()

    @handler(retry=RetryPolicy(initial=timedelta(milliseconds=1)))
    async def unlucky(self, ctx: Context) -> None:
        Shop.failures += 1
        if Shop.failures == 1:
            raise ValueError("out of luck")

    @handler
    async def refuse(self, ctx: Context) -> None:
        await ctx.service_client(Shop).refused()

    @handler
    async def refused(self, ctx: Context) -> None:
        raise TerminalError("sold out", code=409)


@asynccontextmanager
async def server(store: Store | None = None) -> AsyncGenerator[httpx.AsyncClient]:
    async with running(Registry(Shop), store or MemoryStore()) as app:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as http:
            yield http


def spans() -> list[ReadableSpan]:
    return sorted(EXPORTER.get_finished_spans(), key=lambda span: span.start_time or 0)


def tree() -> list[str]:
    """The spans as an outline, in the order in which they began."""
    found = spans()
    by_id = {span.context.span_id: span for span in found if span.context}

    def depth(span: ReadableSpan) -> int:
        above = by_id.get(span.parent.span_id) if span.parent else None
        return 0 if above is None else 1 + depth(above)

    def place(span: ReadableSpan) -> list[int]:
        above = by_id.get(span.parent.span_id) if span.parent else None
        return [*(place(above) if above else []), found.index(span)]

    return ["  " * depth(span) + span.name for span in sorted(found, key=place)]


async def test_spans_nest_from_the_request_to_the_steps_of_what_is_called() -> None:
    async with server() as http:
        answer = await http.post("/Shop/order", headers=CALLER)
    assert tree() == [
        "POST",
        "  Shop/order",
        "    step charge",
        "      the bank",
        "    call Shop/invoice",
        "      Shop/invoice",
        "    send Shop/mail",
        "      Shop/mail",
    ]
    assert {f"{span.context.trace_id:032x}" for span in spans() if span.context} == {TRACE}
    assert answer.json() == "vendor=1"
    request, attempt, *_ = spans()
    assert request.parent is not None
    assert f"{request.parent.span_id:016x}" == "00f067aa0ba902b7"
    assert request.attributes == {
        "http.request.method": "POST",
        "url.path": "/Shop/order",
        "http.response.status_code": 200,
        "adapter.invocation_id": answer.headers["x-restate-id"],
    }
    assert attempt.attributes == {
        "adapter.invocation_id": answer.headers["x-restate-id"],
        "adapter.target": "Shop/order",
        "adapter.attempt": 1,
        "adapter.outcome": "completed",
    }


async def test_attempts_in_other_processes_are_in_the_same_trace() -> None:
    store = MemoryStore()
    async with server(store) as http:
        id = (await http.post("/Shop/nap/send", headers=CALLER)).json()["invocationId"]
        await http.get("/admin/invocations")
    async with server(store) as http:
        await http.get(f"/restate/invocation/{id}/attach")
    attempts = [span for span in spans() if span.name == "Shop/nap"]
    assert [(span.attributes or {})["adapter.outcome"] for span in attempts] == ["suspended", "completed"]
    assert [(span.attributes or {})["adapter.attempt"] for span in attempts] == [1, 2]
    assert {span.parent.span_id for span in attempts if span.parent} == {
        span.context.span_id for span in spans() if span.name == "POST" and span.context
    }
    assert {span.context.trace_id for span in attempts if span.context} == {int(TRACE, 16)}
    names = [span.name for span in spans()]
    assert (names.count("step before"), names.count("call Shop/invoice")) == (1, 1)


async def test_failures_are_marked() -> None:
    Shop.failures = 0
    async with server() as http:
        await http.post("/Shop/unlucky")
        failed, completed = (span for span in spans() if span.name == "Shop/unlucky")
        assert failed.status.status_code is trace.StatusCode.ERROR
        assert [event.name for event in failed.events] == ["exception"]
        assert completed.status.is_ok
        EXPORTER.clear()
        await http.post("/Shop/refuse")
    by_name = {span.name: span for span in spans()}
    for span in (by_name["call Shop/refused"], by_name["Shop/refused"], by_name["Shop/refuse"]):
        assert (span.status.status_code, (span.attributes or {})["adapter.code"]) == (trace.StatusCode.ERROR, 409)


async def test_a_request_is_in_the_span_that_the_function_has_begun() -> None:
    app = TracedApp(PlainTextResponse("served"))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        with trace.get_tracer("lambda").start_as_current_span("function") as function:
            await http.get("/", headers=CALLER)
    request = spans()[-1]
    assert request.parent is not None
    assert request.parent.span_id == function.get_span_context().span_id


def test_spans_are_exported_before_a_function_is_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(trace.get_tracer_provider(), "force_flush", flushed.append)
    Observed().end()
    assert flushed == [1000]


PROGRAM = """
import sys
if "without" in sys.argv:
    sys.modules["opentelemetry"] = None
import asyncio, httpx, json
from adapter import Context, Service, handler
from adapter.local.memory import MemoryStore
from adapter.local.server import running
from adapter.registry import Registry

class Shop(Service):
    @handler
    async def order(self, ctx: Context) -> list[dict[str, str]]:
        await ctx.service_send_client(Shop).mail()
        return [dict(ctx.request.headers), await ctx.service_client(Shop).mail(),
                await ctx.service_client(Shop).mail(headers={"traceparent": "mine"})]

    @handler
    async def mail(self, ctx: Context) -> dict[str, str]:
        return dict(ctx.request.headers)

async def main():
    async with running(Registry(Shop), MemoryStore()) as app:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
            print((await http.post("/Shop/order", headers=json.loads(sys.argv[1]))).text)

asyncio.run(main())
"""


@pytest.mark.parametrize("without", [[], ["without"]], ids=["no provider", "not installed"])
def test_headers_of_a_trace_go_along_without_spans(without: list[str]) -> None:
    program = [sys.executable, "-c", PROGRAM, json.dumps(CALLER), *without]
    ran = subprocess.run(program, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    first, called, other = json.loads(ran.stdout)
    assert CALLER.items() <= first.items()
    assert CALLER.items() <= called.items()
    assert other["traceparent"] == "mine"
