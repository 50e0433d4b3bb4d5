"""Stores, records and values that are broken."""

from __future__ import annotations

from adapter import codec
from adapter.engine import blobs, limits, transaction
from adapter.engine.expiry import Expiry
from adapter.engine.preparation import Preparation
from adapter.engine.storage import Storage
from adapter.engine.transaction import Transaction
from adapter.local import changes
from tests.simulation.mutation import Edit, mutant

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
        "an expired record counts as present until it is deleted",
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
        "a head is written without its version",
        "7",
        Edit(changes, "plan", "(version is None or stored.version == version)", "True"),
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
        focus="parts+rough",
    ),
    mutant(
        "a journal is begun before its invocation is made",
        "8",
        Edit(Preparation, "put_out_of_line", "if any(", "if False and any("),
        focus="parts",
    ),
    mutant(
        "commits are small",
        "budgets",
        Edit(transaction, "fits", "transaction.items <= MAX_ITEMS", "transaction.items <= 2"),
        focus="costs",
    ),
    mutant(
        "state is stored without the codec",
        "values are encoded",
        Edit(codec.Coder, "command", "value=self.encode(command.value)", "value=command.value"),
        focus="further",
    ),
    mutant(
        "values may be too large",
        "bounds",
        Edit(limits, "oversize", "if size > MAX_PAYLOAD else None", "if False else None"),
        focus="bounds",
    ),
)
