"""Invocations told apart, results from outside, and control, over API Gateway, Lambda and two functions.

What takes its time is begun first, all of it at once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import pytest

from adapter import Ready, Unready, invocation_id
from adapter.client import Client
from infra.stack import Stack
from tests.integration.probes import Probes
from tests.integration.waiting import accepted, answer, called, result, until

MEGABYTE = 1024 * 1024
DEPTH = 50

CANCELLED = {"message": "cancelled", "code": 409, "reason": "cancelled", "source": "invocation"}


@pytest.fixture
def stack(probes: Probes) -> Stack:
    return probes.stack


@dataclass(frozen=True)
class Underway:
    """What was begun: ids, and the key that goes with them."""

    key: str
    chain: str
    sleeping: str
    suspended: str
    failing: str
    killed: dict[str, str]
    paused: str
    holder: str
    queued: str
    delayed: str
    schedule: str


@pytest.fixture(scope="module")
def underway(probes: Probes) -> Iterator[Underway]:
    key = uuid4().hex[:10]
    scheduler, group = probes.stack.client("scheduler"), probes.stack.outputs["TimersGroup"]

    def waking(id: str) -> list[str]:
        """The names of the schedules that wake an invocation."""
        pages = scheduler.get_paginator("list_schedules").paginate(GroupName=group)
        names = [each["Name"] for page in pages for each in page["Schedules"]]
        inputs = {name: scheduler.get_schedule(GroupName=group, Name=name)["Target"]["Input"] for name in names}
        return [name for name, input in inputs.items() if json.loads(input)["id"] == id]

    with httpx.Client(base_url=probes.stack.url, timeout=60) as http:
        delayed = accepted(http, f"/restate/send/Box/{key}-delayed/count?delay=1h")
        [schedule] = until("there is a schedule", lambda: waking(delayed))
        holder = accepted(http, f"/restate/send/Box/{key}/hold")
        accepted(http, f"/restate/send/Box/{key}-killed/hold")
        yield Underway(
            key=key,
            chain=accepted(http, "/restate/send/Ping/down", DEPTH),
            sleeping=accepted(http, "/restate/send/Clerk/sleep", key),
            suspended=accepted(http, "/restate/send/Clerk/wait", "Mary"),
            failing=accepted(http, "/restate/send/Clerk/fail"),
            killed={
                "suspended": accepted(http, "/restate/send/Clerk/wait", "Mary"),
                "asleep": accepted(http, "/restate/send/Clerk/sleep", f"{key}-killed"),
                "queued": accepted(http, f"/restate/send/Box/{key}-killed/count"),
                "backing-off": accepted(http, "/restate/send/Clerk/fail"),
                "scheduled": accepted(http, f"/restate/send/Box/{key}-killed/count?delay=1h"),
            },
            paused=accepted(http, "/restate/send/Clerk/wait", "Mary"),
            holder=holder,
            queued=accepted(http, f"/restate/send/Box/{key}/count"),
            delayed=delayed,
            schedule=schedule,
        )


@pytest.fixture
def http(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url, timeout=60) as client:
        yield client


def status(admin: httpx.Client, id: str) -> str:
    return str(admin.get(f"/invocations/{id}").json().get("status"))


def pinned(http: httpx.Client, board: str) -> str:
    """What a handler has left."""
    [note] = until("it is pinned", lambda: answer(http, f"/restate/call/Board/{board}/notes"))
    return str(note)


# --- invocations as handles ---

TOLD: dict[str, tuple[str, str, dict[str, str]]] = {
    "workflow": (
        "Rite/{0}/run",
        "workflow/Rite/{0}",
        {"target": "workflow", "workflowName": "Rite", "workflowKey": "{0}"},
    ),
    "service": (
        "Clerk/wait",
        "invocation/Clerk/wait/{0}",
        {"target": "idempotentInvocation", "service": "Clerk", "handler": "wait", "idempotencyKey": "{0}"},
    ),
}
"""A request, and by which path and which body its invocation is told."""


@pytest.mark.parametrize("told", TOLD)
def test_a_result_by_all_that_tells_an_invocation(http: httpx.Client, key: str, told: str) -> None:
    request, path, body = TOLD[told]
    path, body = path.format(key), {name: value.format(key) for name, value in body.items()}
    id = http.post("/restate/lookup", json=body).json()["invocationId"]
    outputs = [f"/restate/{path}/output", f"/restate/output/{id}", f"/restate/invocation/{id}/output"]
    assert {http.get(each).status_code for each in outputs} == {404}
    headers = {} if told == "workflow" else {"idempotency-key": key}
    sent = http.post(f"/restate/send/{request.format(key)}", json="Mary", headers=headers)
    assert (sent.status_code, sent.json()["invocationId"]) == (202, id)
    assert {http.get(each).status_code for each in outputs} == {470}
    assert http.post("/restate/output", json=body).status_code == 470
    attaches = [f"/restate/{path}/attach", f"/restate/attach/{id}", f"/restate/invocation/{id}/attach"]
    with ThreadPoolExecutor(4) as pool:
        attached = [pool.submit(result, http, each) for each in attaches]
        attached.append(pool.submit(called, http, "/restate/attach", body))
        follower = pool.submit(answer, http, "/restate/call/Clerk/follow", id)
        if told == "workflow":
            assert answer(http, f"/restate/call/Rite/{key}/say", "word") is True
        else:
            assert http.post(f"/restate/invocation/{id}/signals/go").status_code == 202
        expected = "Mary: word" if told == "workflow" else "Mary"
        for response in (each.result() for each in attached):
            assert (response.status_code, response.json(), response.headers["x-restate-id"]) == (200, expected, id)
        assert follower.result() == f"followed {expected}"
    assert {http.get(each).json() for each in outputs} == {expected}


async def test_the_client(stack: Stack, key: str) -> None:
    async with Client(stack.url) as client:
        sent = client.generic_send(service="Clerk", method="wait", parameter="nobody", idempotency_key=key)
        assert sent.id == invocation_id("Clerk", "wait", idempotency_key=key)
        await client.flush()
        assert await client.output(sent.id, str) is Unready.NOT_READY
        assert await client.send_signal(sent.id, "go")
        with pytest.raises(Exception, match="nobody is gone"):
            await client.attach(sent.id, str)
        assert await client.generic_call(service="Ping", method="down", parameter=2, idempotency_key=key) == 2
        assert await client.output(invocation_id("Ping", "down", idempotency_key=key), int) == Ready(2)


# --- results from outside ---


@pytest.mark.parametrize("how", ["resolve", "reject"])
def test_an_awakeable_is_completed_once(http: httpx.Client, key: str, how: str) -> None:
    id = accepted(http, "/restate/send/Clerk/confirm", key)
    awakeable = pinned(http, key)
    path = f"/restate/awakeables/{awakeable}/{how}"
    body: dict[str, Any] = {"json": {"paid": 7}} if how == "resolve" else {"content": "no money"}
    assert http.post(path, **body, headers={"idempotency-key": key}).status_code == 202
    assert result(http, f"/restate/attach/{id}").json() == (
        {"paid": 7} if how == "resolve" else {"message": "no money", "code": 500, "source": "invocation"}
    )
    assert http.post(path, **body, headers={"idempotency-key": key}).status_code == 202
    for again in ("resolve", "reject"):
        assert http.post(f"/restate/a/{awakeable}/{again}").status_code == 409


def test_a_handler_elsewhere_gives_results(http: httpx.Client, key: str) -> None:
    id = accepted(http, "/restate/send/Clerk/confirm", key)
    assert answer(http, "/restate/call/Teller/give", pinned(http, key)) == [True, False, False]
    assert result(http, f"/restate/attach/{id}").json() == "paid"
    id = accepted(http, "/restate/send/Clerk/collect", 2)
    assert answer(http, "/restate/call/Teller/tell", id) == [True, True]
    assert sorted(result(http, f"/restate/attach/{id}").json()) == ["a", "b"]


def test_signals_are_repeatable_and_each_is_given_once(http: httpx.Client, key: str) -> None:
    id = accepted(http, "/restate/send/Clerk/collect", 3)
    for note in ("a", "a", "b", "c"):
        sent = http.post(f"/restate/invocation/{id}/signals/note", json=note, headers={"idempotency-key": note})
        assert sent.status_code == 202
    assert result(http, f"/restate/attach/{id}").json() == ["a", "b", "c"]
    assert http.post(f"/restate/invocation/{id}/signals/note", json="d").status_code == 409


def test_a_workflow_before_during_and_after_its_run(http: httpx.Client, key: str) -> None:
    rite = f"/restate/call/Rite/{key}"
    assert answer(http, f"{rite}/status") == [None, None]
    accepted(http, f"/restate/send/Rite/{key}/run", "Mary")
    until("it runs", lambda: answer(http, f"{rite}/status") == ["Mary", None])
    assert http.post(f"{rite}/run", json="John").status_code == 409
    assert [answer(http, f"{rite}/say", word) for word in ("yes", "no")] == [True, False]
    assert result(http, f"/restate/workflow/Rite/{key}/attach").json() == "Mary: yes"
    assert answer(http, f"{rite}/status") == ["Mary", "yes"]
    assert answer(http, f"{rite}/say", "late") is False


def test_a_promise_resolved_before_run_is_submitted(http: httpx.Client, key: str) -> None:
    assert answer(http, f"/restate/call/Rite/{key}/say", "early") is True
    assert answer(http, f"/restate/call/Rite/{key}/run", "Mary") == "Mary: early"


# --- control ---


def test_a_cancelled_delayed_message_leaves_no_schedule(
    http: httpx.Client, admin: httpx.Client, underway: Underway, stack: Stack
) -> None:
    id, scheduler = underway.delayed, stack.client("scheduler")
    assert status(admin, id) == "scheduled"
    assert answer(http, "/restate/call/Clerk/stop", id) == [True, False]
    assert result(http, f"/restate/attach/{id}").json() == CANCELLED

    def deleted() -> bool:
        try:
            scheduler.get_schedule(GroupName=stack.outputs["TimersGroup"], Name=underway.schedule)
        except scheduler.exceptions.ResourceNotFoundException:
            return True
        return False

    until("its schedule is deleted", deleted)  # by the process that cancelled it, beside its answer


def test_cancel(http: httpx.Client, admin: httpx.Client, underway: Underway) -> None:
    assert status(admin, underway.queued) == "queued"
    for id, state in (
        (underway.sleeping, "suspended"),
        (underway.suspended, "suspended"),
        (underway.failing, "backing-off"),
        (underway.queued, "queued"),
    ):
        until(f"it is {state}", lambda id=id, state=state: status(admin, id) == state)
        assert admin.post(f"/invocations/{id}/cancel").status_code == 202
        assert result(http, f"/restate/attach/{id}").json() == CANCELLED
        assert admin.post(f"/invocations/{id}/cancel").status_code == 409
    assert pinned(http, underway.key) == "cancelled"
    # The one that holds the key was not asked.
    assert status(admin, underway.holder) == "suspended"
    assert admin.post(f"/invocations/{underway.holder}/cancel").status_code == 202
    assert answer(http, f"/restate/call/Box/{underway.key}/count") == 1
    assert admin.post(f"/invocations/inv_{'a' * 32}/cancel").status_code == 404


@pytest.mark.parametrize("state", ["suspended", "asleep", "queued", "backing-off", "scheduled"])
def test_kill_and_purge(http: httpx.Client, admin: httpx.Client, underway: Underway, state: str) -> None:
    id = underway.killed[state]
    until(f"it is {state}", lambda: status(admin, id) == ("suspended" if state == "asleep" else state))
    assert admin.post(f"/invocations/{id}/purge").status_code == 409
    assert admin.post(f"/invocations/{id}/kill").status_code == 202
    assert result(http, f"/restate/attach/{id}").json() == {"message": "killed", "code": 409, "source": "invocation"}
    assert admin.post(f"/invocations/{id}/kill").status_code == 409
    assert admin.delete(f"/invocations/{id}/purge").status_code == 202
    assert http.get(f"/restate/output/{id}").status_code == 404
    assert admin.post(f"/invocations/{id}/purge").status_code == 404


def test_pause_resume_and_restart(http: httpx.Client, admin: httpx.Client, underway: Underway, key: str) -> None:
    id = underway.paused
    until("it waits", lambda: status(admin, id) == "suspended")
    assert [admin.post(f"/invocations/{id}/pause").status_code for _ in range(2)] == [202, 200]
    assert http.post(f"/restate/invocation/{id}/signals/go").status_code == 202
    assert status(admin, id) == "paused"
    assert admin.post(f"/invocations/{id}/resume").status_code == 202
    assert result(http, f"/restate/attach/{id}").json() == "Mary"
    restarts = [admin.post(f"/invocations/{id}/restart-as-new", headers={"idempotency-key": key}) for _ in range(2)]
    [again] = {each.json()["invocationId"] for each in restarts}
    assert http.post(f"/restate/invocation/{again}/signals/go").status_code == 202
    assert result(http, f"/restate/attach/{again}").json() == "Mary"


def test_what_is_private_is_not_there(http: httpx.Client) -> None:
    assert http.post("/restate/call/Clerk/whisper").status_code == 404
    id = answer(http, "/restate/call/Clerk/ask")
    for what in ("attach", "output"):
        assert http.get(f"/restate/{what}/{id}").status_code == 404


# --- what is carried ---


def test_content_types_and_headers_are_kept(http: httpx.Client) -> None:
    table = http.post("/restate/call/Copier/table", content=b"a,b", headers={"content-type": "text/csv"})
    assert (table.text, table.headers["content-type"]) == ("b,a", "text/csv")
    for path in ("Copier", "Relay"):
        echo = http.post(f"/restate/call/{path}/echo", content=b"\xff\x00")
        assert (echo.content, echo.headers["content-type"]) == (b"\xff\x00", "application/octet-stream")
        headers = http.post(f"/restate/call/{path}/headers", headers={"X-Tenant": "a", "Authorization": "b"}).json()
        assert headers["x-tenant"] == "a"
        assert "authorization" not in headers


@pytest.mark.parametrize("path", ["Copier", "Relay"])
def test_four_megabytes(http: httpx.Client, path: str) -> None:
    body = uuid4().bytes * (4 * MEGABYTE // 16)
    called = http.post(f"/restate/call/{path}/echo", content=body)
    assert (called.status_code, called.content == body) == (200, True)
    attached = http.get(f"/restate/attach/{called.headers['x-restate-id']}")
    assert attached.content == body
    assert http.post(f"/restate/call/{path}/echo", content=body + b"x").status_code == 413


def test_four_megabytes_of_text(http: httpx.Client) -> None:
    """Quoted once more for Lambda, as a body in text is, the answer would have over six."""
    text = "x" * (4 * MEGABYTE - 2)
    assert answer(http, "/restate/call/Copier/text", text) == text
    assert answer(http, "/restate/call/Copier/quotes", 2 * MEGABYTE - 1) == '"' * (2 * MEGABYTE - 1)


def test_four_megabytes_of_a_step_and_of_state(http: httpx.Client, key: str) -> None:
    assert answer(http, f"/restate/call/Box/{key}/keep", 4 * MEGABYTE) == 4 * MEGABYTE
    kept = http.post(f"/restate/call/Box/{key}/kept")
    assert (kept.status_code, kept.content == bytes(4 * MEGABYTE)) == (200, True)
    assert http.post(f"/restate/call/Box/{key}/keep", json=4 * MEGABYTE + 1).status_code == 413


def test_a_result_over_the_limit(http: httpx.Client) -> None:
    assert http.post("/restate/call/Copier/grow", json=4 * MEGABYTE).status_code == 200
    grown = http.post("/restate/call/Copier/grow", json=4 * MEGABYTE + 1)
    assert (grown.status_code, grown.json()["code"]) == (413, 413)


# --- between two functions ---


def test_a_chain_of_calls(http: httpx.Client, underway: Underway) -> None:
    assert result(http, f"/restate/attach/{underway.chain}").json() == DEPTH


def test_several_calls_at_once(http: httpx.Client) -> None:
    assert answer(http, "/restate/call/Teller/gather", 6) == [str(n) for n in range(6)]
    assert answer(http, "/restate/call/Teller/choose") == [True, True, 409]


def test_a_message_is_awaited_later(http: httpx.Client, key: str) -> None:
    assert answer(http, "/restate/call/Teller/later", key) == key


def test_a_deadlock_is_found_while_its_client_waits(http: httpx.Client, key: str) -> None:
    """Else the answer would be the 504 of the gateway, after half a minute."""
    found = http.post(f"/restate/call/Left/{key}/lock", json=key)
    assert (found.status_code, found.json()["message"]) == (508, f"deadlock: Left/{key} → Right/{key} → Left/{key}")


def test_a_deadlock_through_two_functions(http: httpx.Client, probes: Probes) -> None:
    id, key = probes.deadlocked
    until("it is found out", lambda: http.get(f"/restate/output/{id}").status_code == 508)
    message = http.get(f"/restate/output/{id}").json()["message"]
    assert message == f"deadlock: Left/{key} → Right/{key} → Left/{key}"
