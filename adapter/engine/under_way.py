"""What the code of a session has asked for and has no result of yet: one table, by invocation and command.

The table is data. `adapter.engine.work` runs what it holds, and the results come back as events.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, get_args

from adapter.engine import commands as c
from adapter.engine.events import Event, Events
from adapter.engine.execution import Execution
from adapter.engine.journal import StepRetried
from adapter.engine.keys import KeyState
from adapter.engine.known_key import Key
from adapter.engine.types import Outcome
from adapter.frozen import frozen

Name = tuple[str, int]
"""An invocation's id and a command's number. What the session reads for itself has other names of this form."""

REQUIRED = frozenset({c.Cancel, c.Complete, c.SendSignal, c.CompletePromise})
"""The commands that are carried out even if the handler returns without awaiting them."""


@frozen
class Sleep:
    """A sleep, until a time in milliseconds."""

    due: int


@frozen
class Step:
    """A step.

    Attributes:
        retry: The tries of earlier attempts; ``None`` if there are none.
    """

    execution: Execution
    command: c.Run
    retry: StepRetried | None = None


@frozen
class Request:
    """A request to another record."""

    execution: Execution
    command: c.OutboundRequest


@frozen
class Read:
    """A state read.

    Attributes:
        state: The key's state when the code asked; ``None``: as it is stored when it is read.
    """

    execution: Execution
    command: c.GetState | c.StateKeys
    state: KeyState | None


@frozen
class Load:
    """The session reads a key's head or its inbox."""

    key: Key


@frozen
class Refresh:
    """The session reads the notifications to an invocation."""


Task = Sleep | Step | Request | Read | Load | Refresh


class Stage(Enum):
    """How far a task is."""

    ASKED = "it begins after the next commit"
    NEXT = "it begins when the code is blocked"
    RUNNING = "it runs"
    WAITING = "it waits for its time, or its event waits for the code"

    __hash__ = object.__hash__  # an enum's own hashes the name each time


@dataclass(slots=True, eq=False)
class Entry:
    """One line of the table."""

    task: Task
    stage: Stage
    run: asyncio.Task[None] | None = None
    """What runs it."""


_NO_ENTRIES: Final[dict[object, int]] = dict[object, int].fromkeys((*get_args(Task), *Stage), 0)


