"""How long each invocation waited, and for what: nobody waits longer than the work in front of it and what went wrong.

While a simulation runs, `Waits` writes down what takes time. When it is over, `check` subtracts that from the time
that each invocation took. What is left is time in which nothing happened for it; little may be.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

from adapter.engine.ports import Change, Conflict, Create, MarkQueued, TakeKey, Update, WriteHead
from adapter.engine.records import Ref
from adapter.engine.types import ObjectKey
from tests.simulation.plan import Op

if TYPE_CHECKING:
    from tests.simulation.aftermath import Aftermath
    from tests.simulation.watch import Ended
    from tests.simulation.world import World

Span = tuple[float, float]

IDLE = 2.0
"""Seconds that an invocation may wait for nothing, beside what its requests take."""

NOTICE = 1.5
"""Seconds after its completion that a client is answered at the latest, beside what requests take."""

ORDER = 2.0
"""Seconds by which the order of arrival may differ from that of the requests, as clocks do."""

TOLD = ("awakeable", "signal", "promise", "join", "tree")
"""Results that other processes may give to an attempt that runs, each alone or in a tree. They give results of calls,
too: those come late only while something else in its session is at work."""

LOOK = 3.2
"""Seconds after which an attempt that runs looks for what others have told it."""

POLL = 1.0
"""Seconds after which a process looks that holds an attempt for a client."""

REQUESTS = 4
"""Requests that one operation of a program, or one turn with a key, takes in sequence at most."""

LOSSES = 80
"""How often a process may lose a key to others in a row; more than one of its sessions may try."""

TAKES = 4
"""How often one request may find that another has taken the free key that it wants. After that it goes to the inbox."""

MARKS = 8
"""How often in a row a process may be refused to tell a key's owner that somebody waits. After that it waits for up to
two seconds before each try, and in a Lambda function the answer to its client waits along."""

STANDSTILL = 20
"""How often commits that write one key or record may be refused, each process's share, without one that applies."""

RECOVERY = 100.0
"""Seconds after which somebody sweeps up what lost its dispatch: a grace, and the time between two sweeps."""

REFUSED = 5.0
"""Seconds that a request which fails once may cost: until it is known, until the next try, and that."""

LEASE = 62.0
"""Seconds after which a process that ended is missed at the latest."""


