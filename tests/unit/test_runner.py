"""The code of a session without a store, a task or an event loop: events in, effects out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, cast

from adapter.engine import commands as c
from adapter.engine import lifecycle, runtime
from adapter.engine.commit_log import CommitLog
from adapter.engine.deployment import Deployment, HandlerSpec
from adapter.engine.events import LOADING, Event, Events, Postponed
from adapter.engine.execution import AttemptFailed, Effect, Execution, JournalAppended
from adapter.engine.journal import (
    CANCEL,
    CommandIssued,
    NotificationDelivered,
    ResultDelivered,
    StateRead,
    StepRetried,
)
from adapter.engine.known_key import Key
from adapter.engine.process import Process
from adapter.engine.records import Head, Ref
from adapter.engine.reports import Reports
from adapter.engine.residents import Residents
from adapter.engine.runner import Runner
from adapter.engine.state_reads import StateReads
from adapter.engine.types import CANCELLED, Kind, ObjectKey, Options, Outcome, RetryPolicy
from adapter.engine.under_way import Load, Read, Request, Stage, Step, UnderWay
from tests.unit.world import ManualClock, closure, pack, target, unpack

KEY = ObjectKey("O", "k")


class Nothing:
    """A port that nothing may use."""

    def __getattr__(self, name: str) -> NoReturn:
        raise AssertionError(f"the code used {name}")


class Keys:
    """The keys of the executions. A head is known once a test sets it."""

    def __init__(self, under_way: UnderWay, executions: dict[str, Execution]) -> None:
        self.hosted: set[str] = set()
        self.batched: set[Ref] = set()
        self._under_way = under_way
        self._executions = executions

    def load(self, key: Key) -> None:
        self._under_way.put((str(key.key), LOADING), Load(key), Stage.RUNNING)

    def next_to_start(self, key: Key) -> Execution | None:
        owner = key.live.owner if key.live is not None else None
        found = self._executions.get(owner.id) if owner is not None else None
        return found if found is not None and found.attempt is None else None


class Session:
    """A runner, and what is around it."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.process = Process(self.clock)
        self.specs: list[HandlerSpec] = []
        self.deployment = Deployment("v1", (), lambda _: None, lambda _: Options())
        nothing = cast(Any, Nothing())
        shared = runtime.build(
            self.process, nothing, self.deployment, nothing, nothing, nothing, Reports(), poll=1, always_replay=False
        )
        self.executions: dict[str, Execution] = {}
        self.log = CommitLog(self.process, self.executions)
        self.events = Events()
        self.under_way = UnderWay(self.executions, self.events)
        keys = Keys(self.under_way, self.executions)
        reads = StateReads(shared, self.log)
        residents = Residents(self.process, shared.wakeups, nothing)
        self.runner = Runner(shared, self.log, self.under_way, reads, keys, self.events, self.executions, residents)

    def handler(self, function: Callable[[Any, Any], Awaitable[Any]], path: str = "S/run", **options: Any) -> None:
        """Run a function of attempt and input as a handler."""

        async def execute(attempt: Any, input: bytes) -> bytes:
            return pack(await function(attempt, unpack(input)))

        at = target(path)
        kind = Kind.SERVICE if at.key is None else Kind.EXCLUSIVE
        self.specs.append(HandlerSpec(at.service, at.handler, kind, execute, Options(**options)))
        self.deployment.host(self.specs)

    def start(self, path: str = "S/run", id: str = "inv_a") -> Execution:
        """Start an invocation that is stored, and run its code until it is blocked."""
        at = target(path)
        kind = self.deployment.kind_of(at)
        now = self.clock.now()
        meta = lifecycle.accepted(id, at, kind, now=now, input=b"null", headers={}, idempotent=False)
        execution = Execution(lifecycle.begun(meta, self.process.times()), b"null", self.deployment.handler(at), True)
        self.executions[id] = execution
        self.runner.start(execution)
        self.runner.advance()
        return execution

    def post(self, *events: Event) -> None:
        """Post events, and run the code until it is blocked."""
        for event in events:
            self.events.post(event)
        self.runner.advance()

    def entries(self, execution: Execution) -> list[Any]:
        """Return the journal entries in the log that belong to an execution."""
        effects = [effect for group in self.log.groups for effect in group if effect.execution is execution]
        return [effect.entry for effect in effects if isinstance(effect, JournalAppended)]

    def effects(self) -> list[str]:
        """Return the effects in the log since it was asked for them last, in short."""
        effects = [brief(effect) for group in self.log.groups for effect in group]
        self.log.groups.clear()
        return effects


def brief(effect: Effect) -> str:
    """Return an effect's class, or its journal entry's with the number of the command."""
    entry = getattr(effect, "entry", None)
    match entry:
        case CommandIssued(n, kind):
            return f"{n} issued: {kind}"
        case ResultDelivered(n) | NotificationDelivered(n) | StateRead(n):
            return f"{n} {type(entry).__name__}"
        case _:
            return type(effect).__name__


def ok(value: Any) -> Outcome:
    return Outcome(pack(value))


