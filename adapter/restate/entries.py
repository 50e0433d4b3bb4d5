"""What an SDK's handler did within its exchanges, for operators: steps and state reads, which are no commands of the
engine."""

from __future__ import annotations

import json
from dataclasses import dataclass

from adapter.engine.types import Outcome
from adapter.restate import messages as m
from adapter.restate.answers import EndpointError, read_answer
from adapter.restate.values import content_of, outcome_of, text_of


@dataclass(frozen=True, slots=True)
class Entry:
    """A step, or a state read that the SDK answered itself.

    Attributes:
        kind: ``run``, ``get`` or ``state-keys``.
        name: The name of the step, or of the state entry.
        completion: The number by which the SDK knows its result; ``None`` if the result is here.
        result: The result, if the entry has it.
    """

    kind: str
    name: str
    completion: int | None = None
    result: Outcome | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What an exchange tells.

    Attributes:
        at: When the answer came, in milliseconds.
        entries: The entries of the answer, in order.
        results: The results of steps, of this exchange or an earlier one, by their numbers.
    """

    at: int
    entries: list[Entry]
    results: dict[int, Outcome]


def told_by(stored: bytes) -> Told | None:
    """Return what a stored answer tells; ``None`` if it is not one."""
    try:
        answer = read_answer(stored, stamped=True)
    except EndpointError:
        return None
    entries = [entry for command in answer.commands if (entry := _entry(command)) is not None]
    results = {run.completion_id or 0: outcome_of(m.Value(run.value), run.failure) for run in answer.runs}
    return Told(answer.at, entries, results)


def _entry(command: m.Command) -> Entry | None:
    match command:
        case m.Run(completion, name):
            return Entry("run", name or "", completion or 0)
        case m.EagerState(key, value=value):
            return Entry("get", text_of(key), result=Outcome() if value is None else Outcome(content_of(value)))
        case m.EagerStateKeys(keys):
            names = [text_of(each) for each in (keys.keys if keys is not None else [])]
            return Entry("state-keys", "", result=Outcome(json.dumps(names).encode()))
        case _:
            return None
