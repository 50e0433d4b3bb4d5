"""Steps that are broken: when they run, how often, and what becomes of their results."""

from __future__ import annotations

from adapter import heartbeats
from adapter.engine import failures, steps
from adapter.engine.execution import Execution
from adapter.engine.runner import Runner
from adapter.engine.session import Session
from adapter.engine.steps import Steps
from adapter.engine.types import RetryPolicy
from adapter.engine.under_way import UnderWay
from tests.simulation.mutation import Edit, mutant

MUTANTS = (
    mutant(
        "a step starts again although its result is there",
        "5",
        Edit(UnderWay, "step", "n in execution.step_results", "False"),
        focus="steps",
    ),
    mutant(
        "what a step gave in the moment in which another failed is lost",
        "steps run once",
        Edit(UnderWay, "holds_up", "return any(", "return False and any("),
        focus="abreast",
    ),
    mutant(
        "a step that runs at most once is given up if its attempt fails before it begins",
        "steps run once",
        Edit(Runner, "_fail", "(*not_begun, *verdict)", "verdict"),
        focus="abreast",
    ),
    mutant(
        "a rewind passes over what had ended",
        "no invocation stuck",
        Edit(Session, "_rewind", "for execution in self._involved()", "for execution in self.executions.values()"),
    ),
    mutant(
        "a step that is not awaited is dropped at the end",
        "completed before its step",
        Edit(Runner, "_check", " or attempt.unawaited_steps()", ""),
        focus="steps",
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
        "a step may take as long as it likes",
        "time",
        Edit(Steps, "run", "if abort is None else", "if True else"),
        focus="aborts",
    ),
    mutant(
        "a step that raises what is no exception is dropped",
        "an invocation continues",
        Edit(  # the other two would end the process of the tests
            Steps,
            "run",
            "except BaseException as error:",
            "except (Exception, KeyboardInterrupt, SystemExit) as error:",
        ),
        focus="base-errors",
    ),
    mutant(
        "an error without a text ends what reports it",
        "an invocation continues",
        Edit(
            failures, "format_error", "except BaseException as unprintable:", "except ZeroDivisionError as unprintable:"
        ),
        focus="base-errors",
    ),
    mutant(
        "a step's own cancellation counts as one from outside",
        "an invocation continues",
        Edit(steps, "_dropped", "task is not None and bool(task.cancelling())", "True"),
        focus="base-errors",
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
)
