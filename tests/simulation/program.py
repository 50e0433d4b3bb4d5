"""Runs a node of a plan as a handler. It writes down what it observes, and that trace is its output.

A replay has to observe the same, so whatever depends on the trace (a step that starts, a child's input) carries what
was observed before it, and the checks compare.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any, NoReturn, cast
from zlib import crc32

from pydantic_core import from_json, to_json

from adapter import combinators
from adapter.engine import commands as c
from adapter.engine.attempt import Attempt
from adapter.engine.ids import awakeable_id
from adapter.engine.pending import Pending
from adapter.engine.ports import Unavailable
from adapter.errors import TerminalError
from adapter.forwarding import IssuerProxy
from tests.simulation import calls, combined, edges, further, results, steps, tasks
from tests.simulation.plan import Op
from tests.simulation.values import Hiccup, decode, digest, encode

if TYPE_CHECKING:
    from adapter.engine.commands import Issuer
    from tests.simulation.process import Process


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

    # --- state ---

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

    def set(self, path: str, name: str, value: Any) -> None:
        self.issue(c.SetState(name, encode(value)))
        self.see(path, "set", name, value if name == "list" or name == "seq" or name == "total" else digest(value))

    async def ahead(self, op: Op, path: str) -> None:
        """Ask for an entry and replace it at once; look at what it was only when that has been on its way for long."""
        step: Any = None
        if op.how == "step":
            step = steps.start(self, replace(op, kind="step", how=""), path)
            await self.sleep(1)
        read = self.asks(path, op.name)
        self.set(path, op.name, f"{self.attempt.id}{path}" + "v" * op.size)
        if step is not None:
            await step
        elif self.world.runs.stumbles(self.attempt.id, path, op.times):
            self.hiccup(path)
        await self.sleep(1)
        await self.got(path, op.name, read)

    # --- operations ---

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
                steps.start(self, op, path)
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
                await results.tell(self, op, path)
            case "stranger":
                await edges.stranger(self, op.how, path)
            case "bloated":
                await edges.bloated(self, op.how, path)
            case "excess":
                self.excess = edges.MOST + op.n
            case "outwait":
                await edges.outwait(self, path)
            case "invoke":
                await calls.invoke(self, op, path)
            case "select":
                await combined.select(self, op, path)
            case "completed":
                await self.completed(op, path)
            case "all":
                await combined.all_of(self, op, path)
            case "timeout":
                await self.timeout(op, path)
            case "fan":
                await combined.fan(self, op, path)
            case "gather":
                await tasks.gather(self, op, path)
            case "race":
                await tasks.race(self, op, path)
            case "shielded":
                await tasks.shielded(self, op, path)
            case "stubborn":
                try:
                    await self.body(op.branches[0], f"{path}/0")
                except TerminalError as error:
                    self.see(path, "went on", digest(error.message))
            case "stray":
                await tasks.stray(self, op, path)
            case "deadline":
                await tasks.deadline(self, op, path)
            case _:
                await further.perform(self, op, path)

    def hiccup(self, path: str) -> NoReturn:
        """Fail this attempt."""
        self.world.waits.fails(self.ref)
        raise Hiccup(path)

    def sleep(self, milliseconds: int) -> Any:
        self.world.waits.works(self.ref, milliseconds / 1000)
        return self.issue(c.Sleep(milliseconds))

    async def begin(self, op: Op, path: str) -> Any:
        """Start something, to be waited for by `end`."""
        match op.kind:
            case "sleep":
                return self.sleep(op.n)
            case "step":
                return steps.start(self, op, path)
            case "invoke":
                return calls.start(self, op, path)
            case _:
                return await results.ask(self, op, path)

    async def end(self, op: Op, path: str, pending: Any) -> None:
        """Wait for something, and look at what it gives."""
        if op.kind == "invoke":
            await calls.result(self, op, path, pending)
            return
        try:
            value = await pending
        except TerminalError as error:
            lost = "is to run at most once" in error.message or "abort_timeout" in error.message
            if op.kind == "step" and op.how == "once" and lost:
                self.world.runs.step_is_lost(self, path)
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

    # --- what a program of the SDK's does in its own way ---

    def step_begins(self, step: Pending[Any], path: str, seen: list[Any], how: str) -> int:
        """A step starts. Returns its number."""
        return self.world.runs.step_begins(self, step.n, path, seen, how)

    def step_fails(self, step: Pending[Any]) -> None:
        """A step fails: it may begin again."""
        self.world.runs.step_fails(self, step.n)

    def step_is_cut(self, step: Pending[Any]) -> None:
        """A step is cut short."""
        self.world.runs.step_is_cut(self, step.n)

    def awakeable(self, result: Any) -> str:
        """The id by which an awakeable gets its result."""
        return awakeable_id(self.attempt.meta.ref, result.n)

    def sees_call(self, path: str, how: str, node: int, call: Any) -> None:
        """Write down that it has called or sent something."""
        self.see(path, how, node, call.id)
        self.world.waits.issues(call.id)

    async def cancel(self, call: Any) -> None:
        """Cancel what it has called."""
        call.cancel()

    async def operations(self, op: Op, path: str) -> list[Any]:
        """Start one operation for each branch."""
        return [await self.begin(branch[0], f"{path}/{number}.0") for number, branch in enumerate(op.branches)]

    async def first(self, pendings: list[Any]) -> int:
        """Wait for one of several, and return which it is."""
        return pendings.index(await combinators.select(*pendings))

    async def completed(self, op: Op, path: str) -> None:
        """Look at each of several as it completes."""
        await combined.as_completed(self, op, path)

    async def timeout(self, op: Op, path: str) -> None:
        """Wait for something for so long at most."""
        await combined.timeout(self, op, path)

    async def together(self, pendings: list[Any]) -> None:
        """Wait for all of several, or for the first failure."""
        await combinators.gather(*pendings)
