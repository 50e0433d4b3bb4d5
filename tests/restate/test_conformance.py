"""The cases of Restate's conformance suite for SDKs, on this engine."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from tests.restate.conftest import HOSTINGS
from tests.restate.hosting import CallError, Hosted, eventually, new_key

INTERPRETER = "VirtualObjectCommandInterpreter"


def message(value: Any) -> list[int]:
    return list(json.dumps(value).encode())


def proxied(service: str, handler: str, input: Any, key: str | None = None, **more: Any) -> dict[str, Any]:
    request = {"serviceName": service, "virtualObjectKey": key, "handlerName": handler, "message": message(input)}
    return request | more


# --- state -----------------------------------------------------------------------------------------------------------


async def test_state_is_kept_from_call_to_call(host: Hosted) -> None:
    key = new_key()
    assert await host.call(f"Counter/{key}/add", 1) == {"oldValue": 0, "newValue": 1}
    assert await host.call(f"Counter/{key}/add", 2) == {"oldValue": 1, "newValue": 3}
    assert await host.call(f"Counter/{key}/get") == 3
    await host.call(f"Counter/{key}/reset")
    assert await host.call(f"Counter/{key}/get") == 0


async def test_entries_are_listed_and_cleared(host: Hosted) -> None:
    key = new_key()
    for name in ("a", "b"):
        await host.call(f"MapObject/{key}/set", {"key": name, "value": f"value of {name}"})
    entries = await host.call(f"MapObject/{key}/clearAll")
    assert sorted(each["key"] for each in entries) == ["a", "b"]
    assert await host.call(f"MapObject/{key}/get", "a") == ""


async def test_state_that_was_set_before_a_failure_is_kept(host: Hosted) -> None:
    key = new_key()
    with pytest.raises(CallError, match=key):
        await host.call(f"Counter/{key}/addThenFail", 1)
    assert await host.call(f"Counter/{key}/get") == 1


# --- calls -----------------------------------------------------------------------------------------------------------


async def test_a_call_is_proxied(host: Hosted) -> None:
    key = new_key()
    output = await host.call("Proxy/call", proxied("Counter", "add", 1, key))
    assert json.loads(bytes(output)) == {"oldValue": 0, "newValue": 1}


async def test_a_message_is_proxied(host: Hosted) -> None:
    key = new_key()
    id = await host.call("Proxy/oneWayCall", proxied("Counter", "add", 2, key))
    assert await host.attach(id) == {"oldValue": 0, "newValue": 2}


async def test_a_delayed_message_comes_late(host: Hosted) -> None:
    key, began = new_key(), time.monotonic()
    id = await host.call("Proxy/oneWayCall", proxied("Counter", "add", 2, key, delayMillis=400))
    assert await host.attach(id) == {"oldValue": 0, "newValue": 2}
    assert time.monotonic() - began >= 0.4


async def test_calls_with_one_idempotency_key_are_one_invocation(host: Hosted) -> None:
    key, idempotency = new_key(), new_key()
    request = proxied("Counter", "add", 2, key, idempotencyKey=idempotency)
    assert await host.call("Proxy/call", request) == await host.call("Proxy/call", request)
    assert await host.call(f"Counter/{key}/get") == 2


async def test_messages_with_one_idempotency_key_are_one_invocation(host: Hosted) -> None:
    key, idempotency = new_key(), new_key()
    request = proxied("Counter", "add", 2, key, idempotencyKey=idempotency)
    first = await host.call("Proxy/oneWayCall", request)
    assert await host.call("Proxy/oneWayCall", request) == first
    await host.attach(first)
    assert await host.call(f"Counter/{key}/get") == 2


@pytest.mark.parametrize(
    "one_way", [[True, False, False], [True, False, True], [False, True, False], [True, True, False]]
)
async def test_calls_and_messages_to_one_key_keep_their_order(host: Hosted, one_way: list[bool]) -> None:
    key = new_key()
    requests = [
        {
            "proxyRequest": proxied("ListObject", "append", str(place), key),
            "oneWayCall": way,
            "awaitAtTheEnd": not way,
        }
        for place, way in enumerate(one_way)
    ]
    await host.call("Proxy/manyCalls", requests)

    async def has_all() -> bool:
        return await host.call(f"ListObject/{key}/get") == ["0", "1", "2"]

    await eventually(has_all)


async def test_headers_reach_the_handler(host: Hosted) -> None:
    assert (await host.call("TestUtilsService/echoHeaders", x_tenant="Mary"))["x-tenant"] == "Mary"


async def test_the_idempotency_key_reaches_the_handler(host: Hosted, tells_idempotency_keys: bool) -> None:
    def told(key: str) -> str | None:
        return key if tells_idempotency_keys else None

    echo, of_request, of_call = "TestUtilsService/echoIdempotencyKey", new_key(), new_key()
    assert await host.call(echo) is None
    assert await host.call(echo, idempotency_key=of_request) == told(of_request)
    called = await host.call("Proxy/call", proxied(*echo.split("/"), None, idempotencyKey=of_call))
    assert json.loads(bytes(called) or b"null") == told(of_call)


async def test_raw_bytes_pass_through(host: Hosted) -> None:
    data = bytes(range(256))
    headers = {"content-type": "application/octet-stream"}
    response = await host.http.post("/TestUtilsService/rawEcho", content=data, headers=headers)
    assert response.content == data, response.text[:300]


async def test_many_sleeps_at_once(host: Hosted) -> None:
    began = time.monotonic()
    await host.call("TestUtilsService/sleepConcurrently", [300] * 100)
    assert 0.3 <= time.monotonic() - began < 29  # one after the other they would take 30 s


# --- failures --------------------------------------------------------------------------------------------------------

FAILURE = {"errorMessage": "my error", "metadata": {"key": "value"}}


@pytest.mark.parametrize(
    "handler", ["terminallyFailingCall", "callTerminallyFailingCall", "terminallyFailingSideEffect"]
)
async def test_a_terminal_error_reaches_the_caller_with_its_metadata(
    host: Hosted, handler: str, keeps_metadata: bool
) -> None:
    key = new_key()
    for _ in range(2):
        with pytest.raises(CallError) as raised:
            await host.call(f"Failing/{key}/{handler}", FAILURE if keeps_metadata else {"errorMessage": "my error"})
        assert raised.value.message == "my error"
        assert raised.value.metadata == ({"key": "value"} if keeps_metadata else {})


@pytest.mark.parametrize(
    "handler", ["terminallyFailingCall", "callTerminallyFailingCall", "terminallyFailingSideEffect"]
)
async def test_a_terminal_error_without_metadata_reaches_the_caller(host: Hosted, handler: str) -> None:
    with pytest.raises(CallError) as raised:
        await host.call(f"Failing/{new_key()}/{handler}", {"errorMessage": "my error"})
    assert (raised.value.message, raised.value.metadata) == ("my error", {})


async def test_a_failing_handler_is_retried_until_it_succeeds(host: Hosted) -> None:
    assert await host.call(f"Failing/{new_key()}/failingCallWithEventualSuccess") == 4


async def test_a_failing_step_is_retried_until_it_succeeds(host: Hosted) -> None:
    assert await host.call(f"Failing/{new_key()}/sideEffectSucceedsAfterGivenAttempts", 3) == 3


@pytest.mark.parametrize("attempts", [1, 3])
async def test_a_step_fails_when_its_attempts_are_exhausted(host: Hosted, attempts: int) -> None:
    assert await host.call(f"Failing/{new_key()}/sideEffectFailsAfterGivenAttempts", attempts) == attempts


async def test_the_code_goes_on_after_a_step_when_its_result_is_stored(host: Hosted, keeps_streams: bool) -> None:
    # By requests, the handler's code runs again for each exchange; what a step did in an earlier run does not count.
    ran = await host.call("TestUtilsService/countExecutedSideEffects", 3)
    assert ran <= 3 if keeps_streams else ran == 0


@pytest.mark.parametrize("handler", ["setDifferentKey", "callDifferentMethod"])
async def test_code_that_is_not_deterministic_does_not_complete(
    host: Hosted, handler: str, waits_on_streams: bool
) -> None:
    if waits_on_streams:
        pytest.skip("the code runs once, so it cannot differ from itself")
    key = new_key()
    id = await host.send(f"NonDeterministic/{key}/{handler}")

    async def fails() -> bool:
        shown = await host.admin(id)
        return shown["status"] == "backing-off" and "mismatch" in shown.get("error", "")

    await eventually(fails)
    assert await host.call(f"Counter/{key}/get") == 0
    await host.admin(id, "kill")


# --- awakeables, signals, combinators --------------------------------------------------------------------------------


async def held(host: Hosted, key: str, name: str) -> None:
    async def holds() -> bool:
        return await host.call(f"{INTERPRETER}/{key}/hasAwakeable", name)

    await eventually(holds)


async def interpret(host: Hosted, key: str, *commands: dict[str, Any]) -> str:
    return await host.send(f"{INTERPRETER}/{key}/interpretCommands", {"commands": list(commands)})


def awakeable(name: str) -> dict[str, Any]:
    return {"type": "createAwakeable", "awakeableKey": name}


def signal(name: str) -> dict[str, Any]:
    return {"type": "createSignal", "signalName": name}


def sleep(milliseconds: int) -> dict[str, Any]:
    return {"type": "sleep", "timeoutMillis": milliseconds}


async def resolve(host: Hosted, key: str, name: str, value: str) -> None:
    await host.call(f"{INTERPRETER}/{key}/resolveAwakeable", {"awakeableKey": name, "value": value})


async def send_signal(host: Hosted, id: str, name: str, value: str) -> None:
    request = {"invocationId": id, "signalName": name, "value": value}
    await host.call("TestUtilsService/resolveSignal", request)


async def reject_signal(host: Hosted, id: str, name: str, reason: str) -> None:
    request = {"invocationId": id, "signalName": name, "reason": reason}
    await host.call("TestUtilsService/rejectSignal", request)


async def test_the_first_of_an_awakeable_and_a_sleep(host: Hosted) -> None:
    key = new_key()
    id = await interpret(host, key, {"type": "awaitAny", "commands": [awakeable("a"), sleep(100)]})
    assert await host.attach(id) == "sleep"


async def test_an_awakeable_is_resolved_before_its_time_limit(host: Hosted) -> None:
    key = new_key()
    command = {"type": "awaitAwakeableOrTimeout", "awakeableKey": "a", "timeoutMillis": 60_000}
    id = await interpret(host, key, command)
    await held(host, key, "a")
    await resolve(host, key, "a", "came")
    assert await host.attach(id) == "came"
    assert await host.call(f"{INTERPRETER}/{key}/getResults") == ["came"]


async def test_an_awakeable_is_not_resolved_in_time(host: Hosted) -> None:
    command = {"type": "awaitAwakeableOrTimeout", "awakeableKey": "a", "timeoutMillis": 100}
    id = await interpret(host, new_key(), command)
    with pytest.raises(CallError, match="await-timeout"):
        await host.attach(id)


async def test_the_first_awakeable_that_is_not_rejected(host: Hosted) -> None:
    key = new_key()
    commands = [awakeable("a"), awakeable("b"), awakeable("c")]
    id = await interpret(host, key, {"type": "awaitAnySuccessful", "commands": commands})
    await held(host, key, "c")
    for name in ("a", "b"):
        await host.call(f"{INTERPRETER}/{key}/rejectAwakeable", {"awakeableKey": name, "reason": "no"})
    await resolve(host, key, "c", "yes")
    assert await host.attach(id) == "yes"


async def test_an_awakeable_that_is_resolved_between_steps_that_fail(host: Hosted) -> None:
    key = new_key()
    commands = [
        each
        for name in ("a", "b", "c")
        for each in (awakeable(name), {"type": "runThrowTerminalException", "reason": f"no {name}"})
    ]
    id = await interpret(host, key, {"type": "awaitAnySuccessful", "commands": commands})
    await held(host, key, "c")
    await host.call(f"{INTERPRETER}/{key}/rejectAwakeable", {"awakeableKey": "c", "reason": "no"})
    await resolve(host, key, "b", "yes")
    assert await host.attach(id) == "yes"


async def test_an_awakeable_of_an_sdk_is_resolved_over_http(host: Hosted) -> None:
    key = new_key()
    id = await interpret(host, key, {"type": "awaitOne", "command": awakeable("a")})
    await held(host, key, "a")
    state = (await host.http.get(f"/admin/services/{INTERPRETER}/state", params={"key": key})).json()["state"]
    response = await host.http.post(f"/restate/awakeables/{state['awk-a']}/resolve", json="over HTTP")
    assert response.status_code < 300, response.text
    assert await host.attach(id) == "over HTTP"


async def test_a_sleep_takes_its_time(host: Hosted) -> None:
    began = time.monotonic()
    id = await interpret(host, new_key(), {"type": "awaitOne", "command": sleep(200)})
    assert await host.attach(id) == "sleep"
    assert time.monotonic() - began >= 0.2


async def test_invocations_that_sleep_at_the_same_time(host: Hosted) -> None:
    command = {"type": "awaitAllCompleted", "commands": [sleep(10 + 2 * each) for each in range(20)]}
    ids = await asyncio.gather(*(interpret(host, new_key(), command) for _ in range(10)))
    outputs = await asyncio.gather(*(host.attach(id) for id in ids))
    assert outputs == ["|".join(["ok:sleep"] * 20)] * 10


async def test_a_signal_is_resolved(host: Hosted) -> None:
    id = await interpret(host, new_key(), {"type": "awaitOne", "command": signal("go")})
    await send_signal(host, id, "go", "now")
    assert await host.attach(id) == "now"


async def test_a_signal_is_rejected(host: Hosted) -> None:
    id = await interpret(host, new_key(), {"type": "awaitOne", "command": signal("go")})
    await reject_signal(host, id, "go", "not today")
    with pytest.raises(CallError, match="not today"):
        await host.attach(id)


async def test_signals_of_one_name_are_received_in_order(host: Hosted) -> None:
    key = new_key()
    commands = [{"type": "awaitOne", "command": signal("go")} for _ in range(3)]
    id = await interpret(host, key, *commands)
    for value in ("1", "2", "3"):
        await send_signal(host, id, "go", value)
    assert await host.attach(id) == "3"
    assert await host.call(f"{INTERPRETER}/{key}/getResults") == ["1", "2", "3"]


async def test_the_first_signal_that_succeeds(host: Hosted) -> None:
    commands = [signal("a"), signal("b")]
    id = await interpret(host, new_key(), {"type": "awaitFirstSucceededOrAllFailed", "commands": commands})
    await reject_signal(host, id, "a", "no")
    await send_signal(host, id, "b", "yes")
    assert await host.attach(id) == "yes"


async def test_all_signals_succeed(host: Hosted) -> None:
    commands = [signal("a"), signal("b")]
    id = await interpret(host, new_key(), {"type": "awaitAllSucceededOrFirstFailed", "commands": commands})
    await send_signal(host, id, "b", "2")
    await send_signal(host, id, "a", "1")
    assert await host.attach(id) == "1|2"


async def test_all_signals_complete(host: Hosted) -> None:
    commands = [signal("a"), signal("b")]
    id = await interpret(host, new_key(), {"type": "awaitAllCompleted", "commands": commands})
    await reject_signal(host, id, "b", "no")
    await send_signal(host, id, "a", "yes")
    assert await host.attach(id) == "ok:yes|err:no"


@pytest.mark.parametrize("rejected", [False, True])
async def test_the_first_signal_that_completes(host: Hosted, rejected: bool) -> None:
    commands = [signal("a"), signal("b")]
    id = await interpret(host, new_key(), {"type": "awaitFirstCompleted", "commands": commands})
    if rejected:
        await reject_signal(host, id, "b", "no")
        with pytest.raises(CallError, match="no"):
            await host.attach(id)
    else:
        await send_signal(host, id, "b", "came")
        assert await host.attach(id) == "came"


async def test_a_step_and_a_signal_succeed(host: Hosted) -> None:
    commands = [{"type": "runReturns", "value": "ran"}, signal("a")]
    id = await interpret(host, new_key(), {"type": "awaitAllSucceededOrFirstFailed", "commands": commands})
    await send_signal(host, id, "a", "came")
    assert await host.attach(id) == "ran|came"


async def test_all_complete(host: Hosted) -> None:
    commands = [
        {"type": "runReturns", "value": "ran"},
        signal("a"),
        {"type": "runThrowTerminalException", "reason": "failed"},
    ]
    id = await interpret(host, new_key(), {"type": "awaitAllCompleted", "commands": commands})
    await send_signal(host, id, "a", "came")
    assert await host.attach(id) == "ok:ran|ok:came|err:failed"


async def test_a_step_wins_against_a_signal(host: Hosted) -> None:
    commands = [{"type": "runReturns", "value": "ran"}, signal("never")]
    id = await interpret(host, new_key(), {"type": "awaitFirstCompleted", "commands": commands})
    assert await host.attach(id) == "ran"


async def test_a_signal_succeeds_after_a_step_that_failed(host: Hosted) -> None:
    commands = [{"type": "runThrowTerminalException", "reason": "failed"}, signal("a")]
    id = await interpret(host, new_key(), {"type": "awaitFirstSucceededOrAllFailed", "commands": commands})
    await send_signal(host, id, "a", "came")
    assert await host.attach(id) == "came"


# --- workflows -------------------------------------------------------------------------------------------------------


async def test_a_workflow_waits_for_its_promise(host: Hosted) -> None:
    key = new_key()
    id = await host.send(f"BlockAndWaitWorkflow/{key}/run", "begun")

    async def began() -> bool:
        return await host.call(f"BlockAndWaitWorkflow/{key}/getState") == "begun"

    await eventually(began)
    await host.call(f"BlockAndWaitWorkflow/{key}/unblock", "go")
    assert await host.attach(id) == "go"
    with pytest.raises(CallError):
        await host.call(f"BlockAndWaitWorkflow/{key}/unblock", "again")
    with pytest.raises(CallError) as raised:
        await host.call(f"BlockAndWaitWorkflow/{key}/run", "again")
    assert raised.value.status == 409


# --- cancel, kill, deadlocks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["CALL", "SLEEP", "AWAKEABLE"])
@pytest.mark.parametrize("by", ["admin", "context"])
async def test_a_cancelled_invocation_fails_and_cancels_what_it_called(host: Hosted, operation: str, by: str) -> None:
    key = new_key()
    id = await host.send(f"CancelTestRunner/{key}/startTest", operation)

    async def holds() -> bool:
        return await host.call(f"AwakeableHolder/{key}/hasAwakeable")

    await eventually(holds)
    await host.call(f"AwakeableHolder/{key}/unlock", "go")
    await asyncio.sleep(0.1)  # it may then be in either of its calls, or in what it is named for
    if by == "admin":
        await host.admin(id, "cancel")
    else:
        await host.call("TestUtilsService/cancelInvocation", id)

    async def verified() -> bool:
        return await host.call(f"CancelTestRunner/{key}/verifyTest")

    await eventually(verified)
    await host.call(f"CancelTestBlockingService/{key}/isUnlocked")


async def test_a_killed_invocation_leaves_no_key_locked(host: Hosted) -> None:
    key = new_key()
    id = await host.send(f"KillTestRunner/{key}/startCallTree")

    async def holds() -> bool:
        return await host.call(f"AwakeableHolder/{key}/hasAwakeable")

    await eventually(holds)
    await host.call(f"AwakeableHolder/{key}/unlock", "go")
    await host.admin(id, "kill")
    await host.call(f"KillTestSingleton/{key}/isUnlocked")


@pytest.mark.parametrize("host", [each for each in HOSTINGS if each.endswith("v7")], indirect=True)
async def test_a_cross_deadlock_is_reported_and_broken(host: Hosted) -> None:
    one, two = new_key(), new_key()
    answers = await asyncio.gather(
        host.call(f"Deadlocked/{one}/lock", two), host.call(f"Deadlocked/{two}/lock", one), return_exceptions=True
    )
    assert any("deadlock: Deadlocked/" in str(answer) for answer in answers)
