"""Engines and stores that are broken on purpose: what the simulator has to find."""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from adapter import codec, combinators, heartbeats
from adapter.engine import (
    blobs,
    conflicts,
    deadlocks,
    editing,
    journal,
    lifecycle,
    limits,
    prefix,
    runner,
    steps,
    suspensions,
    transaction,
)
from adapter.engine.attempt import Attempt
from adapter.engine.batches import Batches
from adapter.engine.calls import Calls
from adapter.engine.claims import Claims
from adapter.engine.commit_log import CommitLog
from adapter.engine.committer import Committer
from adapter.engine.control import Control
from adapter.engine.corrections import Corrections
from adapter.engine.deadlocks import Deadlocks
from adapter.engine.engine import Engine
from adapter.engine.execution import Execution, KeyRequested
from adapter.engine.expiry import Expiry
from adapter.engine.failures import Failures
from adapter.engine.handover import Handover
from adapter.engine.issuing import Issuing
from adapter.engine.keys import KeyState
from adapter.engine.known_key import Key
from adapter.engine.notifier import Notifier
from adapter.engine.outbound import Outbound
from adapter.engine.pending import Pending
from adapter.engine.ports import Change, Put, WriteHead
from adapter.engine.preparation import Preparation
from adapter.engine.promises import Promises
from adapter.engine.record_delta import RecordDelta
from adapter.engine.records import InboxEntry, Meta, Status
from adapter.engine.runner import Runner
from adapter.engine.session import Session
from adapter.engine.steps import Steps
from adapter.engine.storage import Storage
from adapter.engine.sweeper import Sweeper
from adapter.engine.together import Together
from adapter.engine.transaction import Transaction
from adapter.engine.transitions import PAUSE
from adapter.engine.types import RetryPolicy
from adapter.engine.under_way import UnderWay
from adapter.engine.wakeups import Wakeups
from adapter.engine.work import Work
from adapter.local import changes


@dataclass(frozen=True, slots=True)
class Edit:
    """Another text in the place of one in a function's source."""

    owner: Any
    function: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """One way to break it."""

    name: str
    invariant: str
    edits: tuple[Edit, ...]
    focus: str = ""
    """What a program has to do much of to meet it soon."""


def mutant(name: str, invariant: str, *edits: Edit, focus: str = "") -> Mutant:
    return Mutant(name, invariant, edits, focus)


