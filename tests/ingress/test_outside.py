"""Results from outside: awakeables and signals over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from adapter import Context, ObjectSharedContext, Service, VirtualObject, handler
from adapter.engine.types import MAX_PAYLOAD
from tests.ingress.conftest import Stack, error

IDS: list[str] = []


class Payment(Service):
    @handler
    async def confirm(self, ctx: Context) -> Any:
        awakeable = ctx.awakeable()
        await ctx.run("tell", lambda: IDS.append(awakeable.id), type=None)
        return await awakeable

    @handler
    async def approved(self, ctx: Context, times: int) -> list[Any]:
        return [await ctx.signal("approved") for _ in range(times)]

    @handler
    async def raw(self, ctx: Context) -> bytes:
        return await ctx.signal("a/b", bytes)

    @handler(private=True)
    async def secret(self, ctx: Context) -> Any:
        return await ctx.signal("approved")

    @handler
    async def hide(self, ctx: Context) -> str:
        return ctx.service_send_client(Payment).secret().id


class Box(VirtualObject):
    @handler
    async def content(self, ctx: ObjectSharedContext) -> str | None:
        return await ctx.get("content", str)


@pytest.fixture
async def stack() -> AsyncIterator[Stack]:
    IDS.clear()
    stack = Stack(Payment, Box)
    yield stack
    await stack.close()


async def started(stack: Stack, handler: str = "confirm", input: Any = None) -> str:
    response = await stack.http.post(f"/Payment/{handler}/send", **({} if input is None else {"json": input}))
    assert response.status_code == 202
    await stack.at_rest()
    return str(response.json()["invocationId"])


async def outcome(stack: Stack, id: str) -> httpx.Response:
    return await stack.http.get(f"/restate/invocation/{id}/attach")


@pytest.mark.parametrize("path", ["/restate/awakeables", "/restate/a"])
async def test_an_awakeable_is_resolved_once(stack: Stack, path: str) -> None:
    id = await started(stack)
    resolved = await stack.http.post(f"{path}/{IDS[0]}/resolve", json={"paid": 7})
    assert (resolved.status_code, resolved.content) == (202, b"")
    assert (await outcome(stack, id)).json() == {"paid": 7}
    assert error(await stack.http.post(f"{path}/{IDS[0]}/resolve", json=1))[0] == 409
    assert error(await stack.http.post(f"{path}/{IDS[0]}/reject"))[0] == 409


async def test_a_form_is_not_a_value(stack: Stack) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}  # what `curl -d` sends
    await started(stack)
    path = f"/restate/awakeables/{IDS[0]}/resolve"
    said = error(await stack.http.post(path, content="yes", headers=form))
    assert (said[0], "content-type: application/json" in said[1]) == (415, True)
    assert (await stack.http.post(path, content='"yes"', headers=form)).status_code == 202
    id = await started(stack, "approved", 1)
    path = f"/restate/invocation/{id}/signals/approved"
    assert error(await stack.http.post(path, content="yes", headers=form))[0] == 415
    assert (await stack.http.post(path, content="20.5", headers=form)).status_code == 202
    assert (await outcome(stack, id)).json() == [20.5]


async def test_an_awakeable_is_rejected_with_a_reason(stack: Stack) -> None:
    id = await started(stack)
    rejected = await stack.http.post(
        f"/restate/awakeables/{IDS[0]}/reject", content="no money", headers={"content-type": "text/plain"}
    )
    assert rejected.status_code == 202
    assert error(await outcome(stack, id)) == (500, "no money")


async def test_a_rejection_in_json_has_a_code_and_metadata(stack: Stack) -> None:
    id = await started(stack)
    path = f"/restate/awakeables/{IDS[0]}/reject"
    for wrong in (
        {"message": "no", "code": 200},
        {"message": "no", "metadata": {"a": 1}},
        {"message": "no", "why": "?"},
    ):
        assert error(await stack.http.post(path, json=wrong))[0] == 400
    said = {"message": "no money", "code": 402, "metadata": {"account": "7"}}
    assert (await stack.http.post(path, json=said)).status_code == 202
    response = await outcome(stack, id)
    assert response.status_code == 402
    assert response.json() == said | {"source": "invocation"}


@pytest.mark.parametrize("path", ["a/b/reject", "reject?name=a/b"])
async def test_a_signal_is_rejected(stack: Stack, path: str) -> None:
    id = await started(stack, "raw")
    rejected = await stack.http.post(
        f"/restate/invocation/{id}/signals/{path}", content="gone", headers={"content-type": "text/plain"}
    )
    assert (rejected.status_code, rejected.headers["x-restate-id"]) == (202, id)
    assert error(await outcome(stack, id)) == (500, "gone")


async def test_a_heartbeat(stack: Stack) -> None:
    id = await started(stack)
    beat = await stack.http.post(f"/restate/awakeables/{IDS[0]}/heartbeat")
    assert (beat.status_code, beat.headers["x-restate-id"]) == (202, id)
    await stack.http.post(f"/restate/awakeables/{IDS[0]}/resolve", json=1)
    assert (await outcome(stack, id)).json() == 1
    assert error(await stack.http.post(f"/restate/awakeables/{IDS[0]}/heartbeat"))[0] == 409
    assert error(await stack.http.post("/restate/awakeables/awk_1/heartbeat"))[0] == 404


async def test_a_cancellation_says_so(stack: Stack) -> None:
    id = await started(stack)
    await stack.engine.control.cancel(id)
    response = await outcome(stack, id)
    assert response.json() == {"message": "cancelled", "code": 409, "reason": "cancelled", "source": "invocation"}


async def test_an_awakeable_may_be_resolved_with_nothing(stack: Stack) -> None:
    id = await started(stack)
    assert (await stack.http.post(f"/restate/awakeables/{IDS[0]}/resolve")).status_code == 202
    assert (await outcome(stack, id)).json() is None


async def test_what_is_no_awakeable(stack: Stack) -> None:
    await started(stack)
    unknown = IDS[0][:4] + "a" * 32 + IDS[0][36:]
    other = IDS[0][:36] + "a" * 16 + IDS[0][52:]
    assert error(await stack.http.post("/restate/awakeables/awk_1/resolve"))[0] == 400
    assert error(await stack.http.post(f"/restate/awakeables/{unknown}/resolve"))[0] == 404
    assert error(await stack.http.post(f"/restate/awakeables/{other}/resolve"))[0] == 404
    assert error(await stack.http.post(f"/restate/awakeables/{IDS[0]}/finish"))[0] == 404
    assert error(await stack.http.get(f"/restate/awakeables/{IDS[0]}/resolve"))[0] == 405
    large = await stack.http.post(f"/restate/awakeables/{IDS[0]}/resolve", content=bytes(MAX_PAYLOAD + 1))
    assert error(large)[0] == 413


async def test_signals_are_repeatable(stack: Stack) -> None:
    id = await started(stack, "approved", 2)
    path = f"/restate/invocation/{id}/signals/approved"
    first = await stack.http.post(path, json="Mary")
    assert (first.status_code, first.headers["x-restate-id"]) == (202, id)
    assert (await stack.http.post(path, json="John")).status_code == 202
    assert (await outcome(stack, id)).json() == ["Mary", "John"]
    assert error(await stack.http.post(path, json="Ann"))[0] == 409


async def test_an_idempotency_key_makes_one_of_repeated_requests(stack: Stack) -> None:
    id = await started(stack, "approved", 2)
    path = f"/restate/invocation/{id}/signals/approved"
    for name in ("Mary", "Mary", "John"):
        assert (await stack.http.post(path, json=name, headers={"idempotency-key": name})).status_code == 202
        other = await stack.http.post(path, json="Eve", headers={"idempotency-key": name})
        assert error(other) == (409, "another signal was sent with this idempotency key")
    assert (await outcome(stack, id)).json() == ["Mary", "John"]
    await started(stack)
    for _ in range(2):
        response = await stack.http.post(
            f"/restate/awakeables/{IDS[0]}/resolve", json=1, headers={"idempotency-key": "k"}
        )
        assert response.status_code == 202
    other = await stack.http.post(f"/restate/awakeables/{IDS[0]}/resolve", json=2, headers={"idempotency-key": "k"})
    assert error(other)[0] == 409


async def test_a_signal_has_bytes_and_a_name_with_slashes(stack: Stack) -> None:
    id = await started(stack, "raw")
    sent = await stack.http.post(f"/restate/invocation/{id}/signals/a/b", content=b"\xff")
    assert sent.status_code == 202
    assert (await outcome(stack, id)).content == b"\xff"


async def test_a_signals_name_in_the_query(stack: Stack) -> None:
    id = await started(stack, "raw")
    sent = await stack.http.post(f"/restate/invocation/{id}/signals?name=a%2Fb", content=b"\xff")
    assert sent.status_code == 202
    assert (await outcome(stack, id)).content == b"\xff"


async def test_whom_no_signal_reaches(stack: Stack) -> None:
    assert error(await stack.http.post(f"/restate/invocation/inv_{'a' * 32}/signals/x"))[0] == 404
    assert error(await stack.http.post("/restate/invocation/inv_1/signals/x"))[0] == 404
    id = await started(stack, "approved", 1)
    assert error(await stack.http.post(f"/restate/invocation/{id}/signals/"))[0] == 400
    assert error(await stack.http.post(f"/restate/invocation/{id}/signals/{'x' * 513}"))[0] == 400
    assert error(await stack.http.get(f"/restate/invocation/{id}/signals/x"))[0] == 405
    private = (await stack.http.post("/Payment/hide")).json()
    assert error(await stack.http.post(f"/restate/invocation/{private}/signals/approved"))[0] == 404


async def test_nothing_is_null_where_something_is_expected(stack: Stack) -> None:
    assert (await stack.http.post("/Box/a/content")).content == b"null"
