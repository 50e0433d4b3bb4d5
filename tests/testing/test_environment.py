"""What `adapter.testing` does itself: time, replays, faults, looks at what is stored."""

from __future__ import annotations

import asyncio
import itertools
import sys
from datetime import UTC, datetime, timedelta

import pytest

from adapter import (
    Context,
    JournalMismatchError,
    ObjectContext,
    RetryPolicy,
    Service,
    TerminalError,
    VirtualObject,
    Workflow,
    WorkflowContext,
    handler,
)
from adapter.testing import Environment, JournalEntry, StuckError


class Account(VirtualObject):
    @handler
    async def move(self, ctx: ObjectContext, cents: int) -> int:
        balance = (await ctx.get("balance", int) or 0) + cents
        if balance < 0:
            raise TerminalError("not enough", code=402)
        ctx.set("balance", balance)
        return balance


class Bank(Service):
    def __init__(self) -> None:
        self.began = 0

    @handler
    async def transfer(self, ctx: Context, cents: int) -> list[int]:
        self.began += 1
        left = await ctx.object_client(Account, "from").move(-cents)
        fee = await ctx.run("fee", lambda: 1, type=int)
        await ctx.sleep(timedelta(minutes=5))
        return [left, await ctx.object_client(Account, "to").move(cents - fee)]


class Forever(Workflow):
    @handler
    async def run(self, ctx: WorkflowContext) -> None:
        while True:
            await ctx.sleep(timedelta(days=100))


async def test_time_is_what_the_test_says() -> None:
    async with Environment(Bank, Account, start=datetime(2030, 5, 1, tzinfo=UTC)) as env:
        await env.advance(timedelta(days=1, milliseconds=1))
        assert env.now == datetime(2030, 5, 2, 0, 0, 0, 1000, tzinfo=UTC)
        await env.object_client(Account, "from").move(100)
        transfer = env.service_client(Bank).transfer(10)
        await env.advance(timedelta(minutes=4))
        assert (await env.status(transfer), transfer.done) == ("suspended", False)
        assert await transfer == [90, 9]
        assert (await env.status(transfer), transfer.done) == ("completed", True)
        assert env.now == datetime(2030, 5, 2, 0, 5, 0, 1000, tzinfo=UTC)
        with pytest.raises(ValueError, match="duration is negative"):
            await env.advance(-timedelta(days=1))


async def test_journal_and_state_can_be_looked_at() -> None:
    async with Environment(Bank, Account) as env:
        await env.object_client(Account, "from").move(100)
        transfer = env.service_client(Bank).transfer(10)
        entries = await env.journal(transfer)
        assert [str(entry) for entry in entries] == ["call Account/from/move", "run fee", "sleep"]
        assert isinstance(entries[1], JournalEntry)
        assert entries[1].outcome is not None
        assert entries[1].outcome.value == b"1"
        assert entries[2].outcome is None
        assert await env.state(Account, "from") == {"balance": 90}
        assert await env.state(Account, "to") == {}
        await transfer
        assert len(await env.journal(transfer.id)) == 4
        assert await env.journal("inv_nobody") == []
        assert await env.status("inv_nobody") is None


async def test_replays_happen() -> None:
    normal, replayed = Bank(), Bank()
    for bank, replay in ((normal, False), (replayed, True)):
        async with Environment(bank, Account, replay=replay) as env:
            await env.object_client(Account, "from").move(100)
            assert await env.service_client(Bank).transfer(10) == [90, 9]
    assert replayed.began > normal.began + 3


async def test_replays_find_what_is_not_deterministic() -> None:
    class Forgetful(Service):
        def __init__(self) -> None:
            self.count = itertools.count()

        @handler
        async def work(self, ctx: Context) -> int:
            return await ctx.run(f"step {next(self.count)}", lambda: 1, type=int)

    async with Environment(Forgetful) as env:
        assert await env.service_client(Forgetful).work() == 1
    async with Environment(Forgetful, replay=True) as env:
        with pytest.raises(JournalMismatchError, match=r"command 0 is run 'step \d+', the journal holds run 'step 0'"):
            await env.service_client(Forgetful).work()


async def test_failures_of_handlers_are_raised() -> None:
    async with Environment(Bank, Account) as env:
        with pytest.raises(TerminalError, match="not enough") as refused:
            await env.service_client(Bank).transfer(10)
        assert refused.value.code == 402
        with pytest.raises(TerminalError, match="there is no service 'Nobody'"):
            await env.generic_call(service="Nobody", method="x")
        with pytest.raises(TerminalError, match="invalid input"):
            await env.generic_call(service="Bank", method="transfer", parameter="x")


async def test_what_never_ends_is_given_up_after_a_year() -> None:
    async with Environment(Forever) as env:
        with pytest.raises(StuckError, match=r"Forever/x/run .* is suspended and waits for sleep"):
            await env.workflow_client(Forever, "x").run()