class Waits:
    """What takes time in a simulation."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._busy: dict[Ref, list[Span]] = defaultdict(list)
        """For each invocation, when it was at work, or waited for a time."""
        self._steps: dict[Ref, list[Span]] = defaultdict(list)
        """For each invocation, when its steps ran."""
        self._ran_in: dict[Ref, dict[object, None]] = defaultdict(dict)
        """The sessions that each invocation ran in."""
        self._ran: dict[object, dict[Ref, None]] = defaultdict(dict)
        """The invocations that ran in each session."""
        self.issued: dict[str, float] = {}
        """When each invocation was first asked for, or first ran, by its id; perhaps by an attempt that is undone."""
        self.asked: dict[str, float] = {}
        """When a client asked for it."""
        self.made: dict[Ref, float] = {}
        """When it was stored, or when it is to begin, if that is later."""
        self.ended: dict[Ref, float] = {}
        """When each was stored as completed."""
        self._owned: dict[ObjectKey, list[tuple[float, float, Ref]]] = defaultdict(list)
        self._owner: dict[ObjectKey, tuple[float, Ref]] = {}
        self._mishaps: list[tuple[float, float]] = []
        """When something went wrong, and the seconds that this may have cost."""
        self._failures: dict[str, int] = defaultdict(int)
        self._losses: dict[tuple[str, str], int] = defaultdict(int)
        self.tickets: dict[Ref, str] = {}
        """The place of each invocation in its key's inbox, if it had one."""
        self._refused: dict[str, int] = defaultdict(int)
        self._missed: dict[Ref, int] = defaultdict(int)
        """How often each request for a key has found that another was first."""
        self._marks: dict[tuple[str, str], int] = defaultdict(int)
        """How often in a row a process could not tell a key's owner that somebody waits."""

    # --- while it runs ---

    def _now(self) -> float:
        return self._world.loop.time()

    def works(self, ref: Ref, seconds: float) -> None:
        """An invocation has something to do, or to wait for, that takes so long."""
        now = self._now()
        self._busy[ref].append((now, now + seconds))

    def runs_step(self, ref: Ref, seconds: float) -> None:
        """An invocation runs a step that takes so long."""
        self.works(ref, seconds)
        self._steps[ref].append(self._busy[ref][-1])

    def fails(self, ref: Ref) -> None:
        """An attempt fails, and the next one waits."""
        self._failures[ref.id] += 1
        self.works(ref, min(60.0, 0.5 * 2 ** self._failures[ref.id]))

    def runs(self, ref: Ref, session: object) -> None:
        """An invocation begins to run in a session."""
        self.issues(ref.id)
        self._ran_in[ref][session] = None
        self._ran[session][ref] = None

    def issues(self, id: str) -> None:
        """An invocation is asked for, perhaps for the first time."""
        self.issued.setdefault(id, self._now())

    def makes(self, ref: Ref, delay: float) -> None:
        """An invocation is stored, to begin after a delay."""
        self.issues(ref.id)
        self.made[ref] = self._now() + delay

    def owns(self, key: ObjectKey, owner: Ref | None) -> None:
        """A key has an owner, or none."""
        before = self._owner.get(key)
        if before is not None and before[1] != owner:
            self._owned[key].append((before[0], self._now(), before[1]))
            del self._owner[key]
        if owner is not None and (before is None or before[1] != owner):
            self._owner[key] = self._now(), owner

    def ends(self, ref: Ref) -> None:
        """An invocation is stored as completed."""
        self.ended.setdefault(ref, self._now())

    def mishap(self, seconds: float) -> None:
        """Something goes wrong that may cost so long."""
        self._mishaps.append((self._now(), seconds))

    def tells(self, process: str, changes: Sequence[Change], *, refused: bool) -> None:
        """A commit that tells a key's owner that somebody waits was tried."""
        for key in (str(change.key) for change in changes if isinstance(change, MarkQueued)):
            self._marks[process, key] = self._marks[process, key] + 1 if refused else 0
            if self._marks[process, key] >= MARKS:
                self.mishap(2.0)

    def loses(self, process: str, changes: Sequence[Change]) -> None:
        """A commit was refused for what others have written, or are writing.

        Edits of state are not counted. An operator repeats them while a process gets no answers. Dozens compete with
        each other then, and with nobody else.
        """
        if not any(isinstance(change, Create | Update) for change in changes):
            return
        for name in _written(changes):
            self._losses[process, name] += 1
            self._refused[name] += 1
            most = STANDSTILL * (1 + len({process for process, other in self._losses if other == name}))
            if self._losses[process, name] > LOSSES and "/" in name:
                self._world.violation(f"{process} has lost {name} {LOSSES} times in a row")
            elif self._refused[name] > most:
                self._world.violation(f"{name} was refused to all {most} times in a row")

    def misses(self, changes: Sequence[Change], conflict: Conflict) -> None:
        """A commit was refused. If it was to make invocations that take a free key, others have written its head."""
        if any(isinstance(changes[place], WriteHead) for place in conflict.found):
            for change in changes:
                if isinstance(change, Create) and change.meta.kind.exclusive:
                    self._missed[change.meta.ref] += 1
                    if self._missed[change.meta.ref] > TAKES:
                        self._world.violation(f"{change.meta.id} was late at a free key more than {TAKES} times")

    def wins(self, process: str, changes: Sequence[Change]) -> None:
        """A commit was applied."""
        taken = [str(change.key) for change in changes if isinstance(change, TakeKey)]
        for name in (*_written(changes), *taken):
            self._losses.pop((process, name), None)
            self._refused.pop(name, None)

    # --- when it is over ---

    def injected(self, since: float, until: float) -> float:
        """Return the seconds that what went wrong may have cost in a time."""
        if self._world.reach & {"wakes", "stale"}:  # each slow request costs no more than its time
            return until - since - uncovered(since, until, [(at, at + seconds) for at, seconds in self._mishaps])
        return sum(seconds for at, seconds in self._mishaps if at <= until and at + seconds >= since)

    def began(self, end: Ended) -> float:
        """Return when an invocation could begin."""
        made = self.made[end.meta.ref]
        return min(made, self.asked.get(end.meta.id, made))

    def busy(self, end: Ended) -> list[Span]:
        return self._busy.get(end.meta.ref, [])

    def beside(self, end: Ended) -> list[Span]:
        """Return when others were at work that ran in a session with an invocation."""
        return [span for ref in self.neighbours(end) for span in self._busy.get(ref, [])]

    def neighbours(self, end: Ended) -> list[Ref]:
        """Return the others that ran in a session with an invocation."""
        refs = {ref: None for session in self._ran_in.get(end.meta.ref, ()) for ref in self._ran[session]}
        return [ref for ref in refs if ref != end.meta.ref]

    def steps(self, ref: Ref) -> list[Span]:
        return self._steps.get(ref, [])

    def held(self, key: ObjectKey) -> list[tuple[float, float, Ref]]:
        return self._owned.get(key, [])


def check(after: Aftermath) -> None:
    """Look for invocations that waited for nothing, and for clients that were answered late."""
    _Check(after).run()


