"""Players that are broken on purpose: what the simulator has to find with programs of Restate's SDK."""

from __future__ import annotations

from functools import partial

from adapter.restate import answers, awaiting, player
from adapter.restate.conversation import Conversation, _Line
from adapter.restate.player import _Play
from tests.simulation.mutation import Edit, mutant

ONCE = "each result is sent, and once"
AWAITED = "the endpoint is asked when what it awaits has come"

_sdk = partial(mutant, focus="sdk")


MUTANTS = (
    _sdk("a result is sent twice", ONCE, Edit(_Play, "_collect", "self._open.remove(each)", "pass")),
    _sdk(
        "of the steps of an exchange only the first has its result",
        "a step runs once",
        Edit(_Play, "apply", "for proposal in answer.runs:", "for proposal in answer.runs[:1]:"),
    ),
    _sdk(
        "steps fail that have succeeded",
        ONCE,
        Edit(_Play, "apply", "if proposal.failure is None:", "if False:"),
    ),
    _sdk(
        "an awakeable is given another's result",
        "a result comes to its receiver",
        Edit(_Play, "_await_signal", "signal_name(self._issuer.origin, index)", "signal_name(self._issuer.origin, 17)"),
    ),
    _sdk(
        "a signal is given under another name",
        "a result comes to its receiver",
        Edit(_Play, "_await_signal", "leaf[1:] if index is None else None", "leaf if index is None else None"),
    ),
    _sdk(
        "the first of several is waited for as all of them are",
        AWAITED,
        Edit(awaiting, "resolved", "return any(done)", "return all(done)"),
        Edit(player, "resolved", "return any(done)", "return all(done)"),
        focus="time+sdk",
    ),
    _sdk(
        "all of several are waited for as the first of them is",
        AWAITED,
        Edit(awaiting, "resolved", "return all(done)\n", "return any(done)\n"),
        Edit(player, "resolved", "return all(done)\n", "return any(done)\n"),
    ),
    _sdk(
        "a cancellation ends an exchange",
        "a handler cleans up",
        Edit(_Play, "exchange", "await self._until(operation)", "await operation"),
        focus="trees+sdk",
    ),
    _sdk(
        "an error after progress does not end the attempt",
        "an error is tried again when it asks to be",
        Edit(_Play, "fail", "if not self._issuer.recalling:", "if False:"),
    ),
    _sdk(
        "an error after progress ends each attempt",
        "no invocation stuck",
        Edit(_Play, "fail", "if not self._issuer.recalling:", "if True:"),
    ),
    _sdk(
        "an error's delay is ignored",
        "an error is tried again when it asks to be",
        Edit(player, "failed", "None if delay is None else", "None if True else"),
        Edit(answers, "failed", "None if delay is None else", "None if True else"),
    ),
    _sdk(
        "an error's pause is ignored",
        "an error is tried again when it asks to be",
        Edit(player, "failed", "error.behavior == m.PAUSE", "False"),
        Edit(answers, "failed", "error.behavior == m.PAUSE", "False"),
    ),
    _sdk(
        "the handler is not told how often it failed",
        "a step's attempts end",
        Edit(_Play, "exchange", "retry_count=retries", "retry_count=0"),
        focus="steps+sdk",
    ),
    _sdk(
        "part of the state counts as all of it",
        "state is as it was written",
        Edit(player, "_eager", "return entries, seen.complete", "return entries, True"),
    ),
    _sdk(
        "a sleep takes twice its time",
        "no longer wait than asked for",
        Edit(_Play, "_issue", "max(0, (wake_up or 0) - now), name", "2 * max(0, (wake_up or 0) - now), name"),
    ),
    _sdk(
        "the result of a step is not acknowledged",
        ONCE,
        Edit(
            _Line,
            "_told",
            "return Frame(m.RUN_ACK, m.RunAck(m.Notification.decode(frame.payload).completion_id).encode())",
            "return None",
        ),
    ),
    _sdk(
        "a stream is told its last result again",
        ONCE,
        Edit(_Line, "_exchange", "journal[self._known :]", "journal[max(0, self._known - 1) :]"),
    ),
    _sdk(
        "a stream is closed within an exchange",
        "a step that continues while its code is run again is not lost",
        Edit(_Line, "leave", "self._left = True", "self._abort()"),
        focus="steps+sdk",
    ),
    _sdk(
        "a stream that has ended is told more",
        "an exchange fails only if something goes wrong",
        Edit(Conversation, "exchange", "if not self.goes_on:", "if self._line is None:"),
    ),
    _sdk(
        "a failing handler is not told for how long it fails",
        "a step's attempts end",
        Edit(_Play, "exchange", "duration=0 if since is None else max(0, now() - since)", "duration=0"),
        focus="steps+sdk",
    ),
)
