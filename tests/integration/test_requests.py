"""Requests over API Gateway to the deployed examples."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import httpx
import pytest
from restate.client_types import HttpError

from infra.stack import Stack
from tests.integration.waiting import answer, called, restates_client, result, until


@pytest.fixture
def key() -> str:
    """A key, or a name, of this test's own."""
    return uuid4().hex[:10]


def test_a_service_calls_an_object(http: httpx.Client, key: str) -> None:
    assert answer(http, "/Greeter/greet", key) == f"Hello {key}, visit 1"
    assert answer(http, "/Greeter/greet", key) == f"Hello {key}, visit 2"


def test_answers_carry_the_invocations_id(http: httpx.Client, key: str) -> None:
    response = http.post(f"/Counter/{key}/add", json=1)
    assert response.headers["x-restate-id"].startswith("inv_")
    assert response.headers["content-type"] == "application/json"


def repeated(http: httpx.Client, path: str, body: object, idempotency_key: str) -> httpx.Response:
    """The response to a request. A machine of two cores is minutes busy with the cold starts of requests at once: what
    gets no answer in time is asked again."""

    def once() -> httpx.Response | None:
        try:
            response = http.post(path, json=body, headers={"idempotency-key": idempotency_key})
        except httpx.TimeoutException:
            return None
        return None if response.status_code >= 500 else response

    response = until("the request is answered", once, 400, interval=1)
    assert response is not None
    return response


def test_sixty_requests_at_once_to_one_key(stack: Stack, key: str) -> None:
    with httpx.Client(base_url=stack.url, timeout=60, limits=httpx.Limits(max_connections=60)) as http:

        def add(n: int) -> int:
            response = repeated(http, f"/Counter/{key}/add", 1, f"{key}-{n}")
            assert response.status_code == 200, response.text
            return int(response.json())

        with ThreadPoolExecutor(60) as pool:
            totals = list(pool.map(add, range(60)))
        assert sorted(totals) == list(range(1, 61))
        assert answer(http, f"/Counter/{key}/total") == 60


def test_thirty_requests_at_once_with_one_idempotency_key(stack: Stack, key: str) -> None:
    with httpx.Client(base_url=stack.url, timeout=60, limits=httpx.Limits(max_connections=30)) as http:

        def greet(_: int) -> httpx.Response:
            return repeated(http, "/Greeter/greet", key, key)

        with ThreadPoolExecutor(30) as pool:
            responses = list(pool.map(greet, range(30)))
        assert {(response.status_code, response.text) for response in responses} == {(200, f'"Hello {key}, visit 1"')}
        assert len({response.headers["x-restate-id"] for response in responses}) == 1
        assert answer(http, f"/Counter/{key}/total") == 1


def test_a_workflow_runs_once_and_can_be_asked(http: httpx.Client, key: str) -> None:
    email = f"{key}@example.com"
    assert http.post(f"/SignUp/{key}/run/send", json=email).status_code == 202
    mails = until("the code is mailed", lambda: answer(http, f"/Mailer/{email}/sent"))
    assert answer(http, f"/SignUp/{key}/status") == "waiting"
    assert http.post(f"/SignUp/{key}/run", json=email).status_code == 409
    assert http.get(f"/restate/workflow/SignUp/{key}/output").status_code == 470
    assert http.post(f"/SignUp/{key}/confirm", json="wrong").status_code == 403
    for _ in range(2):
        assert answer(http, f"/SignUp/{key}/confirm", mails[0].removeprefix("Your code is ")) == "confirmed"
    attached = result(http, f"/restate/workflow/SignUp/{key}/attach")
    assert (attached.status_code, attached.json()) == (200, "confirmed")
    assert answer(http, f"/SignUp/{key}/status") == "confirmed"
    assert len(answer(http, f"/Mailer/{email}/sent")) == 1


def test_messages_to_one_key_keep_their_order(http: httpx.Client, key: str) -> None:
    texts = [f"mail {n}" for n in range(8)]
    for text in texts:
        assert http.post(f"/Mailer/{key}/mail/send", json=text).status_code == 202
    until("all are handled", lambda: len(answer(http, f"/Mailer/{key}/sent")) == len(texts))
    assert answer(http, f"/Mailer/{key}/sent") == texts


@pytest.mark.parametrize(
    ("change", "status"),
    [({}, 200), ({"cents": 200_000}, 402), ({"country": "Atlantis"}, 422), ({"quantity": 11}, 409)],
    ids=["sold", "no money", "no delivery", "out of stock"],
)
def test_an_order_is_carried_out_or_undone(
    http: httpx.Client, key: str, change: dict[str, object], status: int
) -> None:
    answer(http, f"/Inventory/{key}/restock", 10)
    order = {"customer": key, "cents": 3_000, "country": "DE"} | change
    order["items"] = [{"sku": key, "quantity": order.pop("quantity", 2)}]
    assert called(http, f"/Checkout/{key}/run", order).status_code == status
    stock, balance = (8, 97_000) if status == 200 else (10, 100_000)
    assert answer(http, f"/Inventory/{key}/stock") == stock
    assert answer(http, "/Payment/balance", key) == balance


async def test_restates_client(stack: Stack, key: str) -> None:
    async with restates_client(stack.url) as client, httpx.AsyncClient(base_url=stack.url, timeout=60) as http:
        assert json.loads(await client.generic_call("Greeter", "greet", f'"{key}"'.encode())) == f"Hello {key}, visit 1"
        for _ in range(2):
            assert await client.generic_call("Counter", "add", b"2", key=key, idempotency_key=key) == b"3"
        sent = [await client.generic_send("Mailer", "mail", b'"a"', key=key, idempotency_key=key) for _ in range(2)]
        [id] = {each.invocation_id for each in sent}
        assert (await http.get(f"/restate/invocation/{id}/attach")).status_code == 200
        later = await client.generic_send("Mailer", "mail", b'"b"', key=key, send_delay=timedelta(hours=1))
        assert (await http.get(f"/restate/invocation/{later.invocation_id}/output")).status_code == 470
        assert await client.generic_call("Mailer", "sent", b"", key=key) == b'["a"]'
        with pytest.raises(HttpError) as refused:
            await client.generic_call("Counter", "add", b'"x"', key=key)
        assert refused.value.status_code == 400


@pytest.mark.parametrize("how", ["resolve", "reject", "too late"])
def test_a_large_payment_waits_for_the_customer(http: httpx.Client, key: str, how: str) -> None:
    answer(http, f"/Inventory/{key}/restock", 1)
    order = {"customer": key, "items": [{"sku": key}], "cents": 60_000}
    order |= {"patience": "PT5S"} if how == "too late" else {}
    assert http.post(f"/Checkout/{key}/run/send", json=order).status_code == 202
    [mail] = until("the customer is asked", lambda: answer(http, f"/Mailer/{key}/sent"))
    if how != "too late":
        assert http.post(f"/restate/awakeables/{mail.rpartition(' ')[2]}/{how}", json="ok").status_code == 202
    sold = result(http, f"/restate/workflow/Checkout/{key}/attach")
    assert sold.status_code == {"resolve": 200, "reject": 500, "too late": 408}[how]
    stock, balance = (0, 40_000) if how == "resolve" else (1, 100_000)
    assert answer(http, f"/Inventory/{key}/stock") == stock
    assert answer(http, "/Payment/balance", key) == balance
