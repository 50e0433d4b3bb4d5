"""Keys that are broken: owners, inboxes, batches and states."""

from __future__ import annotations

from adapter.engine import transaction
from adapter.engine.batches import Batches
from adapter.engine.committer import Committer
from adapter.engine.corrections import Corrections
from adapter.engine.handover import Handover
from adapter.engine.issuing import Issuing
from adapter.engine.keys import KeyState
from adapter.engine.known_key import Key
from adapter.engine.preparation import Preparation
from adapter.engine.session import Session
from adapter.engine.transaction import Transaction
from adapter.local import changes
from tests.simulation.mutation import Edit, mutant

MUTANTS = (
    mutant(
        "a key is handed over, and its new owner is not made ready",
        "7",
        Edit(Transaction, "_write_key", "changes.append(lifecycle.granted(state.granted, self._times))", "pass"),
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
        "a key is released although an invocation may wait for it",
        "7",
        Edit(changes, "plan", "and not (empty and stored.queued)\n)", ")"),
        focus="crowd",
    ),
    mutant(
        "a write is committed ahead of what was read before it",
        "replay sees the same",
        Edit(Committer, "_holds", "taken < len(self._log.groups) and self._log.bring_forward(taken)", "False"),
        Edit(transaction, "fits", "transaction.items <= MAX_ITEMS", "transaction.items <= 2"),
        focus="ahead",
    ),
    mutant(
        "every commit reads the heads that it writes",
        "budgets",
        Edit(Preparation, "prepare", "if self._log.key(key).head is None]", "]"),
        focus="costs",
    ),
    mutant(
        "a process puts an inbox entry, and does not read the head after that",
        "no invocation waits for ever",
        Edit(Committer, "commit", "if self._unsettled and not keep_last:", "if False:"),
        focus="crowd+waits",
    ),
    mutant(
        "an owner is not told that an invocation waits",
        "no invocation waits for ever",
        Edit(Handover, "_settle_key", "if head.queued:", "if True:"),
        focus="crowd+waits",
    ),
    mutant(
        "a key is released although its owner was told that an invocation waits",
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
        "an entry that is put among those that were read is passed",
        "sends keep their order",
        Edit(
            Preparation,
            "read_front",
            "if entry.ticket not in tickets",
            "if not known or entry.ticket > known[-1].ticket",
        ),
        focus="between",
    ),
    mutant(
        "a commit that is cut changes the order in which an inbox was read",
        "7",
        Edit(KeyState, "stored_front", "heapq.merge(self.front, came, ", "sorted([*self.front, *came], "),
        focus="between+conflicts+small",
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
        "an execution that has begun counts as its key's owner after a rewind",
        "3",
        Edit(Session, "_begin", "owns = ", "owns = (execution.stored and bool(execution.journal)) or "),
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
        "a batch continues when its process is about to be stopped",
        "a batch ends",
        Edit(Batches, "allowed", " or self._process.remaining() < MIN_BATCH_TIME", ""),
        focus="backlog",
    ),
    mutant(
        "a batch continues for as long as there is an inbox",
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
        Edit(Key, "state", "self.head.queued or self.unannounced", "self.head.queued"),
        focus="unmarked",
    ),
    mutant(
        "a request tries to take a free key as often as others are first",
        "no process starves",
        Edit(Corrections, "_on_key_changed", " and key.lost_races < MAX_TAKE_TRIES", ""),
        focus="rush",
    ),
    mutant(
        "a session continues an invocation that its commit has left in the inbox",
        "7",
        Edit(Committer, "_commit", "if self._runs_queued(transaction):", "if False:"),
        focus="small",
    ),
)