class UnderWay:
    """The table of one session.

    Args:
        executions: The executions that run, by their ids.
        events: Where results go that are there already.
    """

    def __init__(self, executions: Mapping[str, Execution], events: Events) -> None:
        self._executions = executions
        self._events = events
        self._entries: dict[Name, Entry] = {}
        self._counts = dict(_NO_ENTRIES)
        """How many entries there are of each type and in each stage, so that no turn reads the whole table."""

    # --- what the code asks for ---

    def sleep(self, execution: Execution, n: int, due: int) -> None:
        """Post an event at a time, in milliseconds."""
        self.put((execution.meta.id, n), Sleep(due), Stage.WAITING)

    def request(self, execution: Execution, n: int, request: c.OutboundRequest) -> None:
        """Make an outbound request after the next commit."""
        self.put((execution.meta.id, n), Request(execution, request), Stage.ASKED)
        if request.__class__ in REQUIRED:
            execution.required_requests += 1

    def step(self, execution: Execution, n: int, command: c.Run, *, at_once: bool = False) -> None:
        """Start a step at once or after the next commit, unless it was started before a rewind."""
        execution.issued_here.add(n)
        name = execution.meta.id, n
        if n in execution.step_results:
            self.post_step(execution, n)
        elif name in self._entries and self._entries[name].stage is Stage.RUNNING:
            pass
        else:
            if at_once:
                execution.deferred.add(n)
            assert execution.attempt is not None
            step = Step(execution, command, execution.attempt.retries.get(n))
            self.put(name, step, Stage.NEXT if at_once else Stage.ASKED)

    def read(self, execution: Execution, n: int, command: c.GetState | c.StateKeys, state: KeyState | None) -> None:
        """Read state from the store."""
        self.put((execution.meta.id, n), Read(execution, command, state), Stage.NEXT)

    def post_step(self, execution: Execution, n: int) -> None:
        """Post the result of a step, or the error that it raised."""
        result = execution.step_results[n]
        at = execution.meta.id, n
        self._events.post(Event(*at, result) if isinstance(result, Outcome) else Event(*at, error=result))

    # --- what the session sees ---

    @property
    def is_new(self) -> bool:
        """True if there are steps or outbound requests that have not begun."""
        return self._counts[Stage.ASKED] > 0

    @property
    def running(self) -> int:
        """The number of tasks that run."""
        return self._counts[Stage.RUNNING] + self._counts[Stage.NEXT]

    @property
    def loading(self) -> bool:
        """True if the session reads a head or an inbox."""
        return self._counts[Load] > 0

    @property
    def reading(self) -> bool:
        """True if heads, inboxes or state are read. What the code then does may depend on them."""
        return self._counts[Load] + self._counts[Read] > 0

    @property
    def reads_state(self) -> bool:
        """True if there are state reads whose results are not in the log. Until then no write is committed that they
        must not see."""
        return self._counts[Read] > 0

    def holds_up(self, execution: Execution) -> bool:
        """Return True if an execution's failure has to wait for steps or reads that are under way, or for the result of
        a step that the code has not seen."""
        for name, entry in self._entries.items():
            match entry.task:
                case Read(reader) if reader is execution:
                    return True
                case Step() if entry.stage is not Stage.ASKED and name[0] == execution.meta.id:
                    return True
                case _:
                    pass
        return any(
            event.id == execution.meta.id and event.n in execution.step_results for event in self._events.waiting
        )

    def has_begun(self, name: Name) -> bool:
        """Return True if there is an entry of this name, and it runs."""
        entry = self._entries.get(name)
        return entry is not None and entry.stage is Stage.RUNNING

    def due(self, name: Name) -> int | None:
        """Return when a sleep ends; ``None`` if the command is no sleep."""
        entry = self._entries.get(name)
        return entry.task.due if entry is not None and isinstance(entry.task, Sleep) else None

    def next_timer(self) -> int | None:
        """Return when the next sleep ends that code awaits."""
        if not self._counts[Sleep]:
            return None
        awaited = (
            due
            for (id, n), due in self._sleeps()
            if (execution := self._executions.get(id)) and execution.attempt and n < len(execution.attempt.operations)
            and execution.attempt.operations[n].awaited
        )  # fmt: skip
        return min(awaited, default=None)

    @property
    def sleeps(self) -> bool:
        """True if there are sleeps."""
        return self._counts[Sleep] > 0

    def due_timers(self, now: int) -> list[Name]:
        """Return the sleeps that have ended, in their order."""
        if not self._counts[Sleep]:
            return []
        return [name for _, name in sorted((due, name) for name, due in self._sleeps() if due <= now)]

    def in_stage(self, stage: Stage) -> list[tuple[Name, Entry]]:
        """Return the entries of a stage, in the order in which they came to the table."""
        if not self._counts[stage]:
            return []
        return [(name, entry) for name, entry in self._entries.items() if entry.stage is stage]

    def _sleeps(self) -> Iterable[tuple[Name, int]]:
        for name, entry in self._entries.items():
            if isinstance(entry.task, Sleep):
                yield name, entry.task.due

    # --- changes of the table ---

    def put(self, name: Name, task: Task, stage: Stage) -> Entry:
        """Add an entry, in the place of one of the same name."""
        if name in self._entries:
            self.remove(name)
        entry = self._entries[name] = Entry(task, stage)
        self._counts[type(task)] += 1
        self._counts[stage] += 1
        return entry

    def move(self, entry: Entry, stage: Stage) -> None:
        """Set an entry's stage."""
        self._counts[entry.stage] -= 1
        self._counts[stage] += 1
        entry.stage = stage

    def remove(self, name: Name) -> Entry | None:
        """Remove an entry, and return it."""
        entry = self._entries.pop(name, None)
        if entry is not None:
            self._counts[type(entry.task)] -= 1
            self._counts[entry.stage] -= 1
        return entry

    def take_read(self, name: Name) -> Read | Load | None:
        """Remove what was read, now that its event is handled."""
        entry = self._entries.get(name)
        if entry is None or not isinstance(entry.task, Read | Load):
            return None
        self.remove(name)
        return entry.task

    def entry(self, name: Name) -> Entry:
        """Return an entry that is in the table."""
        return self._entries[name]

    def on_end(self, name: Name, entry: Entry) -> None:
        """Take note that nothing runs any more for an entry. What was read stays until its event is handled."""
        entry.run = None
        if self.holds(name, entry):
            if isinstance(entry.task, Read | Load):
                self.move(entry, Stage.WAITING)
            else:
                self.remove(name)

    def holds_name(self, name: Name) -> bool:
        """Return True if there is an entry of this name."""
        return name in self._entries

    def holds(self, name: Name, entry: Entry) -> bool:
        """Return True if the entry is still in the table."""
        return self._entries.get(name) is entry

    def drop(self, execution: Execution) -> None:
        """Drop an execution's sleeps, and what has not begun of its work."""
        for name, entry in list(self._entries.items()):
            match entry.task:
                case Sleep():
                    dropped = name[0] == execution.meta.id
                case Step() | Request() as task:
                    dropped = entry.stage in (Stage.ASKED, Stage.NEXT) and task.execution is execution
                case _:
                    dropped = False
            if dropped:
                self.remove(name)

    def rewind(self) -> list[asyncio.Task[None]]:
        """Drop all but the steps and the reads of notifications that run for executions that are still there.

        The replay asks for the rest again. It does not ask for these reads, which are of what is counted already.
        Deferred steps whose command is not committed are dropped too: the replay may go another way. Return what runs
        for the dropped entries.
        """
        dropped = {(id, n) for id, execution in self._executions.items() for n in execution.forget_deferred()}
        stopped: list[asyncio.Task[None]] = []
        for name, entry in list(self._entries.items()):
            runs_on = isinstance(entry.task, Step | Refresh) and entry.stage is Stage.RUNNING
            if not runs_on or name[0] not in self._executions or name in dropped:
                self.remove(name)
                if entry.run is not None:
                    stopped.append(entry.run)
        return stopped

    def runs(self) -> list[asyncio.Task[None]]:
        """Return all that runs."""
        return [entry.run for entry in self._entries.values() if entry.run is not None]
