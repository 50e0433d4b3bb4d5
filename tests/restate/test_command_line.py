"""What Restate's command line sends, as recorded from version 1.7: against `adapter dev`, and against a server.

``{id}`` stands for the id of an invocation, ``{deployment}`` for that of a deployment.
"""

from __future__ import annotations

import json
import struct
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from adapter import Context, ObjectContext, Service, TerminalError, VirtualObject, handler
from adapter.hosting import hosting
from adapter.http.admin import arrow, relations
from adapter.http.admin.query import Query, evaluate, read_query
from adapter.local.memory import MemoryStore
from adapter.local.server import running
from tests.restate.hosting import Hosted, eventually, until

RECORDED: Final[dict[str, list[dict[str, Any]]]] = json.loads((Path(__file__).parent / "command_line.json").read_text())

ENDED_BY_501: Final = {
    "invocations describe ID": "adapter inv show",
    "invocations restart-as-new ID": "adapter inv restart",
    "state patch Counter Mary": "adapter state",
    "state clear Counter/Mary": "adapter state",
    "deployments register URL": "adapter dev --endpoint",
}
"""The commands whose last request is refused, and what the message names instead."""


class Counter(VirtualObject):
    @handler
    async def add(self, ctx: ObjectContext, amount: int) -> int:
        total = (await ctx.get("total", int) or 0) + amount
        ctx.set("total", total)
        ctx.set("name", "it's")
        return total


class Greeter(Service):
    @handler
    async def greet(self, ctx: Context, name: str) -> int:
        return await ctx.object_client(Counter, name).add(1)

    @handler
    async def wait(self, ctx: Context, name: str) -> str:
        await ctx.sleep(timedelta(hours=5))
        return name

    @handler
    async def fail(self, ctx: Context, name: str) -> None:
        raise TerminalError("no", code=422)

    @handler(private=True)
    async def flaky(self, ctx: Context, name: str) -> None:
        raise ValueError("again")

    @handler
    async def start(self, ctx: Context, name: str) -> None:
        ctx.service_send_client(Greeter).flaky(name)


@pytest.fixture
async def host() -> AsyncIterator[Hosted]:
    async with running(hosting(Counter, Greeter), MemoryStore()) as app:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=None) as http:
            yield Hosted(http)


class CommandLine:
    """Sends what the command line sends."""

    def __init__(self, host: Hosted) -> None:
        self._host = host

    async def run(self, command: str, id: str = "") -> list[httpx.Response]:
        """Return the answers to the requests of a command."""
        deployments = (await self._host.http.get("/admin/restate/deployments")).json()["deployments"]
        answers: list[httpx.Response] = []
        for request in RECORDED[command]:
            text = json.dumps(request).replace("{id}", id).replace("{deployment}", deployments[0]["id"])
            sent = json.loads(text)
            headers = {"user-agent": "restate-cli/1.7.12 linux-x86_64"}
            headers["accept"] = "application/json" if sent.get("json") else "*/*"
            path = f"/admin/restate{sent['path']}"
            answers.append(await self._host.http.request(sent["method"], path, json=sent.get("body"), headers=headers))
        return answers

    async def rows(self, command: str, id: str = "") -> list[dict[str, Any]]:
        """Return the rows of the last answer of a command."""
        last = (await self.run(command, id))[-1]
        assert last.status_code == 200, last.text
        rows: list[dict[str, Any]] = last.json()["rows"]
        return rows


async def waiting(host: Hosted) -> str:
    """Start an invocation that waits, and return its id."""
    id = await host.send("Greeter/wait", "Mary")
    await until(host, id, "suspended")
    return id


@pytest.mark.parametrize("command", RECORDED)
async def test_every_request_is_answered_or_says_what_to_do_instead(host: Hosted, command: str) -> None:
    assert await host.call("Greeter/greet", "Mary") == 1
    id = await waiting(host)
    if "purge" in command or "restart" in command:
        await host.admin(id, "kill")
    answers = await CommandLine(host).run(command, id)
    refused = ENDED_BY_501.get(command)
    if refused is not None:
        assert answers.pop().status_code == 501
        assert refused in (await CommandLine(host).run(command, id))[-1].json()["message"]
    assert {each.status_code for each in answers} <= {200, 202}, [each.text for each in answers]


async def test_the_version_is_one_that_the_command_line_speaks(host: Hosted) -> None:
    told = (await host.http.get("/admin/restate/version")).json()
    assert told["max_admin_api_version"] == 4
    assert told["ingress_endpoint"] == "http://localhost/"
    assert told["features"] == {}  # without it the command line does not read the answer