class _Check:
    def __init__(self, after: Aftermath) -> None:
        self.after = after
        self.world = after.world
        self.waits = after.world.waits
        self.request = 2 * self.world.jitter + self.world.conflict
        """Seconds that a request takes at most."""
        self.by_key: dict[ObjectKey, list[Ended]] = defaultdict(list)
        for end in after.ends.values():
            if end.meta.kind.exclusive:
                self.by_key[end.meta.target.object].append(end)

    def run(self) -> None:
        for end in self.after.ends.values():
            self.idle(end)
        self.answers()

    def idle(self, end: Ended) -> None:
        """An invocation has completed as soon as it could."""
        meta = end.meta
        began, ended = self.waits.began(end), self.waits.ended[meta.ref]
        trace = self.after.trace(end)
        others = self.others(end, trace)
        spans = [*self.waits.busy(end), *others, *self.front(end, began)]
        idle = uncovered(began, ended, spans)
        beside = idle - uncovered(began, ended, spans + self.waits.beside(end))
        idle -= min(beside, LOOK * len(others))
        told = any(what in TOLD for _, what, *_ in trace)
        allowed = IDLE + told * LOOK + (len(trace) + 4) * REQUESTS * self.request
        if "held" in self.world.reach:
            allowed += sum(min(POLL, until - since) for since, until in others)
        if self.world.always_replay:  # each write of what runs beside it begins it anew
            allowed *= 2
        if idle > allowed and idle > allowed + self.waits.injected(began, ended):
            injected = self.waits.injected(began, ended)
            self.after.fail(
                f"{meta.id} ({meta.target}) waited {idle:.1f} s of {ended - began:.1f} s for nothing, where "
                f"{allowed:.1f} s and {injected:.1f} s for what went wrong do"
            )

    def others(self, end: Ended, trace: list[Any]) -> list[Span]:
        """When others were at work whose results it wants."""
        found: list[Ended] = []
        for path, what, *values in trace:
            if what in ("call", "caught", "send", "join", "forget", "cancelled", "glance", "withdrawn"):
                found += self.after.by_id.get(self.after.child(end.meta, values), [])
            elif path and what in ("awakeable", "signal", "promise") and self.op(end, path).node >= 0:
                found += self.after.by_node.get(self.op(end, path).node, [])
        if not trace:  # it was cancelled or killed, or was given up, and does not say whom it called
            plan = self.after.plan
            nodes = {op.node for op in plan.reached(from_json(end.input)["n"]) if op.node >= 0}
            for node in sorted(node for node in nodes if plan.nodes[node].idempotency is not None):
                found += self.after.by_node.get(node, [])  # perhaps it waited for a call of somebody else
            found += [
                other
                for other in self.after.ends.values()
                if other.meta.parent is not None and other.meta.parent.ref == end.meta.ref
            ]
            for (ref, _), ids in self.world.endpoints.made.items():
                if ref == end.meta.ref:
                    found += [other for id in sorted(ids) for other in self.after.by_id.get(id, [])]
        return [(self.waits.issued[other.meta.id], self.waits.ended[other.meta.ref]) for other in found]

    def op(self, end: Ended, path: str) -> Op:
        return self.after.op(end.meta, path)

    def front(self, end: Ended, began: float) -> list[Span]:
        """When its key was of use to those in front of it."""
        meta = end.meta
        if not meta.kind.exclusive:
            return []
        key, turn = meta.target.object, REQUESTS * self.request
        ticket = self.waits.tickets.get(meta.ref, "")
        earlier = {
            other.meta.ref
            for other in self.by_key[key]
            if other is not end
            # A ticket is taken when the key is requested, and the entry may be stored a while after that.
            if self.waits.began(other) <= began + ORDER or self.waits.tickets.get(other.meta.ref, "~") < ticket
        }
        held = [(since, until + turn) for since, until, ref in self.waits.held(key) if ref in earlier]
        return held + [(self.waits.ended[ref] - turn, self.waits.ended[ref] + turn) for ref in earlier]

    def answers(self) -> None:
        """A client is answered once its invocation has completed."""
        for asked in self.world.clients.asked:
            if asked.id is None or not asked.accepted or asked.outcome is None or asked.answered is None:
                continue
            if asked.root.how != "call" or not asked.arrived:
                continue
            for end in self.after.by_id[asked.id]:
                completed = self.waits.ended[end.meta.ref]
                late = uncovered(completed, asked.answered, self.left(end) if asked.of_lambda else [])
                allowed = NOTICE + 2 * REQUESTS * self.request
                if late > allowed and late > allowed + self.waits.injected(completed, asked.answered):
                    self.after.fail(f"{asked.id} ({end.meta.target}) was answered {late:.1f} s after it completed")

    def left(self, end: Ended) -> list[Span]:
        """When steps ran beside it of calls that it had made and not waited for. A Lambda function answers after them,
        and an aborted step takes two seconds."""
        calls = [ref for ref in self.waits.neighbours(end) if self.descends(ref, end.meta.ref)]
        return [span for ref in calls for span in self.waits.steps(ref)]

    def descends(self, ref: Ref, caller: Ref) -> bool:
        """Whether an invocation is a call of another one, or of its calls."""
        while (end := self.after.ends.get(ref)) is not None and end.meta.parent is not None:
            ref = end.meta.parent.ref
            if ref == caller:
                return True
        return False


def _written(changes: Sequence[Change]) -> list[str]:
    """The keys and records that others may write at the same time."""
    names = [str(change.head.key) for change in changes if isinstance(change, WriteHead)]
    return names + [change.ref.id for change in changes if isinstance(change, Update) and change.epoch is None]


def uncovered(since: float, until: float, spans: list[Span]) -> float:
    """Return the seconds of a time that no span covers."""
    left, at = 0.0, since
    for begin, end in sorted(spans):
        if begin >= until:
            break
        if begin > at:
            left += begin - at
        at = max(at, end)
    return left + max(0.0, until - at)