def test_a_step_is_asked_for_and_its_result_completes_the_invocation() -> None:
    session = Session()

    async def run(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.Run("charge", closure("paid")), unpack)

    session.handler(run)
    execution = session.start()

    assert session.effects() == ["0 issued: run"]
    [(name, entry)] = session.under_way.in_stage(Stage.ASKED)
    assert name == ("inv_a", 0)
    assert isinstance(entry.task, Step)

    session.under_way.remove(name)
    session.post(Event("inv_a", 0, ok("paid")))

    assert session.effects() == ["0 ResultDelivered", "Completed"]
    assert session.executions == {}
    assert execution.attempt is None


def test_a_result_that_comes_twice_has_no_effect() -> None:
    session = Session()

    async def run(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Run("once", closure(1)), unpack)
        await ctx.issue(c.Awakeable(), unpack)

    session.handler(run)
    session.start()
    session.post(Event("inv_a", 0, ok(1)), Event("inv_a", 0, ok(2)), Event("inv_a", 7, ok(3)))

    assert session.effects() == ["0 issued: run", "0 ResultDelivered", "1 issued: awakeable"]


def test_a_call_runs_here_and_its_caller_has_the_result_in_one_group() -> None:
    session = Session()

    async def run(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.Call(target("S/twice"), pack(4)), unpack)

    async def twice(ctx: Any, number: Any) -> Any:
        return 2 * number

    session.handler(run)
    session.handler(twice, "S/twice")
    session.start()

    assert [[brief(effect) for effect in group] for group in session.log.groups] == [
        ["Created", "0 issued: call"],
        ["Completed", "0 ResultDelivered"],
        ["Completed"],
    ]


def test_a_key_is_read_and_its_owner_started_by_the_event() -> None:
    session = Session()

    async def run(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.Call(target("O/k/add"), pack(1)), unpack)

    async def add(ctx: Any, number: Any) -> Any:
        ctx.issue(c.SetState("total", pack(number)), unpack)
        return number

    session.handler(run)
    session.handler(add, "O/k/add")
    session.start()

    assert session.effects() == ["Created", "KeyRequested", "0 issued: call"]
    assert session.under_way.loading

    key = session.log.key(KEY)
    key.head = Head(KEY, state_generation="s")
    key.live = key.state(session.clock.now())
    [child] = [execution for execution in session.executions.values() if execution.exclusive]
    key.live.request(child.ref, 1)  # the request is in the log
    session.post(Event(str(KEY), LOADING))

    assert not session.under_way.loading
    assert session.effects() == [
        *("0 issued: set", "StateWritten"),
        *("Completed", "KeyReleased", "0 ResultDelivered"),
        "Completed",
    ]


def test_a_state_read_holds_commits_up_until_its_event_is_handled() -> None:
    session = Session()

    async def add(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.GetState("total"), unpack)

    session.handler(add, "O/k/add")
    session.log.key(KEY)  # its head is not read: the session was given the invocation as the owner
    session.start("O/k/add")

    [(name, entry)] = session.under_way.in_stage(Stage.NEXT)
    assert isinstance(entry.task, Read)
    session.under_way.on_end(name, entry)  # the store has answered
    assert session.under_way.reads_state

    session.post(Event("inv_a", 0, ok(3)))
    assert not session.under_way.reads_state
    assert session.effects() == ["0 issued: get", "0 ResultDelivered", "Completed", "KeyReleased"]


def test_sleeps_end_in_the_order_of_their_times() -> None:
    session = Session()
    ended: list[int] = []

    async def run(ctx: Any, _: Any) -> Any:
        long, short = ctx.issue(c.Sleep(500), unpack), ctx.issue(c.Sleep(100), unpack)
        await short
        ended.append(100)
        await long
        ended.append(500)

    session.handler(run)
    session.start()
    assert session.under_way.next_timer() == session.clock.now() + 100

    session.clock.time += 500
    session.runner.advance()
    assert ended == [100, 500]
    assert session.effects()[2:] == ["1 ResultDelivered", "0 ResultDelivered", "Completed"]


def test_a_failure_is_logged_after_the_step_that_runs() -> None:
    session = Session()

    async def run(ctx: Any, _: Any) -> Any:
        ctx.issue(c.Run("slow", closure(1)), unpack)
        await ctx.issue(c.Awakeable(), unpack)
        raise ValueError("later")

    session.handler(run, retry=RetryPolicy(attempts=3))
    execution = session.start()
    [(name, entry)] = session.under_way.in_stage(Stage.ASKED)
    session.under_way.move(entry, Stage.RUNNING)
    session.effects()

    session.post(Event("inv_a", 1, ok(None)))
    assert session.effects() == ["1 ResultDelivered"]
    assert "inv_a" in session.runner.failures.waiting

    execution.step_results[0] = ok(1)
    session.under_way.on_end(name, entry)
    session.post(Event("inv_a", 0, ok(1)))
    [failed] = [effect for group in session.log.groups for effect in group if isinstance(effect, AttemptFailed)]
    assert (failed.failures, failed.error) == (1, "ValueError: later")
    assert session.effects() == ["0 StateRead", "AttemptFailed"]


