"""What operators do, and cancellations and kills, broken."""

from __future__ import annotations

from adapter.engine import editing, lifecycle
from adapter.engine.attempt import Attempt
from adapter.engine.claims import Claims
from adapter.engine.control import Control
from adapter.engine.runner import Runner
from adapter.engine.session import Session
from adapter.local import changes
from tests.simulation.mutation import Edit, mutant

MUTANTS = (
    mutant(
        "a running attempt continues although its invocation is paused",
        "4",
        Edit(
            Control,
            "keep_paused",
            "self._fence(meta, lifecycle.paused(meta, await self._next_segment(meta)).change)",
            'self._storage.apply(PAUSE.update(meta, {"status": Status.PAUSED, "due": None}))',
        ),
        focus="operators",
    ),
    mutant(
        "an operator's marker takes along a segment that a stored one repeats",
        "4",
        Edit(lifecycle, "_fence", "stored == meta.stored_segments", "True"),
        focus="operators",
    ),
    mutant(
        "an operator's marker takes the place of the segment in the record",
        "4",
        Edit(Control, "_fence", "put.insert(0, meta.inline_journal)", 'put.insert(0, "2.[]")'),
        focus="operators",
    ),
    mutant(
        "an operator's marker stands for an attempt that has not tried a step again",
        "steps run once",
        Edit(Control, "_fence", "stops=True", "stops=False"),
        focus="halted",
    ),
    mutant(
        "a paused invocation continues when it is dispatched",
        "8",
        Edit(Claims, "_wait", "case Status.READY:", "case Status.READY | Status.PAUSED:"),
        focus="operators",
    ),
    mutant(
        "what is resumed has no due time",
        "8",
        Edit(lifecycle, "resumed", '"status": Status.READY, "due": times.grace', '"status": Status.READY'),
        focus="pauses",
    ),
    mutant(
        "what has not completed is purged",
        "purge",
        Edit(Control, "purge", "if meta.live:", "if False:"),
        Edit(changes, "plan", "old.generation != ref.generation or old.live", "old.generation != ref.generation"),
        focus="operators",
    ),
    mutant(
        "a restart that is asked for twice is made twice",
        "2",
        Edit(
            Control,
            "restart",
            "random_id() if idempotency_key is None else restarted_id(meta.ref, idempotency_key)",
            "random_id()",
        ),
        focus="operators",
    ),
    mutant(
        "a restart meets the invocation that it restarts",
        "2",
        Edit(
            Control,
            "restart",
            "random_id() if idempotency_key is None else restarted_id(meta.ref, idempotency_key)",
            "id",
        ),
        focus="operators",
    ),
    mutant(
        "a cancellation ends what has begun",
        "compensation runs",
        Edit(Control, "cancel", "await self._did_nothing(meta)", "True"),
        focus="operators",
    ),
    mutant(
        "messages are killed with their sender",
        "sends do not notice",
        Edit(
            Control,
            "_calls",
            "for n in unanswered_calls(journal)",
            "for n in [entry.n for entry in journal if isinstance(entry, CommandIssued) "
            "and entry.kind in ('call', 'send')]",
        ),
        focus="operators",
    ),
    mutant(
        "messages are cancelled with their sender",
        "sends do not notice",
        Edit(Attempt, "to_cancel", "pending.called and", ""),
        focus="operators",
    ),
    mutant(
        "calls are not cancelled with their caller",
        "cancelled trees are gone",
        Edit(Runner, "_cancel_calls", "attempt.to_cancel()", "()"),
        focus="trees",
    ),
    mutant(
        "calls are not killed with their caller",
        "cancelled trees are gone",
        Edit(Control, "kill_calls", "await self._calls(meta)", "()"),
        focus="trees",
    ),
    mutant(
        "kills of one invocation stop each other",
        "starvation",
        Edit(Control, "_end", "if lifecycle.is_ending(meta, failure):", "if False:"),
        focus="operators",
    ),
    mutant(
        "an operator's edit undoes what a key's owner does",
        "7",
        Edit(editing, "edit", "if head.owner is not None:", "if False:"),
        focus="edits",
    ),
    mutant(
        "an attempt pauses what was cancelled meanwhile",
        "no notification lost",
        Edit(lifecycle, "committed", "most = counted", "most = None"),
        focus="pauses",
    ),
    mutant(
        "a late copy of a pause undoes a resume",
        "4",
        Edit(lifecycle, "resumed", 'values["epoch"] = meta.epoch + 1', "pass"),
        focus="pauses+prompt",
    ),
    mutant(
        "a cancellation is stored before the calls are told",
        "cancelled trees are gone",
        Edit(Session, "_advance_once", "await asyncio.gather(*cancelling)", "pass"),
        focus="trees",
    ),
    mutant(
        "a cancellation is stored although the calls could not be told",
        "cancelled trees are gone",
        Edit(
            Session,
            "_advance_once",
            "await asyncio.gather(*cancelling)",
            "await asyncio.gather(*cancelling, return_exceptions=True)",
        ),
        focus="interrupted+outages",
    ),
)
