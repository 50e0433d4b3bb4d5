"""What the sessions of one process share."""

from __future__ import annotations

from contextvars import Context, copy_context

from adapter.engine.blobs import Blobs
from adapter.engine.calls import Calls
from adapter.engine.deadlocks import Deadlocks
from adapter.engine.deployment import Deployment
from adapter.engine.expiry import Expiry
from adapter.engine.gates import Gates
from adapter.engine.handover import Handover
from adapter.engine.listeners import Listeners
from adapter.engine.notifier import Notifier
from adapter.engine.outbound import Outbound
from adapter.engine.ports import Dispatcher, Store, Timers
from adapter.engine.process import Process, Repeat
from adapter.engine.promises import Promises
from adapter.engine.recent import Recent
from adapter.engine.records import Head
from adapter.engine.replays import Contents
from adapter.engine.reports import Reports
from adapter.engine.storage import Storage
from adapter.engine.wakeups import Resume, Wakeups
from adapter.frozen import frozen


@frozen
class Runtime:
    """The parts of the engine below its sessions.

    Attributes:
        poll: Milliseconds until a waiting client's request first reads the store.
        always_replay: True to replay code from its start after each result, and to suspend it wherever it waits: for
            tests of handlers.
        contents: Compares the contents of replayed commands; only with `always_replay`.
        context: The context variables with which handlers begin, wherever they are called from.
    """

    process: Process
    storage: Storage
    deployment: Deployment
    listeners: Listeners
    gates: Gates
    recent: Recent
    wakeups: Wakeups
    blobs: Blobs
    expiry: Expiry
    notifier: Notifier
    calls: Calls
    handover: Handover
    promises: Promises
    outbound: Outbound
    deadlocks: Deadlocks
    reports: Reports
    poll: int
    always_replay: bool
    contents: Contents | None
    context: Context

    def on_head_written(self, head: Head) -> None:
        """Take note of a head that this process has written. The next request for the key need not read it."""
        self.recent.put(head)
        self.gates.open(head.key)


def build(
    process: Process,
    store: Store,
    deployment: Deployment,
    dispatcher: Dispatcher,
    timers: Timers,
    resume: Resume,
    reports: Reports,
    *,
    poll: int,
    always_replay: bool,
) -> Runtime:
    """Return a process's runtime on its ports.

    Args:
        process: The process.
        store: The store.
        deployment: The process's handlers.
        dispatcher: Sends invocations to other processes.
        timers: Wake invocations later.
        resume: Continues an invocation in this process.
        reports: Reports what becomes of invocations.
        poll: See `Runtime`.
        always_replay: See `Runtime`.
    """
    storage = Storage(store, process)
    listeners, recent = Listeners(), Recent(process.clock)
    wakeups = Wakeups(process, deployment, listeners, dispatcher, timers, resume)
    blobs = Blobs(process, storage)
    expiry = Expiry(process, storage, blobs)
    storage.on_former_items = lambda ref: process.spawn(
        expiry.delete_dependents(ref, of_former=True), repeated_by=Repeat.LOAD
    )
    notifier = Notifier(process, storage, wakeups, listeners, reports)
    promises = Promises(process, storage, expiry, notifier)
    return Runtime(
        process=process,
        storage=storage,
        deployment=deployment,
        listeners=listeners,
        gates=Gates(),
        recent=recent,
        wakeups=wakeups,
        blobs=blobs,
        expiry=expiry,
        notifier=notifier,
        calls=Calls(process, storage, wakeups),
        handover=Handover(process, storage, wakeups, recent),
        promises=promises,
        outbound=Outbound(process, storage, notifier, promises),
        deadlocks=Deadlocks(storage),
        reports=reports,
        poll=poll,
        always_replay=always_replay,
        contents=Contents() if always_replay else None,
        context=copy_context(),
    )
