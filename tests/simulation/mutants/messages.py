"""Calls and messages that are broken on their way to an invocation."""

from __future__ import annotations

from adapter.engine import record_delta
from adapter.engine.calls import Calls
from adapter.engine.claims import Claims
from adapter.engine.committer import Committer
from adapter.engine.control import Control
from adapter.engine.engine import Engine
from adapter.engine.execution import KeyRequested
from adapter.engine.session import Session
from adapter.engine.sweeper import Sweeper
from adapter.engine.together import Together
from tests.simulation.mutation import Edit, mutant

MUTANTS = (
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
        "no process puts a call whose own process ended before that",
        "8",
        Edit(
            Calls,
            "_find_or_put",
            "await self._storage.store.commit([put, lifecycle.calls(caller)], new_commit_id())",
            "return",
        ),
        focus="calls+anywhere",
    ),
    mutant(
        "no process dispatches a call again that has no due time",
        "8",
        Edit(Calls, "_find_or_put", "if await self._storage.apply(", "if False and await self._storage.apply("),
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
        Edit(
            Claims,
            "_load_and_claim",
            "await self._runtime.calls.ensure(meta, segments, notifications, begin=meta.outcome is None)",
            "pass",
        ),
        focus="calls+anywhere",
    ),
    mutant(
        "a further attempt does not look after the call that its journal ends with",
        "8",
        Edit(Claims, "_load_and_claim", "calls.ensure(meta, segments, notifications,", "calls.ensure(meta,"),
        focus="held",
    ),
    mutant(
        "an attempt ends, and its call is not ensured before that",
        "8",
        Edit(Committer, "_commit", "await self._runtime.calls.settle(delta.execution)", "pass"),
        focus="held",
    ),
    mutant(
        "an invocation is killed, and its call is put after that",
        "8",
        Edit(
            Control, "_calls", "await self._runtime.calls.ensure(found, segments, notifications, begin=False)", "pass"
        ),
        focus="held",
    ),
    mutant(
        "an invocation is run again from a command, and the call before that is not ensured",
        "8",
        Edit(Control, "_prefix", "await self._runtime.calls.ensure_by_journal(meta.ref)", "pass"),
        focus="held",
    ),
    mutant(
        "an attempt goes on before its call is put",
        "8",
        Edit(
            Committer,
            "_make_call",
            "await self._process.persist(make, repeated_by=Repeat.LEASE)",
            "self._process.spawn(make, repeated_by=Repeat.LEASE)",
        ),
        focus="held",
    ),
    mutant(
        "a call by an idempotency key is put apart, under an id of its caller's",
        "2",
        Edit(record_delta, "_waits_only_for", "return derived and", "return"),
        focus="held",
    ),
    mutant(
        "an invocation is paused, and its call is not ensured before that",
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
            "callers = [each for each in transaction.metas.values() if transaction.calling and each.calling]; "
            "[await self._runtime.calls.make(each, each.calling, 1) for each in callers]; tries = 1 if",
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
        "a further attempt sends past what the former one has sent",
        "sends keep their order",
        Edit(KeyRequested, "apply", "self.direct and not contended", "not contended"),
        focus="resends",
    ),
)
