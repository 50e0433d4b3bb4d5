"""The runs of programs: what they tell while they run, and what must hold of it there and then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from adapter.engine.journal import AttemptStarted, ResultDelivered
from adapter.engine.records import Meta, Ref
from tests.simulation import sessions
from tests.simulation.waits import uncovered

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.program import Program
    from tests.simulation.world import World

PUNCTUAL = 2.0
"""Seconds by which something may be late though nothing goes wrong, beside the requests of the processes it ran in."""


class Runs:
    """The runs of a simulation's programs."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.hosts: dict[Ref, set[Process]] = {}
        """The processes that each invocation ran in."""
        self.authors: dict[Ref, str] = {}
        """For each invocation, the deployment whose code wrote its journal last."""
        self.snapshots: dict[Ref, list[tuple[int, bytes]]] = {}
        """For each invocation and generation: how much it had observed when it did something, and what."""
        self.steps = 0
        """How many steps have begun, of all invocations."""
        self.begun: Counter[tuple[Ref, str]] = Counter()
        """How often each step began."""
        self.started_once: set[tuple[Ref, str]] = set()
        """The steps that began, of those that are to run at most once."""
        self.stopped: set[Ref] = set()
        """The invocations that an operator has paused while an attempt ran."""
        self.finished: set[tuple[Ref, str]] = set()
        """The steps that have ended."""
        self.stumbled: dict[tuple[str, str], int] = {}
        """How often each thing was tried that fails a few times."""
        self.failed_at: dict[tuple[Ref, int], int] = {}
        """When each attempt failed that asked to wait, in milliseconds. Code of an attempt that is not claimed may run
        twice at a time: the first failure counts."""
        self.asked_until: dict[tuple[Ref, str], float] = {}
        """Until when each step asked to wait that failed."""
        self.watched: dict[tuple[Ref, str], float] = {}
        """Since when heartbeats are waited for."""
        self.polls: dict[tuple[Ref, str], list[float]] = {}
        """When each step that is repeated until its result is as wanted ran."""
        self._began: dict[tuple[Ref, str], float] = {}
        self._ended: dict[tuple[Ref, str], float] = {}
        self._begun: dict[str, set[tuple[Ref, int, int]]] = {}
        """The steps that began in each process, by invocation, attempt and command, but for those that failed."""

    def entered(self, program: Program) -> None:
        """A program begins to run."""
        world = self._world
        meta = program.attempt.meta
        self.hosts.setdefault(meta.ref, set()).add(program.process)
        if world.reach & sessions.CROWDED:
            sessions.check_session(world, program)
        world.waits.runs(meta.ref, program.attempt.host)
        world.note(program.process, "runs", meta.id, program.node.id, f"epoch {meta.epoch}")
        here = program.process.deployment
        latest = world.store._record(meta.id)
        # By an attempt that it does not know of yet. If both are not claimed, they have one epoch until one commits.
        overtaken = latest is not None and (latest.epoch > meta.epoch or latest.deployment not in ("", meta.deployment))
        if meta.ref in self.authors and not program.process.frozen and not overtaken:
            if meta.deployment != here:
                world.violation(f"{meta.id} of {meta.deployment} goes on on {here}")
            if meta.id not in world.operators.acted.get("move", ()) and self.authors[meta.ref] != here:
                world.violation(f"{meta.id} began on {self.authors[meta.ref]}, and goes on on {here}")

    def stumbles(self, id: str, path: str, times: int) -> bool:
        """Whether something fails that does so a few times."""
        failed = self.stumbled.get((id, path), 0)
        self.stumbled[id, path] = failed + 1
        return failed < times

    # --- steps ---

    def step_begins(self, program: Program, n: int, path: str, seen: list[Any], how: str) -> int:
        """A step starts: all that was observed before it was issued has to be committed, and it must have no result.

        A deferred one may start earlier. In one attempt it runs again only if its command was not committed. One that
        runs at most once does neither.
        """
        world = self._world
        self.steps += 1
        meta = program.attempt.meta
        world.note(program.process, "steps", meta.id, path, f"#{self.steps}")
        if how == "defer" and "turns" not in world.reach:
            return self.steps
        if how == "once":
            if (meta.ref, path) in self.started_once:
                world.violation(f"{meta.id} ran step {path} again, which is to run at most once")
            self.started_once.add((meta.ref, path))
        begun = self._begun.setdefault(program.process.name, set())
        if (step := (meta.ref, max(meta.epoch, 1), n)) in begun:
            world.violation(f"{meta.id} ran step {path} again in one attempt, though it had not failed")
        begun.add(step)
        if how == "defer":
            return self.steps
        self.begun[meta.ref, path] += 1
        if not program.process.frozen:
            self.check_step(meta, n)
            self.snapshots.setdefault(meta.ref, []).append((len(seen), to_json(seen)))
        return self.steps

    def step_is_lost(self, program: Program, path: str) -> None:
        """A step that runs at most once is said to have no result.

        In ``halted``, it had begun, or an operator has stopped the attempt that was about to begin it.
        """
        ref = program.attempt.meta.ref
        if "halted" in self._world.reach and (ref, path) not in self.started_once and ref not in self.stopped:
            self._world.violation(f"{ref.id} has no result of its step at {path}, which never began")

    def step_is_cut(self, program: Program, n: int) -> None:
        """A step is cut short.

        That is no fault where its process is dead or out of time, or where its session has given up because the store
        serves nobody.
        """
        world = self._world
        process = program.process
        gives_up = any(begin <= world.loop.time() <= end + 1 for begin, end in world.network.outages)
        if not process.frozen and process.engine.process.remaining() > 0 and not world.over.done() and not gives_up:
            self._check_cut(program.attempt.meta, n)

    def step_fails(self, program: Program, n: int) -> None:
        """A step fails: it may begin again."""
        meta = program.attempt.meta
        self._begun.get(program.process.name, set()).discard((meta.ref, max(meta.epoch, 1), n))

    def check_step(self, meta: Meta, n: int) -> None:
        """A step begins in an attempt."""
        world = self._world
        now = world.store._record(meta.id)
        if now is None or now.generation != meta.generation:
            if meta.ref not in world.store.archive:
                world.violation(f"a step of {meta.id} begins, and it is not stored")
            return
        self._check_copied(meta, n)
        for entry in world.store.journal(meta.ref):
            if isinstance(entry, AttemptStarted) and entry.epoch > max(meta.epoch, 1):
                return
            if isinstance(entry, ResultDelivered) and entry.n == n:
                world.violation(f"step {n} of {meta.id} begins again, and has a result")

    def _check_copied(self, meta: Meta, n: int) -> None:
        """A step begins. The invocation whose results were copied has no result of it."""
        world = self._world
        origin = meta.issuer(n)
        if origin == meta.ref or world.waits.ended.get(origin, inf) >= world.operators.copied.get(origin.id, 0.0):
            return  # what runs may get results after they are copied
        if any(isinstance(entry, ResultDelivered) and entry.n == n for entry in world.store.journal(origin)):
            world.violation(f"step {n} of {meta.id} begins, and has a result in {origin.id}")

    def _check_cut(self, meta: Meta, n: int) -> None:
        """A step of an attempt is cut short, and its process goes on."""
        now = self._world.store._record(meta.id)
        if now is not None and now.live and now.ref == meta.ref and now.epoch == max(meta.epoch, 1):
            self._world.violation(f"step {n} of {meta.id} is cut short, and no other attempt has taken over")

    # --- what is to be over by a time ---

    @contextmanager
    def within(self, program: Program, path: str, seconds: float) -> Iterator[None]:
        """Something that is to be over by then, where nothing goes wrong, unless it fails.

        A session commits what all its invocations did together, and its code runs again when that is done. A large
        commit with slow requests takes seconds, so the time in which the processes had requests under way is not
        counted. What others do besides (their steps, their sleeps, their retries) is no reason to be late.
        """
        world = self._world
        ref = program.attempt.meta.ref
        began = world.loop.time()
        if program.attempt.replaying:  # else what came of an earlier pass is not committed
            began = self._began.get((ref, path), began)
        self._began[ref, path] = began
        try:
            yield
        except TimeoutError:  # a later pass may go another way if this one is rewound
            self._ended.setdefault((ref, path), world.loop.time())
            raise
        ended = self._ended.setdefault((ref, path), world.loop.time())  # a replay goes through it later
        smooth = not world.faulty and not world.operators.acted
        if ended > began + seconds + PUNCTUAL and smooth:
            requests = [span for process in self.hosts[ref] for span in process.requests]
            late = uncovered(began + seconds, ended, requests)
            if late > PUNCTUAL and not any(op.times for op in world.plan.reached(program.node.id)):
                world.violation(
                    f"{ref.id} waited for {ended - began} s, not {seconds}, at {path}, {late} s for nothing"
                )

    def late(self, ref: Ref, path: str, seconds: float, *, over: bool) -> None:
        """A handler of the SDK's begins to wait for so long at most, or has waited.

        While an exchange is under way, the handler is not told that a time is over.
        """
        world = self._world
        began = self._began.setdefault((ref, path), world.loop.time())
        if not over:
            return
        ended = self._ended.setdefault((ref, path), world.loop.time())
        if ended > began + seconds + PUNCTUAL and not world.faulty and not world.operators.acted and not world.lambdas:
            requests = [span for process in self.hosts[ref] for span in process.requests]
            exchanges = [(since, until) for since, until in world.endpoints.exchanging[ref]]
            if (late := uncovered(began + seconds, ended, requests + exchanges)) > PUNCTUAL:
                world.violation(
                    f"{ref.id} waited for {ended - began} s, not {seconds}, at {path}, {late} s for nothing"
                )
