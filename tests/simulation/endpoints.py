"""The endpoints of handlers that are written with Restate's SDK: what must hold of the exchanges with them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import inf
from random import Random
from typing import TYPE_CHECKING

from adapter.engine.records import Ref
from tests.simulation.waits import REFUSED

if TYPE_CHECKING:
    from tests.simulation.world import World


class Endpoints:
    """The endpoints of a simulation."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.protocol = 7
        """The version of the protocol that they speak."""
        self.streams = ""
        """``silent`` or ``eager`` if they take streams in both directions: whether they say when they wait."""
        if world.plan.hosted:
            self.protocol = Random(f"{world.seed}/protocol").choice((5, 6, 7, 7))
            self.streams = Random(f"{world.seed}/streams").choice(("", "", "silent", "eager"))
        self.made: dict[tuple[Ref, int], set[str]] = {}
        """For each program that a handler of the SDK's invoked, by that handler: its ids. Attempts that are undone may
        have others."""
        self.journals: dict[Ref, dict[int, tuple[int, bytes]]] = {}
        """What the SDK was sent in each exchange, by the number of its command: the length of the journal, and its
        hash."""
        self.exchanging: dict[Ref, list[list[float]]] = {}
        """When each invocation had an exchange under way, from and to."""
        self.put_off: dict[Ref, tuple[float, bool]] = {}
        """Until when an exchange's error asked to wait, and whether for an operator."""
        self.rested: dict[Ref, dict[int, int]] = {}
        """For each exchange that asked for nothing: how much of what the handler waits for it has got."""

    def fails(self, probability: float) -> bool:
        """Whether something goes wrong with an exchange."""
        world = self._world
        if world.calm or not world.chance(probability):
            return False
        world.waits.mishap(REFUSED)
        return True

    def is_of(self, node: int, metadata: Mapping[str, str]) -> bool:
        """Whether a failure says that it is a program's. Version 5 of the protocol does not tell."""
        return dict(metadata) == {"node": str(node)} or (self.protocol == 5 and not metadata)

    def check_journal(self, ref: Ref, n: int, journal: bytes) -> None:
        """The SDK is sent a journal: in this exchange always the same one, which goes on where an earlier one ended."""
        sent = self.journals.setdefault(ref, {})
        now = len(journal), hashlib.sha1(journal).digest()
        if sent.setdefault(n, now) != now:
            self._world.violation(f"{ref.id} sends another journal as command {n} than before")
        earlier = max((each for each in sent if each < n), default=-1)
        if earlier >= 0:
            length, digest = sent[earlier]
            if length > len(journal) or hashlib.sha1(journal[:length]).digest() != digest:
                self._world.violation(
                    f"{ref.id} sends a journal as command {n} that does not go on from command {earlier}"
                )

    @contextmanager
    def exchange(self, ref: Ref) -> Iterator[None]:
        """Note that an exchange is under way. It does not begin before an error of the last one lets it."""
        world = self._world
        until, paused = self.put_off.pop(ref, (0.0, False))
        resumed = {"resume", "move"} & {what for what, ids in world.operators.acted.items() if ref.id in ids}
        others = set(world.operators.acted) - {"pause", "resume"}
        undisturbed = world.faults.names() in ([], ["jitter"]) and not world.lambdas and not others
        # What an endpoint asks for before its error may need the registry, which then fails the attempt.
        read = "registry" not in world.reach
        undisturbed = undisturbed and read and not world.store.is_cancelled(ref) and not resumed
        if undisturbed and paused:
            world.violation(f"{ref.id} goes on, and its endpoint asked for a pause")
        if undisturbed and not paused and world.loop.time() < until - 0.002 - world.disagreement:
            world.violation(
                f"{ref.id} goes on {until - world.loop.time()} s before the time that its endpoint asked for"
            )
        span = [world.loop.time(), inf]
        self.exchanging.setdefault(ref, []).append(span)
        try:
            yield
        finally:
            span[1] = world.loop.time()

    def rests(self, ref: Ref, n: int, got: int | None) -> None:
        """An exchange ends. If it asks for nothing, it has got at least something of what the handler waits for."""
        rested = self.rested.setdefault(ref, {})
        rested.pop(n, None)
        if got is None:
            return
        if self.protocol >= 7 and got in [before for at, before in rested.items() if at < n]:
            self._world.violation(
                f"{ref.id} asks the endpoint for nothing with command {n}: what it awaits has not come"
            )
        rested[n] = got
