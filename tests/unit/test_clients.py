from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from adapter import (
    Context,
    ObjectContext,
    Service,
    UnreadableError,
    VirtualObject,
    Workflow,
    WorkflowContext,
    handler,
    invocation_id,
    serde,
)
from adapter.engine.commands import Call, Send
from adapter.engine.ids import idempotent_id, workflow_id
from adapter.engine.types import Kind, Target
from tests.unit.issuer import FakeIssuer


class Order(BaseModel):
    id: str


class Counter(VirtualObject):
    @handler
    async def add(self, ctx: ObjectContext, amount: int) -> int:
        return amount

    @handler
    async def reset(self, ctx: ObjectContext) -> None: ...

    @handler
    async def step(self, ctx: ObjectContext, by: int = 1) -> int:
        return by

    # Named like what a client might have itself.
    @handler
    async def fn(self, ctx: ObjectContext) -> None: ...

    @handler
    async def key(self, ctx: ObjectContext) -> None: ...

    def helper(self) -> None: ...


class Shop(Service, name="shop"):
    @handler(name="place")
    @abstractmethod
    async def order(self, ctx: Context, order: Order) -> Order: ...


class Upper(serde.Serde[str]):
    content_type = "text/plain"

    def serialize(self, value: str, /) -> bytes:
        return value.upper().encode()

    def deserialize(self, data: bytes, /) -> str:
        return data.decode().lower()


class Files(Service):
    @handler
    async def raw(self, ctx: Context, data: bytes) -> bytes:
        return data

    @handler(input_serde=Upper(), output_serde=Upper())
    async def upper(self, ctx: Context, text: str) -> str:
        return text


class SignUp(Workflow):
    @handler
    async def run(self, ctx: WorkflowContext, email: str) -> bool:
        return True


@pytest.fixture
def issuer() -> FakeIssuer:
    return FakeIssuer()


@pytest.fixture
def ctx(issuer: FakeIssuer) -> Context:
    return Context(issuer)


async def test_calls(issuer: FakeIssuer, ctx: Context) -> None:
    issuer.results[Call] = b"3"
    call = ctx.object_client(Counter, "Mary").add(1, idempotency_key="x", headers={"Trace": "1"})
    assert call.id == "inv_1"
    assert await call == 3
    ctx.object_client(Counter, "Mary").reset()
    ctx.object_client(Counter, "Mary").step()
    ctx.object_client(Counter, "Mary").step(2)
    add, reset, step = (Target("Counter", name, "Mary") for name in ("add", "reset", "step"))
    assert issuer.commands == [
        Call(add, b"1", "x", {"trace": "1"}, Kind.EXCLUSIVE),
        Call(reset, b"", kind=Kind.EXCLUSIVE),
        Call(step, b"", kind=Kind.EXCLUSIVE),
        Call(step, b"2", kind=Kind.EXCLUSIVE),
    ]


async def test_results_that_do_not_fit_say_whose_they_are(issuer: FakeIssuer, ctx: Context) -> None:
    issuer.results[Call] = b'"three"'
    with pytest.raises(UnreadableError, match=r"^the result of Counter.add in Test.test cannot be read as int: [^']*$"):
        await ctx.object_client(Counter, "Mary").add(3)


async def test_calls_through_a_contract(issuer: FakeIssuer, ctx: Context) -> None:
    issuer.results[Call] = b'{"id":"1"}'
    assert await ctx.service_client(Shop).order(Order(id="1")) == Order(id="1")
    assert issuer.commands == [Call(Target("shop", "place"), b'{"id":"1"}', kind=Kind.SERVICE)]