async def test_invocations_are_listed_with_what_they_are_at(host: Hosted) -> None:
    line = CommandLine(host)
    assert await host.call("Greeter/greet", "Mary") == 1
    await host.call("Greeter/start", "Mary")
    waits = await waiting(host)

    async def fails() -> bool:
        return any(row.get("num_retries", 0) > 1 for row in await line.rows("invocations list"))

    await eventually(fails)
    live = {row["target"]: row for row in await line.rows("invocations list")}
    assert set(live) == {"Greeter/flaky", "Greeter/wait"}
    assert live["Greeter/wait"]["id"] == waits
    assert live["Greeter/wait"]["status"] == "suspended"
    assert live["Greeter/flaky"]["last_failure_message"] == "ValueError: again"
    assert live["Greeter/flaky"]["invoked_by_target"] == "Greeter/start"
    every = {row["target"]: row for row in await line.rows("invocations list --all")}
    assert every["Counter/Mary/add"]["target_service_ty"] == "virtual_object"
    assert every["Counter/Mary/add"]["invoked_by_target"] == "Greeter/greet"
    assert every["Counter/Mary/add"]["completion_result"] == "success"
    assert every["Counter/Mary/add"]["pinned_deployment_exists"] is True
    assert "next_retry_at" not in every["Counter/Mary/add"]
    (described,) = await line.rows("invocations describe ID, of a server 1.7", waits)
    assert described["target"] == "Greeter/wait"
    of_greeter = await line.rows("invocations cancel Greeter")
    assert {row["target"] for row in of_greeter} == {"Greeter/flaky", "Greeter/wait"}


@pytest.mark.parametrize(("action", "code"), [("cancel", 409), ("kill", None)])
async def test_an_invocation_is_ended_by_the_id_that_is_listed(host: Hosted, action: str, code: int | None) -> None:
    line, id = CommandLine(host), await waiting(host)
    found, done = await line.run(f"invocations {action} ID", id)
    assert found.json()["rows"] == [{"id": id, "target": "Greeter/wait"}]
    assert done.status_code in (200, 202)
    await until(host, id, "completed")
    (row,) = await line.rows("invocations describe ID, of a server 1.7", id)
    assert row["completion_result"] == "failure"
    assert code is None or row["completion_failure"].startswith(f"[{code}] ")


async def test_the_status_of_services_counts_invocations(host: Hosted) -> None:
    assert await host.call("Greeter/greet", "Mary") == 1
    id = await waiting(host)
    answers = await CommandLine(host).run("services status")
    counted = {(row["target_handler_name"], row["status"]): row for row in answers[2].json()["rows"]}
    assert counted["wait", "suspended"]["oldest_invocation"] == id
    assert counted["add", "completed"]["num_invocations"] == 1


async def test_the_state_of_a_key_is_read(host: Hosted) -> None:
    assert await host.call("Greeter/greet", "Mary") == 1
    rows = await CommandLine(host).rows("state get Counter Mary")
    assert {row["key"]: json.loads(bytes.fromhex(row["value"])) for row in rows} == {"total": 1, "name": "it's"}


async def test_numbers_are_answered_as_a_stream_of_arrow(host: Hosted) -> None:
    await waiting(host)
    counted = (await CommandLine(host).run("invocations list"))[0]
    assert counted.headers["content-type"] == "application/vnd.apache.arrow.stream"
    assert counted.content == arrow.encode(["COUNT(1)"], [(1,)])


def test_a_stream_of_arrow_has_the_bytes_that_pyarrow_reads() -> None:
    stream = arrow.encode(["id", "n"], [("a", 1), ("bc", None)])
    # The last 72 bytes: the columns, each part of which is filled up to 8 bytes, and the end.
    validity, offsets, texts, valid, numbers = (
        b"\3".ljust(8, b"\0"), struct.pack("<3i4x", 0, 1, 3), b"abc".ljust(8, b"\0"), b"\1".ljust(8, b"\0"),
        struct.pack("<2q", 1, 0),
    )  # fmt: skip
    assert stream.endswith(validity + offsets + texts + valid + numbers + b"\xff\xff\xff\xff\0\0\0\0")
    assert stream.startswith(b"\xff\xff\xff\xff")
    size = struct.unpack_from("<I", stream, 4)[0]
    assert stream[8 + size : 12 + size] == b"\xff\xff\xff\xff"  # where the schema ends, the batch begins


# --- what a query says, and what it may do ---------------------------------------------------------------------------