@pytest.mark.parametrize("replay", [False, True])
@pytest.mark.parametrize("applied", [False, True])
@pytest.mark.parametrize("fault", ["crash", "fail"])
async def test_a_fault_at_any_request_changes_nothing(fault: str, applied: bool, replay: bool) -> None:
    at, requests = 1, 1
    while at <= requests:
        async with Environment(Bank, Account, replay=replay) as env:
            await env.object_client(Account, "from").move(100)
            before = env.requests
            getattr(env, fault)(at, applied=applied)
            assert await env.service_client(Bank).transfer(10) == [90, 9], at
            assert await env.state(Account, "from") == {"balance": 90}
            assert await env.state(Account, "to") == {"balance": 9}
            requests = env.requests - before
            assert env.crashes == (1 if fault == "crash" and at <= requests else 0)
        at += 1
    assert at > 5


async def test_a_send_survives_a_crash() -> None:
    async with Environment(Account) as env:
        env.crash(1, applied=True)
        env.object_send_client(Account, "x").move(5, delay=timedelta(days=1))
        await env.advance(timedelta(days=2))
        assert env.crashes == 1
        assert await env.state(Account, "x") == {"balance": 5}


class Chain(Service):
    @handler
    async def first(self, ctx: Context) -> None:
        await ctx.service_client(Chain).second()

    @handler
    async def second(self, ctx: Context) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(asyncio.to_thread(print))


async def test_what_is_stuck_says_so_down_to_what_it_called(caplog: pytest.LogCaptureFixture) -> None:
    async with Environment(Chain) as env:
        with pytest.raises(StuckError) as stuck:
            await env.service_client(Chain).first()
    waiting, called = str(stuck.value).splitlines()
    assert waiting.endswith("is suspended and waits for call Chain/second")
    assert "its last attempt failed with NonDeterminismError: run_in_executor was used in handler code" in called
    (record,) = caplog.records
    assert record.message.startswith("attempt failed (1 of 70; next in ")


@pytest.mark.parametrize("replay", [False, True])
async def test_chance_is_not_retried_until_it_fits(replay: bool) -> None:
    tries = itertools.count()

    class Chance(Service):
        @handler
        async def work(self, ctx: Context) -> None:
            await ctx.run(f"step {next(tries) == 1}", lambda: None)
            await ctx.sleep(timedelta(hours=1))

    async with Environment(Chance, replay=replay) as env:
        with pytest.raises(
            JournalMismatchError, match="command 0 is run 'step True', the journal holds run 'step False'"
        ):
            await env.service_client(Chance).work()


class Quick(Workflow):
    @handler
    async def run(self, ctx: WorkflowContext) -> None: ...


async def test_a_workflow_that_ran_says_what_to_attach_to() -> None:
    async with Environment(Quick) as env:
        run = env.workflow_client(Quick, "x").run()
        await run
        with pytest.raises(TerminalError, match=f"workflow Quick/x ran already, or is running: attach to {run.id}"):
            await env.workflow_client(Quick, "x").run()


@pytest.mark.parametrize("handler_name", ["leave", "leave_in_a_step", "leave_in_a_thread"])
async def test_the_process_is_not_a_handlers_to_end(handler_name: str) -> None:
    async def leave() -> None:
        sys.exit(3)

    class Leaver(Service, retry=RetryPolicy(attempts=2, exhausted="kill")):
        @handler
        async def leave(self, ctx: Context) -> None:
            sys.exit(3)

        @handler
        async def leave_in_a_step(self, ctx: Context) -> None:
            await ctx.run("leave", leave)

        @handler
        async def leave_in_a_thread(self, ctx: Context) -> None:
            await ctx.run("leave", sys.exit, 3)

    async with Environment(Leaver) as env:
        with pytest.raises(TerminalError, match=r"gave up after 2 attempts: RuntimeError: .* called sys.exit\(3\)"):
            await env.generic_call(service="Leaver", method=handler_name)


async def test_a_redeployment_takes_on_what_is_under_way() -> None:
    class Old(Service, name="Work"):
        @handler
        async def do(self, ctx: Context, name: str) -> str:
            await ctx.sleep(timedelta(days=1))
            return f"old {name}"

    class New(Service, name="Work"):
        @handler
        async def do(self, ctx: Context, name: str) -> str:
            await ctx.sleep(timedelta(days=1))
            return await ctx.run("new", new, name)

    async def new(name: str) -> str:
        return f"new {name}"

    async with Environment(Old) as env:
        before, begun = env.service_client(Old).do("a"), env.service_client(Old).do("b")
        await env.advance(timedelta(hours=25))
        env.redeploy(New)
        delayed = env.service_client(New).do("c")
        assert (await before, await begun, await delayed) == ("old a", "old b", "new c")
        begun = env.service_client(New).do("d")
        env.redeploy(Old)
        env.redeploy(New)
        assert (await begun, env.crashes) == ("new d", 0)