async def test_sends(issuer: FakeIssuer, ctx: Context) -> None:
    issuer.results[Send] = b"3"
    sent = ctx.object_send_client(Counter, "Mary").add(1, delay=timedelta(hours=5))
    ctx.service_send_client(Files).raw(b"\xff")
    ctx.workflow_send_client(SignUp, "Mary").run("mary@example.com", delay=timedelta(0))
    assert await sent == 3
    assert issuer.commands == [
        Send(Target("Counter", "add", "Mary"), b"1", 5 * 3_600_000, kind=Kind.EXCLUSIVE),
        Send(Target("Files", "raw"), b"\xff", kind=Kind.SERVICE),
        Send(Target("SignUp", "run", "Mary"), b'"mary@example.com"', kind=Kind.WORKFLOW),
    ]


async def test_serdes_of_handlers_are_those_of_their_clients(issuer: FakeIssuer, ctx: Context) -> None:
    issuer.results[Call] = b"HELLO"
    assert await ctx.service_client(Files).upper("hello") == "hello"
    assert await ctx.service_client(Files).raw(b"hello") == b"HELLO"
    assert [command.input for command in issuer.commands if isinstance(command, Call)] == [b"HELLO", b"hello"]


async def test_generic_calls(issuer: FakeIssuer, ctx: Context) -> None:
    issuer.results[Call] = b"3"
    assert await ctx.generic_call(service="Counter", method="add", key="Mary", parameter=1) == 3
    raw = ctx.generic_call(
        service="Files", method="raw", parameter=b"x", input_serde=serde.bytes, output_serde=serde.bytes
    )
    assert await raw == b"3"
    ctx.generic_send(
        service="Counter",
        method="reset",
        key="Mary",
        delay=timedelta(seconds=1),
        headers={"A": "b"},
        idempotency_key="x",
    )
    assert issuer.commands == [
        Call(Target("Counter", "add", "Mary"), b"1"),
        Call(Target("Files", "raw"), b"x"),
        Send(Target("Counter", "reset", "Mary"), b"", 1000, "x", {"a": "b"}),
    ]


def test_handlers_are_not_hidden_by_the_client(issuer: FakeIssuer, ctx: Context) -> None:
    ctx.object_client(Counter, "Mary").fn()
    ctx.object_client(Counter, "Mary").key()
    assert [command.target.handler for command in issuer.commands if isinstance(command, Call)] == ["fn", "key"]


def test_a_client_has_nothing_but_handlers(ctx: Context) -> None:
    for name in ("helper", "subtract", "__description__"):
        with pytest.raises(AttributeError, match=f"Counter has no handler {name}; it has add, reset, step"):
            getattr(ctx.object_client(Counter, "Mary"), name)