def test_a_query_reads_only_the_rows_that_its_conditions_allow() -> None:
    query = read_query("SELECT id FROM sys_invocation inv WHERE inv.id IN ('inv_a','inv_b') AND inv.id = 'inv_b'")
    assert query.ids == ("inv_b",)
    query = read_query("SELECT id FROM sys_invocation WHERE target_service_name = 'A' AND status != 'completed'")
    assert (query.ids, query.services, query.live) == (None, {"A"}, True)
    query = read_query("SELECT id FROM sys_invocation WHERE status IN ('paused', 'completed')")
    assert not query.live
    query = read_query("SELECT value FROM state WHERE service_name = 'A' AND service_key = 'it''s'")
    assert query.keys == {"it's"}


@pytest.mark.parametrize(
    "condition",
    [
        "id = 'inv_a' OR status = 'paused'",
        "id NOT IN ('inv_a')",
        "invoked_by_id = 'inv_a'",
        "id <> 'inv_a'",
        "id = 'inv_a' UNION SELECT id FROM sys_invocation",
        "target = 'id = ''inv_a'''",
        "invoked_by_id IN (SELECT id FROM sys_invocation WHERE id = 'inv_a')",
        "retry_count > 0 ORDER BY id = 'inv_a'",
    ],
)
def test_a_condition_that_need_not_hold_leaves_no_rows_out(condition: str) -> None:
    assert read_query(f"SELECT id FROM sys_invocation WHERE {condition}").ids is None


def test_the_command_lines_conditions_are_understood() -> None:
    def last(command: str) -> Query:
        queries = [each["body"]["query"] for each in RECORDED[command] if each["path"] == "/v4/query"]
        return read_query(next(each for each in reversed(queries) if "sys_journal" not in each))

    assert last("invocations list").live
    assert last("invocations list, of a server 1.7").live
    assert last("invocations list --status backing-off --service Greeter").services == {"Greeter"}
    for command in ("invocations cancel ID", "invocations describe ID", "invocations describe ID, of a server 1.7"):
        assert read_query(last(command).text.replace("{id}", "inv_a")).ids == ("inv_a",)


def test_a_condition_on_some_of_the_rows_leaves_no_others_out() -> None:
    latest = "SELECT * FROM sys_invocation ORDER BY created_at DESC LIMIT 10"
    assert not read_query(f"SELECT id FROM ({latest}) WHERE status != 'completed'").live
    joined = "SELECT * FROM sys_invocation a LEFT JOIN sys_deployment b ON a.id = 'inv_a' WHERE a.retry_count > 1"
    assert read_query(joined).ids is None


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT id FROM sys_service; DROP TABLE sys_service",
        "WITH a AS (SELECT name FROM sys_service) DELETE FROM sys_service",
        "ATTACH 'file' AS b; SELECT name FROM sys_service",
        "SELECT nonsense FROM sys_service",
        "SELECT load_extension('x') FROM sys_service",
    ],
)
def test_a_query_can_only_read(statement: str) -> None:
    with pytest.raises(TerminalError, match="SQLite") as refused:
        evaluate(read_query(statement), {"sys_service": [{"name": "A"}]})
    assert refused.value.code == 400


def test_a_query_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapter.http.admin.query.MOST_STEPS", 10_000)
    query = read_query("SELECT COUNT(*) FROM sys_service a JOIN sys_service b JOIN sys_service c")
    with pytest.raises(TerminalError, match="interrupted"):
        evaluate(query, {"sys_service": [{"name": str(n)} for n in range(100)]})


def test_what_a_query_computes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {"sys_service": [{"name": str(n)} for n in range(20)]}
    with pytest.raises(TerminalError, match="too big"):
        evaluate(read_query("SELECT hex(zeroblob(100000000)) FROM sys_service"), rows)
    monkeypatch.setattr("adapter.http.admin.query.MOST_ROWS", 399)
    joined = "SELECT a.name FROM sys_service a JOIN sys_service b"
    with pytest.raises(TerminalError, match="more than 399 rows") as refused:
        evaluate(read_query(joined), rows)
    assert refused.value.code == 501
    assert len(evaluate(read_query(f"{joined} LIMIT 399"), rows)[1]) == 399


def test_text_is_compared_as_it_is_written() -> None:
    rows = {"sys_service": [{"name": "index first_value( A.b"}, {"name": "INDEX"}]}
    query = read_query("SELECT name FROM sys_service WHERE name LIKE 'index first_value( A.b'")
    assert evaluate(query, rows)[1] == [("index first_value( A.b",)]


async def test_a_query_of_too_many_invocations_says_how_to_ask_for_fewer(
    host: Hosted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relations, "MOST", 1)
    assert await host.call("Greeter/greet", "Mary") == 1
    response = await host.http.post("/admin/restate/query", json={"query": "SELECT id FROM sys_invocation"})
    assert response.status_code == 501
    assert "adapter inv list" in response.json()["message"]
