"""How far the simulator reaches beyond its first programs and faults: one switch for each kind of trouble."""

from __future__ import annotations

from random import Random
from typing import Final

SHARES: Final = {
    "conflicts": 0.3,
    "partly": 0.0,
    "expiry": 0.1,
    "crowd": 0.06,
    "backlog": 0.01,
    "fan-in": 0.02,
    "messages": 0.05,
    "pauses": 0.05,
    "kills": 0.0,
    "interrupted": 0.01,
    "held": 0.02,
    "attached": 0.01,
    "beside": 0.0,
    "wakes": 0.0,
    "resends": 0.0,
    "turns": 0.0,
    "overtaken": 0.0,
    "behind": 0.0,
    "unmarked": 0.0,
    "rush": 0.0,
    "distant": 0.0,
    "between": 0.0,
    "stale": 0.0,
    "doomed": 0.0,
    "ahead": 0.0,
    "cuts": 0.0,
    "ended": 0.0,
    "parted": 0.0,
    "purges": 0.0,
    "excess": 0.0,
    "halted": 0.0,
    "abreast": 0.0,
    "shields": 0.0,
    "leaves": 0.0,
    "leaving": 0.0,
    "twice": 0.0,
    "counted": 0.0,
    "crossed": 0.0,
    "frozen": 0.0,
    "withdrawn": 0.0,
    "stills": 0.0,
    "tardy": 0.0,
    "belated": 0.0,
    "pages": 0.0,
    "rough": 0.0,
    "reruns": 0.0,
    "moves": 0.0,
    "waits": 0.2,
    "starvation": 0.3,
    "outages": 0.1,
    "impatience": 0.05,
    "left-paused": 0.2,
    "prompt": 0.2,
    "anywhere": 0.3,
    "nested": 0.2,
    "locks": 0.3,
    "wide": 0.02,
    "registry": 0.1,
    "rejected": 0.3,
    "exhausted-steps": 0.3,
    "small": 0.0,
    "step-counts": 1.0,
    "reported": 0.3,
    "edits": 0.1,
    "aborts": 0.1,
    "strangers": 0.1,
    "bounds": 0.1,
    "base-errors": 0.1,
    "further": 0.1,
    "sdk": 0.03,
}
"""The share of runs in which a switch is on. A focus turns it on in every run.

- ``conflicts``: A transaction takes time, and what meets it on an item is refused, as by DynamoDB.
- ``partly``: What a transaction is refused for is told in part, as by DynamoDB while another one is on the rest.
- ``expiry``: Records expire at once, after 3 or after 5 minutes, while others call them again, attach to them, and wait
  for promises that nobody keeps.
- ``crowd``: Clients without idempotency keys call one key at the same moment, by way of 2 to 8 processes.
- ``backlog``: One key has a queue of 20 to 120 messages, and clients call it meanwhile.
- ``fan-in``: 20 to 60 calls of one caller into another function complete together; 2 to 8 processes for each function.
- ``messages``: Programs send 2 to 60 messages at once, and operators end some of them.
- ``pauses``: Attempts fail for the last time, and operators cancel, pause and resume meanwhile.
- ``kills``: Calls run steps in one session, and operators kill some of them.
- ``interrupted``: Operators cancel callers that wait for long calls.
- ``held``: Clients wait for handlers that call others in another function, one at a time.
- ``beside``: Calls end by signals while their callers run long steps.
- ``attached``: What callers wait for expires at once, while they resume for another reason.
- ``wakes``, ``resends``, ``turns``, ``overtaken``, ``behind``, ``unmarked``, ``rush``, ``distant``,
  ``between``: Something comes at an unlucky moment (see `moments`).
- ``twice``, ``stale``, ``doomed``, ``cuts``, ``ended``, ``parted``, ``counted``, ``crossed``, ``frozen``, ``purges``,
  ``excess``, ``halted``, ``shields``, ``abreast``, ``ahead`` and ``withdrawn``: Sessions come to rare decisions (see
  `corners`).
- ``stills``, ``tardy``, ``belated``, ``pages``, ``rough``: What goes wrong lasts longer, in any plan (see `storms`).
- ``reruns``: Workflows are purged or expire, and run again under their ids.
- ``moves``: Operators move invocations from deployment to deployment, and writes are late.
- ``leaving``: Half of the clients leave what is suspended, and ask for its outcome later.
- ``leaves``: What they ask for sleeps, or waits for others, for a time that is known (see `leaving`).
- ``waits``: No invocation and no client waits longer than the work in front of it and what went wrong (see `waits`).
  It is on wherever ``crowd``, ``backlog``, ``fan-in``, ``sdk``, ``wakes``, ``behind``, ``distant``, ``stale`` or
  ``counted`` is.
- ``starvation``: No process loses a key to others again and again, and no key or record is refused to all of them.
- ``outages``: The store refuses everything for 2 to 40 seconds, or in half of these runs reads of some partitions.
- ``impatience``: Clients give up within milliseconds, between two writes of what they asked for, until all is calm.
- ``left-paused``: An operator resumes what is paused after up to 20 minutes, not one.
- ``prompt``: The operator resumes it within 3 seconds.
- ``anywhere``: Operators cancel and kill any invocation, not only clients' requests.
- ``nested``: Combinators, deadlines and tasks are part of others.
- ``locks``: Concurrent branches take turns by a semaphore.
- ``wide``: Up to 30 calls at once.
- ``registry``: What other functions host cannot be read now and then.
- ``rejected``: Awakeables, signals and promises are given failures.
- ``exhausted-steps``: Steps use up their attempts, or their time.
- ``reported``: Of calls that wait for each other, those of some services are left to an operator, who ends them.
- ``edits``: An operator edits entries of keys' states.
- ``aborts``: Handlers have an ``abort_timeout``, and some steps take longer the first times (see `edges`).
- ``strangers``: Commands name what does not exist, or themselves.
- ``bounds``: Values are refused that are too large. Values may have 100 KB, not 4 MB.
- ``base-errors``: Steps raise ``KeyboardInterrupt``, ``SystemExit``, ``CancelledError``, ``GeneratorExit`` and errors
  that have no text.
- ``further``: What the library builds on the engine, such as batches, heartbeats and a codec (see `further`).
- ``sdk``: Some services are written with Restate's SDK, and the exchanges with its endpoint fail (see `sdk`).
- ``small``: A commit writes 3, 4 or 6 items at most, so that sessions commit in many parts.
- ``step-counts``: No step begins more often than its failures, the attempts at it and other failures in it account for.
"""