def misuse(ctx: Any) -> list[tuple[type[Exception], str, Any]]:
    call, send = ctx.object_client(Counter, "Mary"), ctx.object_send_client(Counter, "Mary")
    return [
        (
            ValueError,
            "the call to Counter/Mary/add takes no delay: use the send client",
            lambda: call.add(1, delay=timedelta(1)),
        ),
        (ValueError, "takes no delay", lambda: call.add(1, delay=timedelta(0))),
        (ValueError, "delay is negative", lambda: send.add(1, delay=-timedelta(1))),
        (TypeError, "delay is a timedelta", lambda: send.add(1, delay=5)),
        (TypeError, "Counter.add takes one input, by position, and was given 0", lambda: call.add()),
        (TypeError, "Counter.add takes one input", lambda: call.add(1, 2)),
        (TypeError, "Counter.reset takes no input", lambda: call.reset(1)),
        (TypeError, "Counter.add has no keyword amount: pass the input by position", lambda: call.add(amount=1)),
        (TypeError, "keyword dealy: .* idempotency_key, delay, headers", lambda: send.add(1, dealy=timedelta(1))),
        (ValueError, "idempotency_key has 1 to 512 bytes", lambda: call.add(1, idempotency_key="")),
        (ValueError, "idempotency_key has 1 to 512 bytes", lambda: send.add(1, idempotency_key="x" * 513)),
        (TypeError, "idempotency_key is a string", lambda: call.add(1, idempotency_key=5)),
        (
            ValueError,
            "executed once per workflow id",
            lambda: ctx.workflow_client(SignUp, "x").run("", idempotency_key="x"),
        ),
        (ValueError, "key has 1 to 512 bytes", lambda: ctx.object_client(Counter, "")),
        (ValueError, "key has 1 to 512 bytes in UTF-8, not 514", lambda: ctx.object_client(Counter, "é" * 257)),
        (TypeError, "key is a string, not int", lambda: ctx.object_send_client(Counter, 5)),
        (TypeError, "key is a string, not NoneType", lambda: ctx.workflow_client(SignUp, None)),
        (ValueError, "key has", lambda: ctx.generic_call(service="Counter", method="add", key="")),
        (
            TypeError,
            r"Counter is a virtual object, not a service: use object_client\(Counter, key\)",
            lambda: ctx.service_client(Counter),
        ),
        (
            TypeError,
            r"Files is a service, not a virtual object: use service_client\(Files\)",
            lambda: ctx.object_client(Files, "x"),
        ),
        (
            TypeError,
            r"SignUp is a workflow, .*: use workflow_send_client\(SignUp, id\)",
            lambda: ctx.object_send_client(SignUp, "x"),
        ),
        (TypeError, "is not a class that derives from", lambda: ctx.service_client(lambda: Files())),
        (TypeError, "is not a class that derives from", lambda: ctx.service_client("Files")),
        (TypeError, "an instance of Files was given: pass the class", lambda: ctx.service_client(Files())),
        (TypeError, "header 'a' is a string", lambda: call.add(1, headers={"a": 1})),
        (ValueError, "headers have up to 8192 bytes, not 9001", lambda: call.add(1, headers={"a": "x" * 9000})),
    ]


@pytest.mark.parametrize("number", range(len(misuse(Context(FakeIssuer())))))
def test_misuse(issuer: FakeIssuer, ctx: Context, number: int) -> None:
    error, message, use = misuse(ctx)[number]
    with pytest.raises(error, match=message):
        use()
    assert issuer.commands == []


@pytest.mark.parametrize("key", ["x" * 512, "é" * 256, "a/b?c", " ", "\n"])
def test_keys_that_are_fine(ctx: Context, key: str) -> None:
    assert ctx.object_client(Counter, key)


# --- ids ---


def test_ids_are_worked_out() -> None:
    assert (
        invocation_id(SignUp, "run", "Mary") == invocation_id("SignUp", "run", "Mary") == workflow_id("SignUp", "Mary")
    )
    keyed = idempotent_id(Target("Counter", "add", "Mary"), "k")
    assert invocation_id(Counter, "add", key="Mary", idempotency_key="k") == keyed
    assert invocation_id("Counter", "add", "Mary", idempotency_key="k") == keyed
    placed = idempotent_id(Target("shop", "place"), "k")
    assert invocation_id(Shop, "order", idempotency_key="k") == placed


def test_ids_that_cannot_be_worked_out() -> None:
    wrong: list[Callable[[], str]] = [
        lambda: invocation_id(Counter, "add", "Mary"),
        lambda: invocation_id("SignUp", "run"),
        lambda: invocation_id(SignUp, "run", "Mary", idempotency_key="k"),
        lambda: invocation_id("Counter", "add"),
    ]
    for each in wrong:
        with pytest.raises(ValueError, match="is not known: pass idempotency_key="):
            each()
    with pytest.raises(ValueError, match=r"Counter.add is a virtual object's, so pass its key"):
        invocation_id(Counter, "add", idempotency_key="k")
    with pytest.raises(ValueError, match=r"shop.place is a service's, so leave out its key"):
        invocation_id(Shop, "order", "Mary", idempotency_key="k")
    with pytest.raises(AttributeError, match="Counter has no handler subtract"):
        invocation_id(Counter, "subtract", "Mary")
    with pytest.raises(ValueError, match="key has 1 to 512 bytes"):
        invocation_id("Counter", "add", "", idempotency_key="k")
