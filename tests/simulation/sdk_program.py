"""Runs a node of a plan as a handler of Restate's SDK: against the SDK's own state machine, which replays a journal.

What such a handler awaits is told to `tests.simulation.sdk_machine`, which runs it as a coroutine without an event
loop, from the beginning in each exchange without a stream.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from random import Random
from typing import TYPE_CHECKING, Any
from zlib import crc32

from pydantic_core import to_json
from restate import _internal as core

from adapter.engine import commands as c
from adapter.engine.types import Kind
from adapter.errors import TerminalError
from adapter.restate import messages as m
from tests.simulation.plan import Op
from tests.simulation.program import Program
from tests.simulation.values import decode

if TYPE_CHECKING:
    from adapter.engine.commands import Issuer
    from tests.simulation.process import Process
    from tests.simulation.sdk_machine import Machine

Tree = Any
"""What is awaited: the state machine's own type."""


class Over(Exception):
    """The handler can go no further: the state machine takes no more."""


class Future:
    """A result that the state machine knows by a handle."""

    def __init__(self, machine: Machine, handle: int, read: Callable[[Any], Any] = decode) -> None:
        self.machine = machine
        self.handle = handle
        self._read = read
        self._taken: list[Any] = []

    @property
    def done(self) -> bool:
        return bool(self._taken) or self.machine.vm.is_completed(self.handle)

    @property
    def failed(self) -> bool:
        """Whether the result is there, and is a failure."""
        if self.done and not self._taken:
            self._taken.append(self.machine.take(self.handle))
        return self.done and isinstance(self._taken[0], core.PyFailure)

    @property
    def tree(self) -> Tree:
        return core.PyUnresolvedFuture.single(self.handle)

    def take(self) -> Any:
        """Return the result, which is there.

        Raises:
            TerminalError: If it is a failure.
        """
        if not self._taken:
            self._taken.append(self.machine.take(self.handle))
        (found,) = self._taken
        if isinstance(found, core.PyFailure):
            raise TerminalError(found.message, code=found.code, metadata=dict(found.metadata or ()))
        return self._read(found)

    def __await__(self) -> Generator[Tree, None, Any]:
        if not self.done:
            yield self.tree
        return self.take()


class Sent(Future):
    """A message, or a call. It is awaited for its output; its id is told to who asks."""

    id = None

    def __init__(self, machine: Machine, told: int, handle: int | None = None) -> None:
        super().__init__(machine, -1 if handle is None else handle)
        self.told = Future(machine, told, str)

    async def attached(self) -> None:
        """Attach to a message, so that it can be awaited together with others."""
        if self.handle < 0:
            self.handle = self.machine.vm.attach_invocation(await self.told)

    def __await__(self) -> Generator[Tree, None, Any]:
        yield from self.attached().__await__()
        return (yield from super().__await__())


class Done:
    """What is done when it is asked for."""

    def __init__(self, result: Any = None) -> None:
        self._result = result

    def __await__(self) -> Generator[Tree, None, Any]:
        return self._result
        yield