def draw(seed: int, focus: str) -> tuple[str, ...]:
    """Return the switches that are on in a run: those that the focus names, and each other one by its share."""
    named = focus.split("+")
    if "costs" in named:
        return ()
    on = [name for name, share in SHARES.items() if name in named or Random(f"{seed}/{name}").random() < share]
    timed = {"crowd", "backlog", "fan-in", "sdk", "wakes", "behind", "distant", "stale", "counted"}
    if timed.intersection(on) and "waits" not in on:
        on.append("waits")
    if "excess" in on:
        on = [*dict.fromkeys((*on, "bounds"))]
    if {"abreast", "counted", "ended", "excess", "halted", "shields", "withdrawn"}.intersection(on):
        # the SDK has no gather or shield, and other outputs
        on = [name for name in on if name != "sdk"]
    if "leaves" in on:
        on = [*dict.fromkeys((*on, "leaving"))]
    if "behind" in on:  # its steps take longer than these allow
        on = [name for name in on if name != "aborts"]
    if "beside" in on:  # its steps take longer than these allow
        on = [name for name in on if name not in ("aborts", "backlog", "crowd", "sdk")]
    if "moves" in on:  # while nobody can write, several moves may wait at once
        on = [*dict.fromkeys((*(name for name in on if name != "outages"), "tardy"))]
    if "turns" in on:  # a handler of the SDK's does not ask for the time
        on = [name for name in on if name != "sdk"]
    return tuple(on)
