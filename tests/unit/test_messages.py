"""What a mistake in handler code is answered with: the place, and what to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest

from adapter import (
    Context,
    DefinitionError,
    NonDeterminismError,
    ObjectContext,
    ObjectSharedContext,
    Operation,
    RetryPolicy,
    Service,
    TerminalError,
    VirtualObject,
    Workflow,
    WorkflowContext,
    WorkflowSharedContext,
    handler,
    lambda_handler,
)
from adapter.checks import LONGEST
from adapter.engine.types import Kind
from adapter.errors import Leaving
from adapter.http.delays import parse_delay
from adapter.registry import Registry
from adapter.testing import Environment, StuckError
from tests.unit.issuer import FakeIssuer


class Greeter(Service):
    @handler
    async def greet(self, ctx: Context, name: str) -> str:
        return name


class Counter(VirtualObject):
    @handler
    async def add(self, ctx: ObjectContext, amount: int) -> int:
        return amount


class SignUp(Workflow):
    @handler
    async def run(self, ctx: WorkflowContext) -> None: ...


class Empty(Service):
    async def greet(self, ctx: Context) -> None: ...


class Needy(Service):
    def __init__(self, mailer: object, size: int = 1) -> None: ...

    @handler
    async def greet(self, ctx: Context) -> None: ...


@handler
async def alone(ctx: Context, name: str) -> str:
    return name


def context(kind: type[Context]) -> Any:
    return kind(FakeIssuer(Kind.SERVICE if kind is Context else Kind.SHARED, "Mary"))


HAS = "ObjectSharedContext and ObjectContext and WorkflowSharedContext and WorkflowContext have it"
WRITES = "ObjectContext and WorkflowContext have it"


@pytest.mark.parametrize(
    ("kind", "name", "others"),
    [
        (Context, "get", HAS),
        (Context, "key", HAS),
        (Context, "set", WRITES),
        (ObjectSharedContext, "set", WRITES),
        (WorkflowSharedContext, "clear_all", WRITES),
        (ObjectContext, "promise", "WorkflowSharedContext and WorkflowContext have it"),
    ],
)
def test_what_another_context_has(kind: type[Context], name: str, others: str) -> None:
    with pytest.raises(AttributeError) as error:
        getattr(context(kind), name)
    assert str(error.value) == f"the context in Test.test is {kind.__name__}, which has no {name}: {others}"


def test_what_no_context_has() -> None:
    with pytest.raises(AttributeError, match=r"^Context has no sleeep$") as error:
        _ = context(Context).sleeep
    assert (error.value.name, isinstance(error.value.obj, Context)) == ("sleeep", True)  # Python suggests sleep
    assert not hasattr(context(Context), "__deepcopy__")


def clients() -> list[tuple[str, Callable[[Any], object]]]:
    return [
        (
            "Counter is a virtual object, not a service: use object_client(Counter, key)",
            lambda c: c.service_client(Counter),
        ),
        (
            "Greeter is a service, not a virtual object: use service_client(Greeter)",
            lambda c: c.object_client(Greeter, "x"),
        ),
        (
            "SignUp is a workflow, not a service: use workflow_send_client(SignUp, id)",
            lambda c: c.service_send_client(SignUp),
        ),
        ("an instance of Greeter was given: pass the class", lambda c: c.service_client(Greeter())),
        (
            "alone is a handler on its own: make it a method of a class that derives from Service",
            lambda c: c.service_client(alone),
        ),
    ]


@pytest.mark.parametrize(("message", "use"), clients(), ids=range(len(clients())))
def test_the_wrong_client(message: str, use: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError) as error:
        use(context(Context))
    assert str(error.value) == message


# --- what is not awaited ---


USES: dict[str, Callable[[Any], object]] = {
    "format": lambda step: f"{step}",
    "format to a width": lambda step: f"{step:>10}",
    "text": str,
    "percent": lambda step: "%s" % step,  # noqa: UP031
    "plus": lambda step: step + 1,
    "plus from the right": lambda step: 1 + step,
    "sum": lambda step: sum([step]),
    "minus": lambda step: -step,
    "less": lambda step: step < 1,
    "largest": lambda step: max([step, 1]),
    "equal": lambda step: step == 1,
    "equal to text": lambda step: step != "x",
    "truth": lambda step: 1 if step else 2,
    "number": int,
    "decimal": float,
    "index": lambda step: [1][step],
    "range": range,
    "round": round,
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
async def test_the_result_of_what_was_not_awaited(use: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError, match="was not awaited: `await` gives its result"):
        use(context(Context).run("load", int))
    with pytest.raises(TypeError, match=r"^<promise code> was not awaited"):
        use(WorkflowContext(FakeIssuer(Kind.WORKFLOW, "1")).promise("code"))


async def test_attributes_of_what_was_not_awaited() -> None:
    with pytest.raises(AttributeError, match=r"was not awaited: .* may have an attribute amount"):
        _ = context(Context).run("load", int).amount


async def test_operations_are_told_apart_all_the_same() -> None:
    ctx = context(Context)
    one: Operation[int] = ctx.run("one", int)
    two: Operation[int] = ctx.run("two", int)
    assert one == one
    assert one != two
    assert one in [two, one]
    assert two not in {one}
    assert {one: 1}[one] == 1
    assert one is not None
    assert f"{one!r}"


async def test_the_name_of_the_step_is_in_the_message() -> None:
    class Forgetful(Service):
        @handler
        async def run(self, ctx: Context) -> str:
            try:
                return f"{ctx.run('load', int)}"
            except TypeError as error:
                raise TerminalError(str(error)) from error

        @handler
        async def give(self, ctx: Context) -> Any:
            return [ctx.run("load", int)]

    async with Environment(Forgetful) as env:
        with pytest.raises(TerminalError, match=r"^<run load> was not awaited: `await` gives its result$"):
            await env.service_client(Forgetful).run()
        with pytest.raises(
            TerminalError, match=r"the output of Forgetful.give .*: 0 is <run load>, which was not awaited$"
        ):
            await env.service_client(Forgetful).give()


# --- definitions ---


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "lambda_handler() was given no definition: pass the classes that it serves, one by one"),
        ([Empty], "Empty has no handlers: decorate its async methods with @handler"),
        (
            [Needy],
            "Needy cannot be made without arguments, because it needs mailer: pass an instance, as in "
            "`lambda_handler(Needy(mailer=…))`",
        ),
    ],
    ids=["none", "empty", "needy"],
)
def test_definitions_that_cannot_be_served(given: list[Any], message: str) -> None:
    with pytest.raises(DefinitionError) as error:
        lambda_handler(*given)
    assert str(error.value) == message


def test_a_handler_on_its_own() -> None:
    with pytest.raises(TypeError, match="alone is a handler on its own: make it a method of a class"):
        lambda_handler(alone)  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match=r"takes no context: write it as `async def lone\(self, ctx: Context\)`"):

        @handler  # type: ignore[arg-type]
        async def lone(ctx: Context) -> None: ...


def test_errors_of_a_constructor_are_its_own() -> None:
    class Broken(Service):
        def __init__(self) -> None:
            raise TypeError("no mailer")

        @handler
        async def greet(self, ctx: Context) -> None: ...

    with pytest.raises(TypeError, match=r"^no mailer$"):
        Registry(Broken)


# --- times ---


async def test_one_bound_for_sleeps_and_delays() -> None:
    ctx, ages = context(Context), timedelta(days=200 * 365)
    longest = timedelta(milliseconds=LONGEST)
    assert parse_delay(f"{LONGEST}ms") == LONGEST
    await ctx.sleep(longest)
    ctx.service_send_client(Greeter).greet("x", delay=longest)
    for use, what in {
        lambda: ctx.sleep(ages): "duration",
        lambda: ctx.service_send_client(Greeter).greet("x", delay=ages): "delay",
        lambda: ctx.generic_send(service="A", method="b", delay=ages): "delay",
    }.items():
        with pytest.raises(ValueError, match=f"^{what} is longer than 100 years: 73000 days, 0:00:00$"):
            use()
    with pytest.raises(ValueError, match="duration is longer than 100 years"):
        async with ctx.timeout(ages):
            ...


# --- what leaves a handler ---


def test_refused_io_is_not_hidden_in_a_group() -> None:
    refused = NonDeterminismError("getaddrinfo was used")
    with pytest.raises(NonDeterminismError) as error, Leaving("handler A.b"):
        raise ExceptionGroup("connecting", [ExceptionGroup("all", [OSError("x"), refused])])
    assert error.value is refused


def test_secrets_in_arguments_are_not_quoted() -> None:
    ctx = context(Context)
    for use in (
        lambda: ctx.service_client(Greeter).greet("x", headers={"authorization": ("hunter2",)}),
        lambda: ctx.service_client(Greeter).greet("x", idempotency_key=["hunter2"]),
        lambda: ctx.service_client(Greeter).greet("x", headers={"authorization": "hunter2\ud800"}),
        lambda: ctx.object_client(Counter, {"hunter2"}),
        lambda: ctx.sleep("hunter2"),
        lambda: ctx.run("x", "hunter2"),
    ):
        with pytest.raises((TypeError, ValueError)) as error:
            use()
        assert "hunter2" not in str(error.value)


class Reaching(Service):
    @handler(retry=RetryPolicy(attempts=2))
    async def fetch(self, ctx: Context) -> str:
        async with httpx.AsyncClient(timeout=60) as http:
            return (await http.get("http://localhost:1/")).text

    @handler(retry=RetryPolicy(attempts=2))
    async def connect(self, ctx: Context) -> str:
        await asyncio.open_connection("localhost", 1)
        return ""


@pytest.mark.parametrize("name", ["fetch", "connect"])
async def test_io_outside_of_a_step_says_what_to_do_once_it_is_paused(name: str) -> None:
    async with Environment(Reaching) as env:
        with pytest.raises(StuckError) as stuck:
            await getattr(env.service_client(Reaching), name)()
    message = str(stuck.value)
    assert message.startswith(f"Reaching/{name} (inv_")
    assert "is paused and nothing resumes it: 2 attempts failed in a row; its last attempt failed with Non" in message
    assert "wrap I/O, threads and other side effects in `ctx.run(name, function)`" in message
    assert "ExceptionGroup" not in message
