"""Attempts that are broken: what begins them, replays them and ends them."""

from __future__ import annotations

from adapter.engine import conflicts, journal, lifecycle, prefix, suspensions
from adapter.engine.attempt import Attempt
from adapter.engine.claims import Claims
from adapter.engine.committer import Committer
from adapter.engine.engine import Engine
from adapter.engine.failures import Failures
from adapter.engine.record_delta import RecordDelta
from adapter.engine.records import Meta
from adapter.engine.session import Session
from adapter.engine.under_way import UnderWay
from adapter.engine.wakeups import Wakeups
from adapter.engine.work import Work
from tests.simulation.mutation import Edit, mutant

MUTANTS = (
    mutant(
        "an attempt begins although the lease of the one before has not ended",
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
        "a replay delivers results at once",
        "6",
        Edit(Attempt, "run", "self.deliver(entry.n, outcome)", "self.operations[entry.n].resolve(outcome)"),
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
        focus="turns",
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
        focus="cuts+parts",
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
        "an attempt that may be under way is not stopped by the next",
        "4",
        Edit(Meta, "continues", "self.epoch == before.epoch", "True"),
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
        focus="operators",
    ),
    mutant(
        "results are replayed in another order",
        "6",
        Edit(Attempt, "run", "self._results.popleft()", "self._results.pop()"),
    ),
    mutant(
        "requests of a handler to one receiver are made at the same time",
        "order of requests",
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
        "what a failing attempt has asked for is asked for again by the next",
        "replay sees the same",
        Edit(UnderWay, "holds_up", "case Read(reader) if", "case Read(reader) if False and"),
        focus="parts",
    ),
    mutant(
        "a result that came after its attempt had failed is delivered to the next attempt at the same place",
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
        "a step whose result was copied runs again",
        "restart from a command",
        Edit(prefix, "_take", "kept.append(entry)", "pass"),
        focus="further",
    ),
    mutant(
        "what is suspended is due for its timer only",
        "8",
        Edit(suspensions, "_check_at", "if kinds == {TIMER}:", "if True:"),
    ),
    mutant(
        "an invocation that was taken over takes the others of its session with it",
        "other executions continue",
        Edit(Session, "_rewind_without", "if not others:", "if True:"),
        focus="kills",
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
)
