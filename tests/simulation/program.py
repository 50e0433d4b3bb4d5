"""Runs a node of a plan as a handler. It writes down what it observes, and that trace is its output.

A replay has to observe the same, so whatever depends on the trace (a step that starts, a child's input) carries what
was observed before it, and the checks compare.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, NoReturn, cast
from zlib import crc32

from pydantic_core import from_json, to_json

from adapter import combinators
from adapter.engine import commands as c
from adapter.engine.attempt import Attempt
from adapter.engine.deployment import HandlerSpec
from adapter.engine.ids import awakeable_id
from adapter.engine.pending import Pending
from adapter.engine.ports import Unavailable
from adapter.engine.types import Kind, Options, Outcome, RetryPolicy
from adapter.errors import TerminalError
from adapter.forwarding import IssuerProxy
from tests.simulation import edges, further
from tests.simulation.plan import AWAITED, Node, Op

if TYPE_CHECKING:
    from adapter.engine.commands import Issuer
    from tests.simulation.process import Process


class Hiccup(Exception):
    """A failure that passes."""


BASE = (KeyboardInterrupt, SystemExit, asyncio.CancelledError, GeneratorExit)
"""Errors that a step raises although they are no ``Exception``: it fails like any other."""


def digest(value: Any) -> str:
    """A value, or what stands for it in a trace."""
    text = to_json(value).decode()
    return text if len(text) <= 24 else hashlib.sha1(text.encode()).hexdigest()[:10]


def decode(data: bytes | None) -> Any:
    return from_json(data) if data else None


def encode(value: Any) -> bytes:
    return to_json(value)


def request(node: Node, seen: list[Any] | None = None, tell: list[str] | None = None) -> bytes:
    """The input that has a handler run the node, with what its caller has observed so far, and waits to be told."""
    body: dict[str, Any] = {"n": node.id}
    if tell is not None:
        body["tell"] = tell
    if seen is not None:
        body["t"] = [len(seen), digest(seen)]
    if node.pad:
        body["pad"] = "x" * node.pad
    return encode(body)


def handlers(process: Process) -> list[HandlerSpec]:
    """Every handler of the function that a process runs."""

    async def native(issuer: Issuer, data: bytes) -> bytes:
        return await Program(process, issuer, data).run()

    hosted = None
    if process.world.plan.hosted:
        from tests.simulation import sdk  # which needs Restate's SDK

        hosted = sdk.Endpoint(process)

    initial = timedelta(milliseconds=process.world.random.choice((10, 50, 500)))
    retention = timedelta(seconds=process.world.retention)
    specs = []
    for service, function in process.world.plan.functions.items():
        if function == process.function:
            if service[0] == "S":
                kinds = {"do": Kind.SERVICE}
            elif service[0] == "O":
                kinds = {"do": Kind.EXCLUSIVE, "look": Kind.SHARED}
            else:
                kinds = {"run": Kind.WORKFLOW, "look": Kind.SHARED}
            limit = process.world.plan.limits.get(service)
            retry = RetryPolicy(initial)
            if limit is not None:
                retry = RetryPolicy(initial, attempts=limit.attempts, exhausted=limit.exhausted)
            options = Options(
                retry=retry,
                idempotency_retention=retention,
                workflow_retention=retention,
                journal_retention=retention,
                lazy_state=process.world.lazy_state,
                inactivity_timeout=process.world.inactivity,
                batch=process.world.batch,
                deadlocks="report" if process.world.operators.reports(service) else "fail",
                abort_timeout=edges.abort_timeout(process.world, service),
            )
            coder = process.world.coder
            for name, kind in kinds.items():
                code: Callable[[Issuer, bytes], Awaitable[bytes]] = native
                if hosted is not None and service in process.world.plan.hosted:
                    code = hosted.handler(service, name, lazy=options.lazy_state)
                specs.append(coder.handler(HandlerSpec(service, name, kind, code, options)))
    return specs


def kind_of(service: str, handler: str) -> Kind | None:
    """The kind of any handler."""
    return {
        ("S", "do"): Kind.SERVICE,
        ("O", "do"): Kind.EXCLUSIVE,
        ("O", "look"): Kind.SHARED,
        ("W", "run"): Kind.WORKFLOW,
        ("W", "look"): Kind.SHARED,
    }.get((service[:1], handler))


class Program:
    """One attempt's run of one node."""

    def __init__(self, process: Process, issuer: Issuer, data: bytes) -> None:
        self.process = process
        self.world = process.world
        self.issuer = issuer
        """What commands are issued by: the attempt, or what encodes them."""
        self.attempt = attempt = cast("Attempt", issuer._issuer if isinstance(issuer, IssuerProxy) else issuer)
        self.input = from_json(data)
        self.node = self.world.plan.nodes[self.input["n"]]
        self.trace: list[Any] = []
        self.excess = 0
        """The size of its output in bytes, if that is too large."""
        self.ref = attempt.meta.ref

    @property
    def random(self) -> Random:
        """Gives the same numbers in each replay."""
        return self.attempt.random

    async def run(self) -> bytes:
        self.world.runs.entered(self)
        if self.node.target != self.attempt.target:
            self.world.violation(f"{self.node.target} runs as {self.attempt.target}")
        try:
            if self.attempt.kind.exclusive:
                place = await self.get("seq") or 0
                self.see("", "seq", place)
                self.issue(c.SetState("seq", encode(place + 1)))
            await self.body(self.node.ops, "")
        except TerminalError as error:
            self.see("", "failed", digest(error.message))
            if self.is_told():
                await self.clean_up()
            metadata = {"node": str(self.node.id)}
            raise TerminalError(self.output(most=8_000).decode(), code=error.code, metadata=metadata) from error
        return self.output()

    def is_told(self) -> bool:
        """Whether it was told that it is cancelled."""
        return self.attempt.cancelled and not (self.attempt._owed or self.attempt._interruption)

    @property
    def cancellations(self) -> int:
        """How often it was cancelled."""
        return self.attempt.loop.cancellations

    async def clean_up(self) -> None:
        """Do what a cancelled handler does. Only a further cancellation interrupts it."""
        cancellations = self.cancellations

        async def closure() -> bytes:
            await self.process.work(0.01)
            return b""

        try:
            await self.issue(c.Run("undo", closure))
            await self.sleep(self.node.id % 3 * 1000)
        except TerminalError as error:
            if self.cancellations == cancellations:
                self.world.violation(f"{self.attempt.id} was cleaning up, and was told {error}")
            self.see("", "interrupted")
        else:
            self.see("", "cleaned up")

    def output(self, most: int = 1_000_000) -> bytes:
        output: dict[str, Any] = {"n": self.node.id, "i": self.attempt.id, "t": self.trace}
        if self.excess:
            output["pad"] = "x" * self.excess
        elif self.node.pad:  # how long it is tells what was seen, as what it says does
            output["pad"] = "x" * min(self.node.pad // (1 + crc32(to_json(self.trace)) % 3), most)
        return encode(output)

    def see(self, path: str, what: str, *values: Any) -> None:
        self.trace.append([path, what, *values])

    def issue(self, command: c.Command) -> Any:
        try:
            issued = self.issuer.issue(command, decode)
            if self.attempt._dead:
                self.world.violation(f"{self.attempt.id} issued {command}, and its attempt had ended")
            return issued
        except Unavailable:
            self.world.violation(f"{self.attempt.id} was raised in its code what happened to its host")
            raise

    async def get(self, name: str) -> Any:
        return await self.issue(c.GetState(name))

    async def read(self, path: str, name: str) -> Any:
        """Read an entry."""
        return await self.got(path, name, self.asks(path, name))

    def asks(self, path: str, name: str) -> Any:
        """Ask for an entry; what is given is what there is now."""
        read = self.issue(c.GetState(name))
        self.see(path, "asks", name)
        return read

    async def got(self, path: str, name: str, read: Any) -> Any:
        """Look at an entry that was asked for."""
        value = await read
        self.see(path, "got", name, digest(value))
        return value

    async def body(self, ops: tuple[Op, ...], path: str) -> None:
        for place, op in enumerate(ops):
            await self.op(op, f"{path}.{place}")

    async def op(self, op: Op, path: str) -> None:
        match op.kind:
            case "get":
                await self.read(path, op.name)
                if not self.attempt.kind.exclusive:
                    self.see(path, "peek", await self.get("seq") or 0)
            case "keys":
                keys = self.issue(c.StateKeys())
                self.see(path, "asks")
                self.see(path, "keys", await keys)
            case "set":
                self.set(path, op.name, f"{self.attempt.id}{path}" + "v" * op.n)
            case "add":
                self.set(path, op.name, (await self.read(path, op.name) or 0) + op.n)
            case "append":
                entries = await self.read(path, op.name) or []
                self.set(path, op.name, [*entries, f"{self.node.id}{path}"])
            case "ahead":
                await self.ahead(op, path)
            case "clear":
                self.issue(c.ClearState(op.name))
                self.see(path, "clear", op.name)
            case "clear-all":
                place = await self.get("seq")
                self.issue(c.ClearAllState())
                self.see(path, "clear-all")
                self.set(path, "seq", place)
            case "now":
                self.see(path, "now", await self.issue(c.Now()))
            case "draw":
                self.see(path, "draw", self.random.randrange(1_000_000))
            case "step" if op.how == "loose":  # which is not awaited, and carried out all the same
                self.step(op, path)
                self.see(path, "loose")
            case "sleep" | "step" | "awakeable" | "signal" | "promise":
                await self.end(op, path, await self.begin(op, path))
            case "raise":
                self.see(path, "raises")
                raise TerminalError(f"raised at {path}", code=418)
            case "flaky":
                if self.world.runs.stumbles(self.attempt.id, path, op.times):
                    self.hiccup(path)
            case "tell":
                await self.tell(op, path)
            case "stranger":
                await edges.stranger(self, op.how, path)
            case "bloated":
                await edges.bloated(self, op.how, path)
            case "excess":
                self.excess = edges.MOST + op.n
            case "outwait":
                await edges.outwait(self, path)
            case "invoke":
                await self.invoke(op, path)
            case "select":
                await self.select(op, path)
            case "completed":
                await self.completed(op, path)
            case "all":
                await self.all(op, path)
            case "timeout":
                await self.timeout(op, path)
            case "fan":
                calls = [(branch[0], self.start(branch[0], path)) for branch in op.branches]
                for inner, call in calls:
                    await self.result(inner, path, call)
            case "gather":
                await self.gather(op, path)
            case "race":
                await self.race(op, path)
            case "stubborn":
                try:
                    await self.body(op.branches[0], f"{path}/0")
                except TerminalError as error:
                    self.see(path, "went on", digest(error.message))
            case "stray":
                await self.stray(op, path)
            case "deadline":
                try:
                    self.world.waits.works(self.ref, op.n / 1000)
                    with self.world.runs.within(self, path, op.n / 1000):
                        async with asyncio.timeout(op.n / 1000):
                            await self.body(op.branches[0], f"{path}/0")
                except TimeoutError:
                    self.see(path, "out of time")
                except TerminalError as error:
                    self.see(path, "went on", digest(error.message))
            case _:
                await further.perform(self, op, path)

    def hiccup(self, path: str) -> NoReturn:
        """Fail this attempt."""
        self.world.waits.fails(self.ref)
        raise Hiccup(path)

    def sleep(self, milliseconds: int) -> Any:
        self.world.waits.works(self.ref, milliseconds / 1000)
        return self.issue(c.Sleep(milliseconds))

    def set(self, path: str, name: str, value: Any) -> None:
        self.issue(c.SetState(name, encode(value)))
        self.see(path, "set", name, value if name == "list" or name == "seq" or name == "total" else digest(value))

    async def ahead(self, op: Op, path: str) -> None:
        """Ask for an entry and replace it at once; look at what it was only when that has been on its way for long."""
        step: Any = None
        if op.how == "step":
            step = self.step(replace(op, kind="step", how=""), path)
            await self.sleep(1)
        read = self.asks(path, op.name)
        self.set(path, op.name, f"{self.attempt.id}{path}" + "v" * op.size)
        if step is not None:
            await step
        elif self.world.runs.stumbles(self.attempt.id, path, op.times):
            self.hiccup(path)
        await self.sleep(1)
        await self.got(path, op.name, read)

    async def begin(self, op: Op, path: str) -> Any:
        """Start something, to be waited for by `end`."""
        match op.kind:
            case "sleep":
                return self.sleep(op.n)
            case "step":
                return self.step(op, path)
            case "invoke":
                return self.start(op, path)
            case _:
                return await self.ask(op, path)

    async def end(self, op: Op, path: str, pending: Any) -> None:
        """Wait for something, and look at what it gives."""
        if op.kind == "invoke":
            await self.result(op, path, pending)
            return
        try:
            value = await pending
        except TerminalError as error:
            lost = "may have run before" in error.message or "abort_timeout" in error.message
            if op.kind == "step" and op.how == "once" and lost:
                self.see(path, "lost")
                return
            if op.how != "reject" or not error.message.startswith(f"{path}!"):
                raise
            value = error.message
        if op.kind == "sleep":
            self.see(path, "slept")
            return
        self.see(path, op.kind, digest(value))
        mark = "#" if op.kind == "step" else "!"
        about, _, rest = value.partition(mark)
        if about != (f"{self.node.id}{path}" if op.kind == "step" else path):
            self.world.violation(f"{op.kind} {self.node.id}{path} was given {value[:200]}")
        # Who tells an invocation that has expired may tell the next one under its id.
        if op.node >= 0 and rest.rstrip("~") != "0" and not self.world.forgets(self.attempt.id):
            self.world.violation(f"{op.kind} {self.node.id}{path} was given {value[:200]}, which did not come first")

    def step(self, op: Op, path: str) -> Any:
        initial = timedelta(milliseconds=3000 if op.n == 100 else 20)
        retry = RetryPolicy(initial, attempts=None) if op.how == "retry" else None
        if op.how == "exhaust":
            limited = self.node.id % 2
            retry = RetryPolicy(initial, attempts=2) if limited else RetryPolicy(initial, duration=timedelta(seconds=1))
        operation: list[Pending[Any]] = []
        seen = list(self.trace)

        async def closure() -> bytes:
            number = self.step_begins(operation[0], path, seen, op.how)
            self.world.waits.works(self.ref, op.n / 1000)
            if op.how == "defer" and "further" in self.world.reach:
                await further.between(self.process)
            began = self.world.loop.time()
            try:
                if op.how == "slow" and self.world.runs.stumbles(self.attempt.id, path, op.times):
                    await edges.outlast(self, began)
                await self.process.work(op.n / 1000)
                for _ in range(self.world.random.randrange(16)):  # what ends at one time ends in any order
                    await asyncio.sleep(0)
            except asyncio.CancelledError:
                if edges.is_aborted(self, began):
                    self.world.waits.fails(self.ref)
                    self.step_fails(operation[0])
                elif op.how != "defer":  # which may be run again
                    self.step_is_cut(operation[0])
                raise
            if op.how == "exhaust":
                self.world.waits.works(self.ref, 10)
                self.world.runs.stumbles(self.attempt.id, path, 0)
                self.step_fails(operation[0])
                raise Hiccup(path)
            if op.how != "slow" and self.world.runs.stumbles(self.attempt.id, path, op.times):
                self.step_fails(operation[0])
                if retry is not None:
                    self.world.waits.works(self.ref, 2 * initial.total_seconds() * 2**op.times)
                if op.how == "base":
                    self.world.waits.fails(self.ref)
                    raise BASE[crc32(path.encode()) % len(BASE)](Hiccup.__doc__)
                self.hiccup(path)
            self.world.runs.finished.add((self.ref, path))
            if op.how == "terminal":
                raise TerminalError(f"step {path}", code=422)
            return encode(f"{self.node.id}{path}#{number}{'~' * op.size}")

        if op.how == "once":
            retry = RetryPolicy.NONE
        run = c.Run(op.name, closure, retry, at_most_once=op.how == "once", deferred=op.how == "defer")
        stored = len(self.attempt.operations) < len(self.attempt._issued)
        operation.append(self.issue(run))
        if op.how == "defer" and not stored:  # what had its number before a rewind is forgotten
            self.step_fails(operation[0])
        return operation[0]

    def step_begins(self, step: Pending[Any], path: str, seen: list[Any], how: str) -> int:
        """A step starts. Returns its number."""
        return self.world.runs.step_begins(self, step.n, path, seen, how)

    def step_fails(self, step: Pending[Any]) -> None:
        """A step fails: it may begin again."""
        self.world.runs.step_fails(self, step.n)

    def step_is_cut(self, step: Pending[Any]) -> None:
        """A step is cut short."""
        self.world.runs.step_is_cut(self, step.n)

    async def ask(self, op: Op, path: str) -> Any:
        """Have somebody outside, or another handler, give a result."""
        if op.kind == "promise":
            id = str(self.attempt.target.object)
            result = self.issue(c.GetPromise(path))
        else:
            result = self.issue(c.Awakeable() if op.kind == "awakeable" else c.Signal(path))
            id = self.awakeable(result) if op.kind == "awakeable" else self.attempt.id
        if op.node >= 0:
            node = self.world.plan.nodes[op.node]
            data = request(node, self.trace, tell=[op.kind, id, path])
            call = self.issue(c.Send(node.target, data, kind=node.kind))
            self.sees_call(path, "send", op.node, call)
            return result

        async def closure() -> bytes:
            await self.process.work(0)
            self.world.outsiders.tell(op.kind, id, path, op, self.attempt.meta)
            return b""

        await self.issue(c.Run("tell", closure))
        return result

    def awakeable(self, result: Any) -> str:
        """The id by which an awakeable gets its result."""
        return awakeable_id(self.attempt.meta.ref, result.n)

    def sees_call(self, path: str, how: str, node: int, call: Any) -> None:
        """Write down that it has called or sent something."""
        self.see(path, how, node, call.id)
        self.world.waits.issues(call.id)

    async def tell(self, op: Op, path: str) -> None:
        """Give somebody a result, perhaps twice."""
        kind, id, name = self.input["tell"]
        for number in range(op.times):
            value = encode(f"{name}!{number}{'~' * op.size}")
            if kind == "awakeable":
                telling = self.issue(c.Complete(id, Outcome(value)))
            elif kind == "signal":
                telling = self.issue(c.SendSignal(id, name, Outcome(value)))
            else:
                telling = self.issue(c.CompletePromise(name, Outcome(value)))
            said = "perhaps" if op.how == "blindly" else await telling
            if kind == "promise":
                peeked = await self.issue(c.PeekPromise(name))
                if not self.world.expiring and not (peeked or "").startswith(f"{name}!0"):
                    self.world.violation(f"promise {id}/{name} was kept, and is {peeked}")
            self.see(path, "told", kind, number, said)

    async def invoke(self, op: Op, path: str) -> None:
        call = self.start(op, path)
        if op.how == "cancelled":
            if op.n:
                await self.sleep(op.n)
            await self.cancel(call)
            self.see(path, "cancels")
        if op.how in ("call", "caught", "join", "cancelled"):
            await self.result(op, path, call)
        if op.how == "glance":
            await self.glance(op, path, call)

    def start(self, op: Op, path: str) -> Any:
        node = self.world.plan.nodes[op.node]
        data = request(node, None if node.idempotency is not None else self.trace)
        try:
            if op.how in ("send", "join", "glance"):
                call = self.issue(c.Send(node.target, data, op.n, node.idempotency, kind=node.kind))
            else:
                call = self.issue(c.Call(node.target, data, node.idempotency, kind=node.kind))
        except Unavailable as error:
            self.world.violation(f"{self.attempt.id} was told by its host: {error!r}")
            raise
        self.sees_call(path, op.how, op.node, call)
        return call

    async def cancel(self, call: Any) -> None:
        """Cancel what it has called."""
        call.cancel()

    async def result(self, op: Op, path: str, call: Any) -> None:
        try:
            value = await call
        except TerminalError as error:
            if error.message.startswith("deadlock: "):
                self.see(path, "deadlock", op.node, error.message)
            else:
                self.see(path, "error", op.node, digest(error.message))
                if error.message.startswith('{"n":') and not self.world.endpoints.is_of(op.node, error.metadata):
                    self.world.violation(f"{self.attempt.id} was told of node {op.node} with {error.metadata}")
            if op.how in AWAITED and not self.has_expired(error, op, path, call):
                raise
        else:
            self.see(path, "value", op.node, digest(value))
            if value["n"] != op.node:
                self.world.violation(f"{self.attempt.id} was given {value}, not node {op.node}'s output")

    def has_expired(self, error: TerminalError, op: Op, path: str, call: Any) -> bool:
        """Whether a program is told that what it attaches to has expired, and goes on as if that had succeeded."""
        if error.code != 404 or not error.message.startswith("there is no invocation") or not self.world.expiring:
            return False
        self.see(path, "gone", getattr(call, "n", -1))  # a handler of the SDK's does not know its command
        return not self.world.plan.fails(op.node)

    async def glance(self, op: Op, path: str, call: Any) -> None:
        """Look at an output as it stands."""
        try:
            found = await self.issuer.issue(c.Output(call.id), lambda data: data or b"")
        except TerminalError as error:
            self.see(path, "error", op.node, digest(error.message))
            return
        if found.startswith(c.READY):
            self.see(path, "value", op.node, digest(decode(found.removeprefix(c.READY))))
        else:
            self.see(path, "glanced", found.decode())
            if found != c.NOT_READY and not self.world.expiring:
                self.world.violation(f"{call.id} was sent, and is {found.decode()}")

    async def operations(self, op: Op, path: str) -> list[Any]:
        """Start one operation for each branch."""
        return [await self.begin(branch[0], f"{path}/{number}.0") for number, branch in enumerate(op.branches)]

    async def select(self, op: Op, path: str) -> None:
        pendings = await self.operations(op, path)
        won = await self.first(pendings)
        self.see(path, "selected", won)
        if [pending.done for pending in pendings].index(True) != won:
            self.world.violation(f"{self.attempt.id} was given operation {won} at {path}, which is not the first")
        await self.end(op.branches[won][0], f"{path}/{won}.0", pendings[won])
        for number, (pending, branch) in enumerate(zip(pendings, op.branches, strict=True)):
            if number != won and op.how == "await":
                await self.end(branch[0], f"{path}/{number}.0", pending)
            elif number != won and branch[0].how == "cancelled":
                await self.cancel(pending)
                self.see(f"{path}/{number}.0", "cancels")

    async def first(self, pendings: list[Any]) -> int:
        """Wait for one of several, and return which it is."""
        return pendings.index(await combinators.select(*pendings))

    async def completed(self, op: Op, path: str) -> None:
        pendings = await self.operations(op, path)
        left = list(range(len(pendings)))
        async for pending in combinators.as_completed(*pendings):
            number = pendings.index(pending)
            self.see(path, "completed", number)
            left.remove(number)
            await self.end(op.branches[number][0], f"{path}/{number}.0", pending)
        if left:
            self.world.violation(f"{self.attempt.id} did not see {left} of {path} complete")

    async def all(self, op: Op, path: str) -> None:
        pendings = await self.operations(op, path)
        try:
            await self.together(pendings)
        except TerminalError as error:
            self.see(path, "gathered", digest(error.message))
        for number, (pending, branch) in enumerate(zip(pendings, op.branches, strict=True)):
            await self.end(branch[0], f"{path}/{number}.0", pending)

    async def together(self, pendings: list[Any]) -> None:
        """Wait for all of several, or for the first failure."""
        await combinators.gather(*pendings)

    async def timeout(self, op: Op, path: str) -> None:
        inner, at = op.branches[0][0], f"{path}/0.0"
        pending = await self.begin(inner, at)
        try:
            self.world.waits.works(self.ref, op.n / 1000)
            with self.world.runs.within(self, path, op.n / 1000):
                await asyncio.wait_for(asyncio.shield(pending) if op.how == "shield" else pending, op.n / 1000)
        except TimeoutError:
            self.see(path, "timeout")
            if not op.how:
                return
        except TerminalError as error:
            self.see(path, "ended", digest(error.message))
        await self.end(inner, at, pending)

    async def gather(self, op: Op, path: str) -> None:
        run = self.body
        if op.how == "locked":
            run = partial(self.locked, asyncio.Semaphore(1 + self.node.id % 2))
        branches = [run(branch, f"{path}/{number}") for number, branch in enumerate(op.branches)]
        if op.how == "group":  # whose tasks are cancelled when one fails
            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(branch) for branch in branches]
            except BaseExceptionGroup as errors:
                self.see(path, "grouped", [task.cancelled() for task in tasks])
                _raise_first(errors.exceptions)
            return
        results = await asyncio.gather(*branches, return_exceptions=True)
        self.see(path, "gathered", [isinstance(result, BaseException) for result in results])
        _raise_first(results)

    async def locked(self, lock: asyncio.Semaphore, ops: tuple[Op, ...], path: str) -> None:
        async with lock:
            self.see(path, "locks")
            await self.body(ops, path)

    async def race(self, op: Op, path: str) -> None:
        names = [f"{path}/{number}" for number in range(len(op.branches))]
        tasks = [asyncio.create_task(self.body(b, name)) for b, name in zip(op.branches, names, strict=True)]
        left = set(tasks)
        while left:
            done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            self.see(path, "done", sorted(tasks.index(task) for task in done))
        results = [task.exception() for task in tasks]
        _raise_first(results)

    async def stray(self, op: Op, path: str) -> None:
        """Leave a task alone, which the handler's end may cut short, or cancel it."""
        task = asyncio.create_task(self.body(op.branches[0], f"{path}/0"))
        if op.n:
            await self.sleep(op.n)
        if op.how == "cancel":
            task.cancel()
            await asyncio.wait({task})
            self.see(path, "stopped", task.cancelled())


def _raise_first(results: Any) -> None:
    """What is no terminal error comes first: it is not the end of the invocation."""
    errors = [result for result in results if isinstance(result, BaseException)]
    errors.sort(key=lambda error: isinstance(error, TerminalError))
    for error in errors:
        raise error