MUTANTS = (
    mutant(
        "the epoch is no fence",
        "4",
        Edit(changes, "is_allowed", "(change.epoch is None or old.epoch == change.epoch)", "True"),
        Edit(changes, "plan", "allowed = old is None or isinstance(item, StateEntry | Part)", "allowed = True"),
    ),
    mutant(
        "the journal's index is no fence",
        "4",
        Edit(changes, "plan", "allowed = old is None or isinstance(item, StateEntry | Part)", "allowed = True"),
    ),
    mutant(
        "the key is handed over, and nobody is told",
        "7",
        Edit(Transaction, "_write_key", "changes.append(lifecycle.granted(state.granted, self._times))", "pass"),
    ),
    mutant(
        "completing and releasing are two requests",
        "1, 7",
        Edit(
            Storage,
            "commit",
            "await self.store.commit(changes, commit_id)",
            "for part in _apart(changes): await self.store.commit(part, commit_id + str(len(part)))",
        ),
    ),
    mutant(
        "a record is created over another",
        "2",
        Edit(
            changes,
            "plan",
            "allowed = old is None or (other and old.expired(now) and not old.waiters)",
            "allowed = True",
        ),
    ),
    mutant(
        "an expired record is taken for there until it is deleted",
        "expiry is judged by the reader",
        Edit(
            changes,
            "plan",
            "allowed = old is None or (other and old.expired(now) and not old.waiters)",
            "allowed = old is None",
        ),
    ),
    mutant(
        "what has completed is changed",
        "3",
        Edit(changes, "is_allowed", "old.status is not Status.COMPLETED", "True"),
    ),
    mutant(
        "the last to arrive comes first",
        "order of arrival",
        Edit(KeyState, "_next", "self.new_entries.popleft()", "self.new_entries.pop()"),
    ),
    mutant(
        "messages take their tickets in no order",
        "sends keep their order",
        Edit(Transaction, "_write_key", "[Put(entry) for entry in state.new_entries]", "_swapped(state.new_entries)"),
    ),
    mutant(
        "a lease is not looked at",
        "8",
        Edit(
            Claims,
            "_wait",
            "wait = max(0, meta.continues_at - self._process.now())",
            "wait = 0 if meta.status is Status.RUNNING else max(0, meta.continues_at - self._process.now())",
        ),
    ),
    mutant(
        "steps start before what they depend on is committed",
        "5",
        Edit(
            Session,
            "_perform",
            "await self._committer.commit(keep_steps=reason is Reason.WORK)",
            "self._work.begin(); await self._committer.commit(keep_steps=reason is Reason.WORK)",
        ),
    ),
    mutant(
        "what is made is dispatched before it is committed",
        "5",
        Edit(
            Session,
            "_run_code",
            "self._runner.advance()",
            "self._runner.advance(); [self._runtime.wakeups.dispatch("
            "effect.execution.ref, effect.execution.meta.target.service, '', fresh=True) "
            "for group in self.commit_log.groups for effect in group "
            "if type(effect).__name__ == 'Created' and effect.execution.spec is None]",
        ),
    ),
    mutant(
        "a replay delivers results at once",
        "6",
        Edit(Attempt, "run", "self.deliver(entry.n, outcome)", "self.operations[entry.n].resolve(outcome)"),
    ),
    mutant(
        "a commit whose answer was lost is made anew",
        "9",
        Edit(
            Storage,
            "commit",
            "await self.store.commit(changes, commit_id)",
            "await self.store.commit(changes, new_commit_id())",
        ),
    ),
    mutant(
        "a key is released without looking whether somebody waits",
        "7",
        Edit(changes, "plan", "and not (empty and stored.queued)\n)", ")"),
        focus="crowd",
    ),
    mutant(
        "a head is written without its version",
        "7",
        Edit(changes, "plan", "(version is None or stored.version == version)", "True"),
    ),
    mutant(
        "who waits for a result is not counted",
        "no notification lost",
        Edit(changes, "is_allowed", "(change.waiters is None or old.waiters == change.waiters)", "True"),
    ),
    mutant(
        "a result does not wake who waits",
        "no notification lost",
        Edit(Notifier, "notify", "if not woken and _waits(found, urgent=urgent, cancels=cancels):", "if False:"),
        focus="fan-in",
    ),
    mutant(
        "nothing is swept",
        "8",
        Edit(Sweeper, "_act", "if meta is None or meta.due is None or meta.due > now:", "if True:"),
    ),
    mutant(
        "a unit suspends over a result that has just come in",
        "no notification lost",
        Edit(Session, "_has_changed", "if self._runner.can_run or", "if"),
        focus="rings",
    ),
    mutant(
        "a step starts again although its result waits to be told",
        "5",
        Edit(UnderWay, "step", "n in execution.step_results", "False"),
        focus="steps",
    ),
    mutant(
        "a rewind passes over what had ended",
        "no invocation stuck",
        Edit(Session, "_rewind", "for execution in self._involved()", "for execution in self.executions.values()"),
    ),
    mutant(
        "a read that a command starts runs on the handler's loop",
        "replay is checked",
        Edit(Work, "_start", "self._loop.create_task(run(), context=context)", "asyncio.create_task(run())"),
    ),
    mutant(
        "code that ran on a key's old state is not replayed",
        "7",
        Edit(conflicts, "_judge", "REWIND if key in view.ran_as_owner else RETRY", "RETRY"),
    ),
    mutant(
        "what happens to the host is raised into handler code",
        "10",
        Edit(Attempt, "hosted", "except Exception as error:", "except ZeroDivisionError as error:"),
    ),
    mutant(
        "an invocation goes on wherever it is woken",
        "10",
        Edit(Claims, "_load_and_claim", "if elsewhere or", "if False or"),
        focus="operators",
    ),
    mutant(
        "what is dispatched to a deployment comes to the current one",
        "10",
        Edit(Claims, "_load_and_claim", "if elsewhere or", "if False or"),
        Edit(Wakeups, "dispatch", "service, deployment, fresh", 'service, "", fresh'),
    ),
    mutant(
        "an attempt that is not claimed runs steps",
        "4",
        Edit(Session, "_perform", "await self._committer.claim(self.root)", "pass"),
        focus="calls+anywhere",
    ),
    mutant(
        "an attempt that is not claimed goes on after a commit",
        "4",
        Edit(Committer, "_commit", "await self.claim(unclaimed)", "pass"),
        focus="waits",
    ),
    mutant(
        "an attempt that is not claimed ends, and others may end it too",
        "4",
        Edit(
            lifecycle,
            "committed",
            "if old != new or name in anyway",
            'if name != "epoch" and (old != new or name in anyway)',
        ),
    ),
    mutant(
        "an attempt is not claimed although the one before may be under way",
        "4",
        Edit(
            Claims, "_load_and_claim", "at_rest = meta.at_rest", "at_rest = meta.at_rest or meta.status is Status.READY"
        ),
        focus="overtaken",
    ),
    mutant(
        "an attempt does not read the journal in the record",
        "4",
        Edit(
            Claims, "_load_and_claim", "journals.read(id, segments, meta.inline_journal,", "journals.read(id, segments,"
        ),
    ),
    mutant(
        "a segment does not repeat the one in the record",
        "4",
        Edit(RecordDelta, "divide", "after=execution.inline", "after=None"),
    ),
    mutant(
        "a piece of a cut segment repeats the one in the record",
        "4",
        Edit(RecordDelta, "divide", "if len(texts) > 1 and execution.inline:", "if False:"),
        focus="parts+outages",
    ),
    mutant(
        "the journal in the record is read although a segment repeats it",
        "4",
        Edit(journal, "inline", "any(segment.data[2:].startswith(text[2:-1]) for segment in segments)", "False"),
    ),
    mutant(
        "a marker replaces the journal in the record",
        "4",
        Edit(Claims, "_load_and_claim", "*([inline] if inline else []), ", ""),
        focus="operators",
    ),
    mutant(
        "the last result that an invocation lacks dispatches nothing",
        "budgets",
        Edit(Notifier, "notify", "<= (found.wake_after or 0)", "< (found.wake_after or 0)"),
        focus="fan-in",
    ),
    mutant(
        "nobody looks after a call whose process ended before it was put",
        "8",
        Edit(
            Calls,
            "_ensure",
            "await self._storage.store.commit([put, lifecycle.calls(caller)], new_commit_id())",
            "return",
        ),
        focus="calls+anywhere",
    ),
    mutant(
        "nobody dispatches a call again that has no due time",
        "8",
        Edit(Calls, "_ensure", "if await self._storage.apply(", "if False and await self._storage.apply("),
        focus="calls",
    ),
    mutant(
        "the sweeper does not look after calls",
        "8",
        Edit(Sweeper, "_act", "await self._runtime.calls.ensure(meta)", "pass"),
        focus="calls",
    ),
    mutant(
        "a further attempt does not look after the call that it waits for",
        "8",
        Edit(Claims, "_load_and_claim", "await self._runtime.calls.ensure(meta)", "pass"),
        focus="calls+anywhere",
    ),
    mutant(
        "an invocation is paused, and nobody looks after its call",
        "8",
        Edit(Control, "keep_paused", "await self._runtime.calls.ensure(meta)", "pass"),
        focus="calls+anywhere",
    ),
    mutant(
        "a call is put before its caller is suspended",
        "5",
        Edit(
            Committer,
            "_write",
            "tries = 1 if",
            "suspended = [each for each in transaction.metas.values() if transaction.calling and each.calling]; "
            "[await self._runtime.calls.make(each, 1) for each in suspended]; tries = 1 if",
        ),
    ),
    mutant(
        "what ends together counts as committed though it was not",
        "1",
        Edit(Together, "_commit", "committed = False", "committed = True"),
        focus="messages",
    ),
    mutant(
        "one that ends while others run is forgotten",
        "8",
        Edit(
            Together,
            "_commit",
            "if len(ends) > 1:",
            "if len(ends) == 1:\n            return\n        if len(ends) > 1:",
        ),
        focus="messages",
    ),
    mutant(
        "of a batch only the first is begun",
        "8",
        Edit(Engine, "resume_all", "for id in new), return_exceptions", "for id in new[:1]), return_exceptions"),
        focus="messages",
    ),
    mutant(
        "an attempt that may be under way is not stopped by the next",
        "4",
        Edit(Meta, "continues", "self.epoch == before.epoch", "True"),
    ),
    mutant(
        "an attempt under way goes on when it is paused",
        "4",
        Edit(
            Control,
            "keep_paused",
            "self._fence(meta, lifecycle.paused(meta, await self._segments_with_marker(meta)).change)",
            'self._storage.apply(PAUSE.update(meta, {"status": Status.PAUSED, "due": None}))',
        ),
        focus="operators",
    ),
    mutant(
        "what is paused goes on when it is woken",
        "8",
        Edit(Claims, "_wait", "case Status.READY:", "case Status.READY | Status.PAUSED:"),
        focus="operators",
    ),
    mutant(
        "what is resumed has no due time",
        "8",
        Edit(lifecycle, "resumed", '"status": Status.READY, "due": times.grace', '"status": Status.READY'),
        focus="operators",
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
        "what is sent is not dispatched if its client gives up",
        "nothing waits for a sweep",
        Edit(
            Engine,
            "send",
            "await self.process.persist(self._session(execution).run(), repeated_by=Repeat.DISPATCH)",
            "await self._session(execution).run()",
        ),
        focus="impatience+waits+results",
    ),
    mutant(
        "what is called is not begun if its client gives up",
        "nothing waits for a sweep",
        Edit(
            Engine,
            "call",
            "await self.process.persist(self._begin_once(execution, patience), repeated_by=Repeat.LEASE)",
            "await self._begin_once(execution, patience)",
        ),
        focus="impatience+waits",
    ),
    mutant(
        "attempts go on for ever",
        "retries follow the policy",
        Edit(Failures, "judge", "policy.attempts is None or failures < policy.attempts", "True"),
    ),
    mutant(
        "what is to be given up is paused where its process ended",
        "retries follow the policy",
        Edit(Claims, "_give_up", 'spec.options.retry.exhausted == "kill"', "False"),
    ),
    mutant(
        "results are replayed in another order",
        "6",
        Edit(Attempt, "run", "self._results.popleft()", "self._results.pop()"),
    ),
    mutant(
        "what a handler gives is taken for another's when it is repeated",
        "9",
        Edit(
            Outbound,
            "perform",
            "commit_id = command_commit_id(execution.ref, n)",
            "commit_id = new_commit_id()",
        ),
        focus="results+conflicts+outages",
    ),
    mutant(
        "a cancellation ends what has begun",
        "compensation runs",
        Edit(Control, "cancel", "await self._did_nothing(meta)", "True"),
        focus="operators",
    ),
    mutant(
        "a step that is not awaited is dropped at the end",
        "completed before its step",
        Edit(Runner, "_check", " or attempt.unheeded_steps()", ""),
        focus="steps",
    ),
    mutant(
        "messages are killed with who sent them",
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
        "messages are cancelled with who sent them",
        "sends do not notice",
        Edit(Attempt, "to_cancel", "pending.called and", ""),
        focus="operators",
    ),
    mutant(
        "calls are not cancelled with who waits for them",
        "cancelled trees are gone",
        Edit(Runner, "_cancel_calls", "attempt.to_cancel()", "()"),
        focus="trees",
    ),
    mutant(
        "calls are not killed with who waits for them",
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
        "who keeps a promise again is told to be the first",
        "2",
        Edit(Promises, "complete", '"accepted" if meta.commit_id == commit_id else "already"', '"accepted"'),
    ),
    mutant(
        "select gives what has not completed",
        "combinators",
        Edit(combinators, "select", "return done[0]", "return operations[0]"),
    ),
    mutant(
        "what has completed is given twice",
        "combinators",
        Edit(combinators._AsCompleted, "__anext__", "self._left.pop(place)[0]", "self._left[place][0]"),
    ),
    mutant(
        "a timeout that came in time is forgotten",
        "combinators",
        Edit(Pending, "resolve", "self.attempt.loop.fire(self.timer)", "pass"),
        focus="time",
    ),
    mutant(
        "an output that is looked at is there before it is",
        "outputs",
        Edit(Outbound, "perform", "Outcome(c.NOT_READY)", 'Outcome(b"{}")'),
        Edit(Outbound, "perform", "meta.live or outcome.failure", "outcome.failure"),
    ),
    mutant(
        "a large state entry that is replaced stays",
        "storage is given back",
        Edit(blobs, "changes", "changes.append(lifecycle.purged(blob, now))", "pass"),
        focus="large",
    ),
    mutant(
        "state that was cleared stays",
        "storage is given back",
        Edit(
            Expiry,
            "collect",
            "await self._blobs.delete_entries(marker.target.object, marker.generation)",
            "pass",
        ),
        focus="large",
    ),
    mutant(
        "parts of a large result bear the same names in every attempt to commit it",
        "outputs",
        Edit(Transaction, "_meta", 'f"output-{commit_id}"', '"output"'),
        Edit(Transaction, "_write_record", "outcome, self._times.now, commit_id", 'outcome, self._times.now, ""'),
        focus="parts",
    ),
    mutant(
        "a journal is begun before its invocation is made",
        "8",
        Edit(Preparation, "put_out_of_line", "if any(", "if False and any("),
        focus="parts",
    ),
    mutant(
        "what a handler says to one is said all at once",
        "order of what is said",
        Edit(Work, "_perform", "async with self._receiver_locks[execution.meta.id, _receiver(request)]:", "if True:"),
        focus="results",
    ),
    mutant(
        "an attempt fails while its steps run",
        "steps run once",
        Edit(UnderWay, "holds_up", "case Step() if", "case Step() if False and"),
        focus="steps",
    ),
    mutant(
        "a write is committed ahead of what was read before it",
        "replay sees the same",
        Edit(Committer, "_holds", "taken < len(self._log.groups) and self._log.bring_forward(taken)", "False"),
        Edit(transaction, "fits", "transaction.items <= MAX_ITEMS", "transaction.items <= 2"),
        focus="parts",
    ),
    mutant(
        "what a failing attempt has asked for is asked for again by the next",
        "replay sees the same",
        Edit(UnderWay, "holds_up", "case Read(reader) if", "case Read(reader) if False and"),
        focus="parts",
    ),
    mutant(
        "what an attempt was told after it had failed is told to the next at the same place",
        "replay sees the same",
        Edit(
            Failures,
            "log_late_result",
            "StateRead(event.n, event.outcome)",
            "ResultDelivered(event.n, event.outcome)",
        ),
        focus="parts",
    ),
    mutant(
        "a ring is seen where one of its members may go on",
        "deadlocks",
        Edit(Deadlocks, "_cycle_through", "if found is None and not node.all:", "if False:"),
        Edit(Deadlocks, "_cycle_through_leaf", "if found is None and not all:", "if False:"),
        focus="rings",
    ),
    mutant(
        "nobody looks for rings across processes",
        "deadlocks",
        Edit(Deadlocks, "find", "cycle = await self._cycle(start.id, [], {})", "cycle = None"),
        focus="rings",
    ),
    mutant(
        "a message that is the youngest of a ring is left alone where it lives",
        "deadlocks",
        Edit(
            Claims,
            "_load_and_claim",
            "if meta.status is Status.QUEUED:",
            "if meta.status is Status.QUEUED and meta.parent is not None:",
        ),
        focus="rings",
    ),
    mutant(
        "a ring behind many calls is not looked for",
        "deadlocks",
        Edit(deadlocks, "awaited_ids", "for n in part.commands]", "for n in part.ranges[:1]]"),
        focus="rings",
    ),
    mutant(
        "every commit reads the heads that it writes",
        "budgets",
        Edit(Preparation, "prepare", "if self._log.key(key).head is None]", "]"),
        focus="costs",
    ),
    mutant(
        "commits are small",
        "budgets",
        Edit(transaction, "fits", "transaction.items <= MAX_ITEMS", "transaction.items <= 2"),
        focus="costs",
    ),
    mutant(
        "who waits for a call, or for something else, is taken to wait for both",
        "deadlocks",
        Edit(suspensions, "tree", "return Node(False, ", "return Node(True, "),
        focus="rings",
    ),
    mutant(
        "who puts an inbox entry does not look at the head",
        "no invocation waits for ever",
        Edit(Committer, "commit", "if self._unsettled and not keep_last:", "if False:"),
        focus="crowd+waits",
    ),
    mutant(
        "an owner is not told that somebody waits",
        "no invocation waits for ever",
        Edit(Handover, "_settle_key", "if head.queued:", "if True:"),
        focus="crowd+waits",
    ),
    mutant(
        "a key is released although its owner was told that somebody waits",
        "no invocation waits for ever",
        Edit(Transaction, "_write_key", "empty=empty)", "empty=False)"),
        focus="crowd+waits",
    ),
    mutant(
        "an invocation runs before its turn, and releases a key that it does not own",
        "7",
        Edit(Preparation, "read_front", "[*known, *further]", "found"),
        Edit(Transaction, "ran_without_key", "if self._released_by_others:", "if False:"),
        focus="crowd",
    ),
    mutant(
        "a key is taken from its owner",
        "7",
        Edit(
            changes,
            "plan",
            "allowed = stored.owner is None and not (empty and stored.queued)",
            "allowed = True",
        ),
        focus="crowd",
    ),
    mutant(
        "the inbox is not in the order of moments",
        "order of arrival",
        Edit(KeyState, "request", "ticket(moment, ref.id)", "ticket(0, ref.id)"),
        focus="crowd",
    ),
    mutant(
        "a handler's messages take the time of the process alone",
        "sends keep their order",
        Edit(Issuing, "_invoke", "self._process.moment(after=execution.moment)", "self._process.now() * 1000"),
    ),
    mutant(
        "an attempt waits for as many notifications as it has seen",
        "no notification lost",
        Edit(suspensions, "suspension_of", "Awaiting(execution.counted,", "Awaiting(len(execution.notifications) + 1,"),
        focus="fan-in+waits",
    ),
    mutant(
        "notifications that nobody counted are not looked for",
        "no notification lost",
        Edit(Sweeper, "_act", "if await self._runtime.notifier.wake_if_unseen(meta):", "if False:"),
    ),
    mutant(
        "state is stored without the codec",
        "values are encoded",
        Edit(codec.Coder, "command", "value=self.encode(command.value)", "value=command.value"),
        focus="further",
    ),
    mutant(
        "heartbeats are missed before their time",
        "time",
        Edit(heartbeats.WatchedAwakeable, "_watch", "Sleep(self._milliseconds,", "Sleep(self._milliseconds // 2,"),
        focus="further",
    ),
    mutant(
        "a failed step is tried before the time that its error asks for",
        "time",
        Edit(RetryPolicy, "wait", "asked = retry_after(error)", "asked = None"),
        focus="further",
    ),
    mutant(
        "a step whose result was copied runs again",
        "restart from a command",
        Edit(prefix, "_take", "kept.append(entry)", "pass"),
        focus="further",
    ),
    mutant(
        "who has begun, and is there after a rewind, is taken for its key's owner",
        "3",
        Edit(Session, "_begin", "owns = ", "owns = (execution.stored and bool(execution.journal)) or "),
    ),
    mutant(
        "what is suspended is due for its timer only",
        "8",
        Edit(suspensions, "_check_at", "if kinds == {TIMER}:", "if True:"),
    ),
    mutant(
        "a client's wait is polled although no execution is left",
        "a client waits no longer than the work",
        Edit(
            Session,
            "_perform",
            "if self.executions and await self._holding.poll(until, self._can_continue):",
            "if await self._holding.poll(until, self._can_continue):",
        ),
        focus="crowd+waits",
    ),
    mutant(
        "an invocation that was taken over takes the others of its session with it",
        "what others run goes on",
        Edit(Session, "_rewind_without", "if not others:", "if True:"),
        focus="kills",
    ),
    mutant(
        "who waits for a promise is not told that its workflow is over",
        "storage is given back",
        Edit(Promises, "check", "if meta.waiters:", "if False:"),
        focus="results+expiry",
    ),
    mutant(
        "a promise is never given up",
        "storage is given back",
        Edit(Promises, "check", "if not gone:", "if True:"),
        focus="results+expiry",
    ),
    mutant(
        "a promise is given up although its workflow is not over",
        "2",
        Edit(Promises, "check", "if not gone:", "if False:"),
        focus="results+expiry",
    ),
    mutant(
        "a step may take as long as it likes",
        "time",
        Edit(Steps, "run", "if abort is None else", "if True else"),
        focus="aborts",
    ),
    mutant(
        "who knows one awakeable can complete what is none",
        "results",
        Edit(runner, "receiving_command", "and not awakeable", "and False"),
        focus="strangers",
    ),
    mutant(
        "an operator's edit undoes what a key's owner does",
        "7",
        Edit(editing, "edit", "if head.owner is not None:", "if False:"),
        focus="edits",
    ),
    mutant(
        "a deadlock that is to be reported is not",
        "deadlocks",
        Edit(Control, "check_deadlock", "if youngest.error != failure.message:", "if False:"),
        focus="rings+reported",
    ),
    mutant(
        "a deadlock that is to be reported is ended",
        "deadlocks",
        Edit(Control, "check_deadlock", 'spec.options.deadlocks != "report"', "True"),
        focus="rings+reported",
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
        Edit(lifecycle, "resumed", '"due": times.grace, "epoch": meta.epoch + 1', '"due": times.grace'),
        focus="pauses+prompt",
    ),
    mutant(
        "a step that raises what is no exception is dropped",
        "an invocation goes on",
        Edit(Steps, "run", "except BaseException as error:", "except Exception as error:"),
        focus="base-errors",
    ),
    mutant(
        "a step's own cancellation is taken for one from outside",
        "an invocation goes on",
        Edit(steps, "_dropped", "task is not None and bool(task.cancelling())", "True"),
        focus="base-errors",
    ),
    mutant(
        "the outcome of a call waits for its caller's step",
        "5",
        Edit(CommitLog, "has_results", "case Completed(Execution(stored=True)):", "case Completed() if False:"),
        focus="beside+waits",
    ),
    mutant(
        "a result that came while its receiver resumed is taken for expired",
        "no notification lost",
        Edit(Outbound, "attach", "lost and await self._was_notified(execution, n, id)", "False"),
        focus="attached",
    ),
    mutant(
        "a result that its receiver is still to be told is taken for expired",
        "no notification lost",
        Edit(
            Outbound, "_was_notified", "if expired is not None and not expired.live and expired.waiters:", "if False:"
        ),
        focus="attached",
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
    mutant(
        "a batch goes on when its process is about to be stopped",
        "a batch ends",
        Edit(Batches, "allowed", " or self._process.remaining() < MIN_BATCH_TIME", ""),
        focus="backlog",
    ),
    mutant(
        "a batch goes on for as long as there is an inbox",
        "a batch ends",
        Edit(Batches, "allowed", " or hosted > MAX_HOSTED", ""),
        focus="backlog",
    ),
    mutant(
        "a batch takes what newer code has accepted",
        "a batch ends",
        Edit(
            Batches,
            "_next_execution",
            "(current or meta.deployment == self._runtime.deployment.id)",
            "(current or bool(meta.deployment))",
        ),
        focus="backlog",
    ),
    mutant(
        "an attempt that is continued on former code takes new messages",
        "a batch ends",
        Edit(Batches, "_next_execution", " and self._root.meta.epoch <= 1", ""),
        focus="backlog",
    ),
    mutant(
        "values may be too large",
        "bounds",
        Edit(limits, "oversize", "if size > MAX_PAYLOAD else None", "if False else None"),
        focus="bounds",
    ),
    mutant(
        "a deferred step keeps its result when the code goes another way",
        "6",
        Edit(Execution, "forget_deferred", "[n for n in self.deferred if n >= self.committed]", "[]"),
        focus="turns",
    ),
    mutant(
        "a deferred step keeps its result when its invocation is not stored",
        "6",
        Edit(Session, "_rewind", "self.root.forget_deferred()", "pass"),
        focus="turns",
    ),
    mutant(
        "a deferred step runs again although its command is committed",
        "5",
        Edit(Execution, "forget_deferred", "[n for n in self.deferred if n >= self.committed]", "list(self.deferred)"),
        focus="turns",
    ),
    mutant(
        "a dispatch is lost that comes while an attempt begins",
        "no notification lost",
        Edit(Engine, "_begin", "started.wake(id)", "pass"),
        focus="wakes",
    ),
    mutant(
        "an invocation that is dispatched too early does not begin",
        "no notification lost",
        Edit(Claims, "_load_and_claim", "meta.resolved or len(notifications)", "len(notifications)"),
        focus="wakes",
    ),
    mutant(
        "a further attempt sends past what the former one has sent",
        "sends keep their order",
        Edit(KeyRequested, "apply", "self.direct and not contended", "not contended"),
        focus="resends",
    ),
    mutant(
        "a client waits for the steps of those behind it",
        "a client waits no longer than the work",
        Edit(
            Issuing,
            "begin",
            "if self._hosting.batched and execution.ref",
            "if False and execution.ref",
        ),
        focus="behind",
    ),
    mutant(
        "an owner does not look for what an earlier attempt has put without telling",
        "sends keep their order",
        Edit(Key, "state", "self.head.queued or self.unheard", "self.head.queued"),
        focus="unmarked",
    ),
    mutant(
        "a request tries to take a free key as often as others are first",
        "no process starves",
        Edit(Corrections, "_on_key_changed", " and key.lost_races < MAX_TAKE_TRIES", ""),
        focus="rush",
    ),
    mutant(
        "the dispatch of what has its result gets lost, and the next check is far off",
        "no notification lost",
        Edit(Notifier, "notify", " or not self._is_checked_soon(found)", ""),
        focus="distant",
    ),
    mutant(
        "a session goes on with an invocation that its commit has left in the inbox",
        "7",
        Edit(Committer, "_commit", "if self._runs_queued(transaction):", "if False:"),
        focus="small",
    ),
)


def _apart(changes: Sequence[Change]) -> list[list[Change]]:
    heads: list[Change] = [change for change in changes if isinstance(change, WriteHead)]
    rest: list[Change] = [change for change in changes if not isinstance(change, WriteHead)]
    return [part for part in (rest, heads) if part]


def _swapped(entries: Sequence[InboxEntry]) -> list[Put]:
    tickets = [entry.ticket for entry in entries]
    return [Put(replace(entry, ticket=ticket)) for entry, ticket in zip(entries, reversed(tickets), strict=True)]


@contextmanager
def broken(mutant: Mutant) -> Iterator[None]:
    """Break it, for a while.

    Raises:
        LookupError: If what is to be replaced is not there: the source has changed, and so must the mutant.
    """
    functions: dict[tuple[Any, str], list[Edit]] = {}
    for edit in mutant.edits:
        functions.setdefault((edit.owner, edit.function), []).append(edit)
    with ExitStack() as undo:
        for (owner, function), edits in functions.items():
            undo.callback(_apply(owner, function, edits))
        yield


def _apply(owner: Any, function: str, edits: Sequence[Edit]) -> Callable[[], None]:
    original = getattr(owner, function)
    source = textwrap.dedent(inspect.getsource(original))
    for edit in edits:
        lines = "\n".join(line.strip() for line in edit.old.splitlines())
        place = _find(source, lines)
        if place is None:
            raise LookupError(f"{function} has no {edit.old!r}")
        source = source[: place[0]] + edit.new + source[place[1] :]
    module = sys.modules[original.__module__]
    vars(module).update({helper.__name__: helper for helper in (_swapped, _apart)} | {"PAUSE": PAUSE, "Status": Status})
    names: dict[str, Any] = {}
    exec(compile(source, f"<{function} broken>", "exec"), vars(module), names)
    setattr(owner, function, names[function])
    return lambda: setattr(owner, function, original)


def _find(source: str, text: str) -> tuple[int, int] | None:
    """Where a text lies in a source, whatever its lines' indentation."""
    pattern = r"\n\s*".join(re.escape(line) for line in text.split("\n"))
    match = re.search(pattern, source)
    return match.span() if match else None
