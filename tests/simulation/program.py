"""Runs a node of a plan as a handler. It writes down what it observes, and that trace is its output.

A replay has to observe the same, so whatever depends on the trace (a step that starts, a child's input) carries what
was observed before it, and the checks compare.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from adapter.engine import commands as c
from adapter.engine.attempt import Attempt, Pending
from adapter.engine.ids import awakeable_id
from adapter.engine.types import HandlerSpec, Kind, Options, RetryPolicy
from adapter.errors import TerminalError
from tests.simulation.plan import AWAITED, Node, Op

if TYPE_CHECKING:
    from adapter.engine.commands import Issuer
    from tests.simulation.world import Process


class Hiccup(Exception):
    """A failure that passes."""


def digest(value: Any) -> str:
    """A value, or what stands for it in a trace."""
    text = json.dumps(value)
    return text if len(text) <= 24 else hashlib.sha1(text.encode()).hexdigest()[:10]


def decode(data: bytes | None) -> Any:
    return json.loads(data) if data else None


def encode(value: Any) -> bytes:
    return json.dumps(value).encode()


def request(node: Node, seen: list[Any] | None = None) -> bytes:
    """The input that has a handler run the node, with what its caller has observed so far."""
    body: dict[str, Any] = {"n": node.id}
    if seen is not None:
        body["t"] = [len(seen), digest(seen)]
    if node.pad:
        body["pad"] = "x" * node.pad
    return encode(body)


def handlers(process: Process) -> list[HandlerSpec]:
    """Every handler of the function that a process runs."""

    async def execute(issuer: Issuer, data: bytes) -> bytes:
        return await Program(process, cast("Attempt", issuer), data).run()

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
            )
            specs += [HandlerSpec(service, name, kind, execute, options) for name, kind in kinds.items()]
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

    def __init__(self, process: Process, attempt: Attempt, data: bytes) -> None:
        self.process = process
        self.world = process.world
        self.attempt = attempt
        self.node = self.world.plan.nodes[json.loads(data)["n"]]
        self.trace: list[Any] = []

    async def run(self) -> bytes:
        self.world.entered(self)
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
            raise TerminalError(self.output().decode(), code=error.code) from error
        return self.output()

    def output(self) -> bytes:
        output: dict[str, Any] = {"n": self.node.id, "i": self.attempt.id, "t": self.trace}
        if self.node.pad:
            output["pad"] = "x" * self.node.pad
        return encode(output)

    def see(self, path: str, what: str, *values: Any) -> None:
        self.trace.append([path, what, *values])

    def issue(self, command: c.Command) -> Any:
        return self.attempt.issue(command, decode)

    async def get(self, name: str) -> Any:
        return await self.issue(c.GetState(name))

    async def body(self, ops: tuple[Op, ...], path: str) -> None:
        for place, op in enumerate(ops):
            await self.op(op, f"{path}.{place}")

    async def op(self, op: Op, path: str) -> None:
        match op.kind:
            case "get":
                self.see(path, "get", op.name, digest(await self.get(op.name)))
                if not self.attempt.kind.exclusive:
                    self.see(path, "peek", await self.get("seq") or 0)
            case "keys":
                self.see(path, "keys", await self.issue(c.StateKeys()))
            case "set":
                self.set(path, op.name, f"{self.attempt.id}{path}" + "v" * op.n)
            case "add":
                total = await self.get(op.name)
                self.see(path, "get", op.name, digest(total))
                self.set(path, op.name, (total or 0) + op.n)
            case "append":
                entries = await self.get(op.name)
                self.see(path, "get", op.name, digest(entries))
                self.set(path, op.name, [*(entries or []), f"{self.node.id}{path}"])
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
                self.see(path, "draw", self.attempt.random.randrange(1_000_000))
            case "sleep":
                await self.issue(c.Sleep(op.n))
                self.see(path, "slept")
            case "step":
                await self.step(op, path)
            case "raise":
                self.see(path, "raises")
                raise TerminalError(f"raised at {path}", code=418)
            case "flaky":
                if self.world.stumbles(self.attempt.id, path, op.times):
                    raise Hiccup(path)
            case "awakeable" | "signal" | "promise":
                await self.outside(op, path)
            case "invoke":
                await self.invoke(op, path)
            case "fan":
                calls = [(branch[0], self.start(branch[0], path)) for branch in op.branches]
                for inner, call in calls:
                    await self.result(inner, path, call)
            case "gather":
                await self.gather(op, path)
            case "race":
                await self.race(op, path)
            case _:
                raise AssertionError(op)

    def set(self, path: str, name: str, value: Any) -> None:
        self.issue(c.SetState(name, encode(value)))
        self.see(path, "set", name, value if name == "list" or name == "seq" or name == "total" else digest(value))

    async def step(self, op: Op, path: str) -> None:
        retry = RetryPolicy(initial=timedelta(milliseconds=20), attempts=None) if op.how == "retry" else None
        operation: list[Pending[Any]] = []
        seen = list(self.trace)

        async def closure() -> bytes:
            number = self.world.step_begins(self, operation[0].n, path, seen)
            await self.process.work(op.n / 1000)
            if self.world.stumbles(self.attempt.id, path, op.times):
                raise Hiccup(path)
            if op.how == "terminal":
                raise TerminalError(f"step {path}", code=422)
            return encode(f"{self.node.id}{path}#{number}")

        operation.append(self.issue(c.Run(op.name, closure, retry)))
        value = await operation[0]
        self.see(path, "step", value)
        if value.partition("#")[0] != f"{self.node.id}{path}":
            self.world.violation(f"step {self.node.id}{path} was given {value}")

    async def outside(self, op: Op, path: str) -> None:
        """Have somebody outside give a result, and wait for it."""
        if op.kind == "promise":
            self.world.tell("promise", str(self.attempt.target.object), path, op, self.attempt.meta)
            result = self.issue(c.GetPromise(path))
        else:
            result = self.issue(c.Awakeable() if op.kind == "awakeable" else c.Signal(path))
            id = awakeable_id(self.attempt.meta.ref, result.n) if op.kind == "awakeable" else self.attempt.id

            async def closure() -> bytes:
                await self.process.work(0)
                self.world.tell(op.kind, id, path, op, self.attempt.meta)
                return b""

            await self.issue(c.Run("tell", closure))
        value = await result
        self.see(path, op.kind, value)
        if value.partition("!")[0] != path:
            self.world.violation(f"{self.attempt.id} was given {value} at {path}")

    async def invoke(self, op: Op, path: str) -> None:
        call = self.start(op, path)
        if op.how == "cancelled":
            if op.n:
                await self.issue(c.Sleep(op.n))
            call.cancel()
            self.see(path, "cancels")
        if op.how in ("call", "caught", "join", "cancelled"):
            await self.result(op, path, call)

    def start(self, op: Op, path: str) -> Any:
        node = self.world.plan.nodes[op.node]
        data = request(node, None if node.idempotency is not None else self.trace)
        if op.how in ("send", "join"):
            call = self.issue(c.Send(node.target, data, op.n, node.idempotency, kind=node.kind))
        else:
            call = self.issue(c.Call(node.target, data, node.idempotency, kind=node.kind))
        self.see(path, op.how, op.node, call.id)
        return call

    async def result(self, op: Op, path: str, call: Any) -> None:
        try:
            value = await call
        except TerminalError as error:
            self.see(path, "error", op.node, digest(error.message))
            if op.how in AWAITED:
                raise
        else:
            self.see(path, "value", op.node, digest(value))
            if value["n"] != op.node:
                self.world.violation(f"{self.attempt.id} was given {value}, not node {op.node}'s output")

    async def gather(self, op: Op, path: str) -> None:
        branches = (self.body(branch, f"{path}/{number}") for number, branch in enumerate(op.branches))
        results = await asyncio.gather(*branches, return_exceptions=True)
        self.see(path, "gathered", [isinstance(result, BaseException) for result in results])
        _raise_first(results)

    async def race(self, op: Op, path: str) -> None:
        names = [f"{path}/{number}" for number in range(len(op.branches))]
        tasks = [asyncio.create_task(self.body(b, name)) for b, name in zip(op.branches, names, strict=True)]
        left = set(tasks)
        while left:
            done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            self.see(path, "done", sorted(tasks.index(task) for task in done))
        results = [task.exception() for task in tasks]
        _raise_first(results)


def _raise_first(results: Any) -> None:
    """What is no terminal error comes first: it is not the end of the invocation."""
    errors = [result for result in results if isinstance(result, BaseException)]
    errors.sort(key=lambda error: isinstance(error, TerminalError))
    for error in errors:
        raise error