class Awaited:
    """Some of several results, which one tree stands for."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def __await__(self) -> Generator[Tree, None, None]:
        yield self._tree


def any_of(trees: Iterable[Tree]) -> Tree:
    return core.PyUnresolvedFuture.first_completed(list(trees))


def all_of(trees: Iterable[Tree]) -> Tree:
    return core.PyUnresolvedFuture.all_completed(list(trees))


class SdkProgram(Program):
    """One run of one node."""

    def __init__(self, process: Process, issuer: Issuer, data: bytes, machine: Machine | None = None) -> None:
        super().__init__(process, issuer, data)
        self._machine = machine
        self._cancellations = 0
        self._random: Random | None = None
        self._sleeps = 0
        self._cleared: set[str] = set()
        """The entries that it has cleared, which the state machine lists all the same."""

    @property
    def machine(self) -> Machine:
        assert self._machine is not None
        return self._machine

    @property
    def random(self) -> Random:
        if self._random is None:
            self._random = Random(self.machine.seed)
        return self._random

    # --- cancellations ---

    def cancelled(self) -> TerminalError:
        """Return what is raised where it waits."""
        self._cancellations += 1
        return TerminalError("cancelled", code=409)

    def is_told(self) -> bool:
        return self._cancellations > 0

    @property
    def cancellations(self) -> int:
        return self._cancellations

    # --- commands ---

    def issue(self, command: c.Command) -> Any:
        machine, vm = self.machine, self.machine.vm
        machine.issues()
        with machine.checked():
            match command:
                case c.GetState(name):
                    return Future(machine, vm.sys_get_state(name, None))
                case c.StateKeys():
                    cleared = set(self._cleared)
                    return Future(machine, vm.sys_get_state_keys(None), lambda names: sorted({*names} - cleared))
                case c.SetState(name, value):
                    self._cleared.discard(name)
                    return Done(vm.sys_set_state(name, value, None))
                case c.ClearState(name):
                    self._cleared.add(name)
                    return Done(vm.sys_clear_state(name, None))
                case c.ClearAllState():
                    return Done(vm.sys_clear_all_state(None))
                case c.Sleep(milliseconds):
                    machine.delays.append(milliseconds)
                    return Future(machine, vm.sys_sleep(milliseconds, None), lambda _: None)
                case c.Call(target, input, key):
                    call = vm.sys_call(target.service, target.handler, input, target.key, key, None, None, None)
                    return Sent(machine, call.invocation_id_handle, call.result_handle)
                case c.Send(target, input, delay, key):
                    if delay:
                        machine.delays.append(delay)
                    told = vm.sys_send(
                        target.service, target.handler, input, target.key, delay or None, key, None, None, None
                    )
                    return Sent(machine, told)
                case c.Run(name, closure, retry):
                    run = vm.sys_run(name)
                    if not run.replayed:
                        machine.steps[run.handle] = closure, retry
                    return Future(machine, run.handle)
                case _:
                    return self._ask_others(command)

    def _ask_others(self, command: c.Command) -> Any:
        machine, vm = self.machine, self.machine.vm
        match command:
            case c.Awakeable():
                id, handle = vm.sys_awakeable()
                future = Future(machine, handle)
                machine.awakeables[handle] = id
                return future
            case c.Signal(name):
                return Future(machine, vm.sys_signal(name))
            case c.GetPromise(name):
                return Future(machine, vm.sys_get_promise(name))
            case c.PeekPromise(name):
                return Future(machine, vm.sys_peek_promise(name))
            case c.Complete(id, outcome):
                vm.sys_complete_awakeable_success(id, outcome.value)
                return Done("perhaps")
            case c.SendSignal(id, name, outcome):
                vm.sys_complete_signal_success(id, name, outcome.value)
                return Done("perhaps")
            case c.CompletePromise(name, outcome):
                return _Kept(machine, vm.sys_complete_promise_success(name, outcome.value))
            case _:
                raise AssertionError(command)

    def sleep(self, milliseconds: int) -> Any:
        self._sleeps += 1
        if self._sleeps > self.machine.known_sleeps:
            self.world.waits.works(self.ref, milliseconds / 1000)
        return self.issue(c.Sleep(milliseconds))

    def awakeable(self, result: Any) -> str:
        return str(self.machine.awakeables[result.handle])

    def sees_call(self, path: str, how: str, node: int, call: Any) -> None:
        self.see(path, how, node, None)  # the id is told later; see `Endpoints.made`

    async def begin(self, op: Op, path: str) -> Any:
        begun = await super().begin(op, path)
        if op.kind == "invoke" and crc32(path.encode()) % 4 == 0:
            self.see(path, "id", op.node, await begun.told)
        return begun

    async def cancel(self, call: Any) -> None:
        if isinstance(call, Sent):
            id = await call.told
            with self.machine.checked():
                self.machine.vm.sys_cancel(id)

    # --- steps ---

    def step_begins(self, step: Any, path: str, seen: list[Any], how: str) -> int:
        self.world.runs.steps += 1
        self.world.note(self.process, "runs step", self.attempt.id, path, f"#{self.world.runs.steps}")
        # What a shared handler reads of its key's state is not durable before the answer is.
        if self.attempt.kind is not Kind.SHARED and not self.process.frozen:
            self.world.runs.snapshots.setdefault(self.ref, []).append((len(seen), to_json(seen)))
        return self.world.runs.steps

    def step_fails(self, step: Any) -> None:
        pass

    def step_is_cut(self, step: Any) -> None:
        pass

    # --- several ---

    async def operations(self, op: Op, path: str) -> list[Any]:
        pendings = await super().operations(op, path)
        for pending in pendings:
            if isinstance(pending, Sent):
                await pending.attached()
        return pendings

    async def first(self, pendings: list[Any]) -> int:
        if not any(pending.done for pending in pendings):
            await Awaited(any_of([pending.tree for pending in pendings]))
        return [pending.done for pending in pendings].index(True)

    async def together(self, pendings: list[Any]) -> None:
        if not all(pending.done for pending in pendings):
            await Awaited(all_of([pending.tree for pending in pendings if not pending.done]))
        for pending in pendings:
            pending.take()

    async def completed(self, op: Op, path: str) -> None:
        pendings = await self.operations(op, path)
        left = list(range(len(pendings)))
        while left:
            number = left.pop(await self.first([pendings[each] for each in left]))
            self.see(path, "completed", number)
            await self.end(op.branches[number][0], f"{path}/{number}.0", pendings[number])

    async def timeout(self, op: Op, path: str) -> None:
        inner, at = op.branches[0][0], f"{path}/0.0"
        pending = await self.begin(inner, at)
        pendings = [pending, self.sleep(op.n)]
        patient = any(each.times for each in self.world.plan.reached(self.node.id))
        self.world.runs.late(self.ref, path, op.n / 1000, over=False)
        number = await self.first(pendings)
        if not patient:
            self.world.runs.late(self.ref, path, op.n / 1000, over=True)
        if number:
            self.see(path, "timeout")
            if op.how != "await":
                return
        await self.end(inner, at, pending)

    async def tree(self, op: Op, path: str) -> None:
        """Wait for all of some, or for all of the others; or for one of some, and for one of the others."""
        pendings = await self.operations(op, path)
        half = len(pendings) // 2
        groups = [pendings[:half], pendings[half:]]
        inner, outer = (any, all) if op.how == "all of any" else (all, any)
        trees = {any: any_of, all: all_of}

        def resolved(group: list[Any]) -> bool:
            return inner(pending.done for pending in group)

        while not outer(resolved(group) for group in groups):  # the state machine goes on for a part of a tree, too
            left = [[each.tree for each in group if not each.done] for group in groups if not resolved(group)]
            await Awaited(trees[outer](trees[inner](group) for group in left))
        self.see(path, "tree", [pending.done for pending in pendings])
        for number, (pending, branch) in enumerate(zip(pendings, op.branches, strict=True)):
            await self.end(branch[0], f"{path}/{number}.0", pending)

    async def succeeds(self, op: Op, path: str) -> None:
        """Wait for the first of several that succeeds, or until all have failed; or for all of them to succeed, or the
        first that fails."""
        pendings = await self.operations(op, path)
        first = op.how == "first succeeded"

        def resolved() -> bool:
            return all(each.done for each in pendings) or any(each.done and each.failed != first for each in pendings)

        while not resolved():
            with self.machine.awaits(m.FIRST_SUCCEEDED if first else m.ALL_SUCCEEDED):
                await Awaited(any_of([each.tree for each in pendings if not each.done]))
            self.machine.resumed -= not resolved()
        self.see(path, "tree", [each.done for each in pendings])
        for number, (pending, branch) in enumerate(zip(pendings, op.branches, strict=True)):
            await self.end(branch[0], f"{path}/{number}.0", pending)

    async def op(self, op: Op, path: str) -> None:
        if op.kind != "tree":
            await super().op(op, path)
        else:
            await (self.succeeds if op.how.endswith("succeeded") else self.tree)(op, path)


class _Kept(Future):
    """Whether a promise is kept by this."""

    def take(self) -> Any:
        try:
            super().take()
        except TerminalError as error:
            if error.code != 409:
                raise
            return "refused"
        return "accepted"