def test_a_failure_is_logged_after_the_results_of_steps_that_wait_for_the_code() -> None:
    """As after a rewind, whose replay posts what steps gave in the order in which they were issued."""
    session = Session()

    async def run(ctx: Any, _: Any) -> Any:
        flaky, paid, sent = (ctx.issue(c.Run(name, closure(1)), unpack) for name in ("flaky", "pay", "send"))
        await flaky
        await paid
        await sent

    session.handler(run, retry=RetryPolicy(attempts=3))
    execution = session.start()
    session.effects()
    again = StepRetried(0, 1, 0)
    execution.step_results |= {0: Postponed(again, 5, "not yet", OSError()), 1: ok(1), 2: OSError()}
    for n in range(3):
        session.under_way.remove(("inv_a", n))
        session.under_way.post_step(execution, n)
    session.runner.advance()

    assert session.effects() == ["1 StateRead", "JournalAppended", "AttemptFailed"]
    assert not session.runner.failures.waiting


def test_a_result_that_was_logged_after_a_failure_is_not_logged_again_by_a_replay() -> None:
    session = Session()

    async def run(ctx: Any, _: Any) -> Any:
        ctx.issue(c.Run("quick", closure(1)), unpack)
        ctx.issue(c.Run("slow", closure(2)), unpack)
        raise ValueError("at once")

    session.handler(run, retry=RetryPolicy(attempts=3))
    at = target("S/run")
    meta = lifecycle.accepted("inv_a", at, Kind.SERVICE, now=0, input=b"null", headers={}, idempotent=False)
    execution = Execution(lifecycle.begun(meta, session.process.times()), b"null", session.deployment.handler(at), True)
    execution.journal = [CommandIssued(0, "run", "quick"), CommandIssued(1, "run", "slow"), StateRead(0, ok(1))]
    execution.step_results[0] = ok(1)
    session.executions["inv_a"] = execution
    session.under_way.put(("inv_a", 1), Step(execution, c.Run("slow", closure(2)), None), Stage.RUNNING)
    session.runner.start(execution)
    session.runner.advance()

    assert "inv_a" in session.runner.failures.waiting
    assert session.effects() == []


def test_a_deferred_step_is_left_to_the_next_attempt_if_this_one_fails_before_it_begins() -> None:
    session = Session()

    async def run(ctx: Any, _: Any) -> Any:
        ctx.issue(c.Run("quick", closure(1), deferred=True), unpack)
        raise ValueError("at once")

    session.handler(run, retry=RetryPolicy(attempts=3))
    session.start()

    assert not session.under_way.in_stage(Stage.NEXT)
    assert not session.runner.failures.waiting  # no step is under way whose result would come first
    assert session.effects() == ["0 issued: run", "AttemptFailed"]


def test_a_cancellation_is_passed_on_to_a_stored_call() -> None:
    session = Session()

    async def run(ctx: Any, _: Any) -> Any:
        return await ctx.issue(c.Call(target("S/twice"), pack(4)), unpack)

    async def twice(ctx: Any, _: Any) -> Any:
        await ctx.issue(c.Awakeable(), unpack)

    session.handler(run)
    session.handler(twice, "S/twice")
    caller = session.start()
    [child] = session.executions.keys() - {"inv_a"}
    caller.journal += session.entries(caller)
    session.effects()  # the call is committed
    session.post(Event("inv_a", CANCEL, Outcome(failure=CANCELLED)))

    assert session.runner.cancellations == [(child, 1)]
    caller.journal += session.entries(caller)
    assert session.effects() == [f"{CANCEL} ResultDelivered"]

    session.runner.cancellations.clear()
    caller.stop()
    session.runner.rewind()
    session.runner.start(caller)
    session.runner.advance()
    assert caller.attempt is not None
    assert caller.attempt.cancellations_of(cast(Any, caller.attempt.operations[0])) == 1  # the replay has seen it
    assert session.runner.cancellations == []


def test_a_request_that_is_not_awaited_has_to_be_carried_out_before_the_end() -> None:
    session = Session()

    async def run(ctx: Any, _: Any) -> Any:
        ctx.issue(c.Cancel("inv_b"), c.accepted)

    session.handler(run)
    session.start()
    [(_, entry)] = session.under_way.in_stage(Stage.ASKED)
    assert isinstance(entry.task, Request)
    assert session.effects() == ["0 issued: cancel"]

    session.post(Event("inv_a", 0, ok("accepted")))
    assert session.effects() == ["0 ResultDelivered", "Completed"]


def test_code_that_waits_for_nothing_durable_fails() -> None:
    session = Session()

    async def run(ctx: Any, _: Any) -> Any:
        await ctx.loop.create_future()

    session.handler(run)
    session.start()

    assert session.runner.fail_stuck()
    assert session.effects() == ["AttemptFailed"]
    assert not session.runner.fail_stuck()
