"""The answers and bodies of the admin, from which its OpenAPI document is made.

Times are in ISO 8601, in UTC with milliseconds. A key is absent where there is nothing to say.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

Json = Any
Text = str
Time = str
"""A time in ISO 8601."""


class Value(TypedDict, total=False):
    """Bytes: as JSON if they are JSON, else as text if they are UTF-8, else in base64. A value over 4 KB is cut, and is
    text or base64."""

    json: Json
    text: Text
    base64: str
    size: int
    truncated: bool
    href: str


class Failure(TypedDict):
    """A terminal failure."""

    code: int
    message: str
    metadata: NotRequired[dict[str, str]]
    reason: NotRequired[str]


class Summary(TypedDict):
    """An invocation, as lists have it."""

    id: str
    target: str
    service: str
    key: NotRequired[str]
    handler: str
    kind: str
    status: str
    outcome: NotRequired[str]
    created: Time
    completed: NotRequired[Time]
    due: NotRequired[Time]
    deployment: NotRequired[str]
    attempts: int
    failures: int
    error: NotRequired[str]
    waits_for: NotRequired[str]
    parent: NotRequired[str]
    sender: NotRequired[str]
    restarted_from: NotRequired[str]


class Wait(TypedDict):
    """Something that an invocation waits for."""

    kind: Literal[
        "call", "attach", "awakeable", "signal", "promise", "timer", "key", "step", "endpoint", "operator", "attempt"
    ]
    command: NotRequired[int]
    name: NotRequired[str]
    id: NotRequired[str]
    until: NotRequired[Time]
    status: NotRequired[str]


class AttemptError(TypedDict):
    """An attempt that failed. ``attempt`` is its number, from 1."""

    attempt: int
    at: NotRequired[Time]
    error: str


class Retry(TypedDict):
    """The retry policy of a handler, as far as this process knows it."""

    max_attempts: NotRequired[int]
    initial_ms: int
    factor: float
    max_ms: int
    exhausted: str


class Invocation(Summary):
    """One invocation. ``unreadable`` says what of it is damaged, or of a newer format, and is left out."""

    input: NotRequired[Value]
    output: NotRequired[Value]
    failure: NotRequired[Failure]
    headers: dict[str, str]
    expires: NotRequired[Time]
    journal_expires: NotRequired[Time]
    ticket: NotRequired[str]
    waiters: int
    idempotent: bool
    idempotency_key: NotRequired[str]
    retry: NotRequired[Retry]
    waits: list[Wait]
    errors: list[AttemptError]
    unreadable: NotRequired[str]


class Invocations(TypedDict):
    """A page of invocations, latest first. ``complete`` is false if some may be missing, because the index is off."""

    invocations: list[Summary]
    cursor: str | None
    complete: bool


class Counts(TypedDict):
    """The numbers of invocations on a page of the index. Add up the pages."""

    total: int
    statuses: dict[str, int]
    outcomes: dict[str, int]
    cursor: str | None
    complete: bool


class JournalEntry(TypedDict, total=False):
    """A command with its result, or the start of a further attempt with the error of the attempt before.

    What a handler of an SDK did within one exchange with its endpoint has the exchange's ``n``, and a ``part`` each.
    """

    n: int
    part: int
    command: str
    name: str
    at: Time
    done: Time
    duration_ms: int
    size: int
    value: Value
    failure: Failure
    child: str
    awakeable: str
    promise: str
    until: Time
    tries: int
    attempt: int
    error: str
    failed: Time
    lost: bool


class Journal(TypedDict):
    """A page of a journal."""

    entries: list[JournalEntry]
    cursor: str | None


class Child(Summary):
    """An invocation that another one called or sent, with its own calls and sends."""

    command: int
    sent: bool
    children: list[Child]


class Tree(Summary):
    """The calls and sends of an invocation, down to a depth, and its callers, from the nearest up."""

    ancestors: list[Summary]
    children: list[Child]
    truncated: bool


class Action(TypedDict):
    """Something to do about an invocation."""

    text: str
    method: str
    path: str
    command: str


class Link(TypedDict):
    """An invocation in a chain of waits. ``relation`` is what it is to the one before."""

    id: str
    target: str
    status: str
    relation: str
    text: str
    since: NotRequired[Time]
    attempt: NotRequired[int]
    max_attempts: NotRequired[int]
    error: NotRequired[str]
    next: NotRequired[Time]
    awakeable: NotRequired[str]
    actions: list[Action]


class Why(TypedDict):
    """Why an invocation does not continue: what it waits for, what that waits for, and so on."""

    chain: list[Link]
    cycle: bool
    root: Link
    summary: str


class Acknowledged(TypedDict):
    """A request was carried out now, or nothing was left to do."""

    invocationId: str
    status: Literal["accepted", "already"]
    restarted: NotRequired[str]


class Completed(TypedDict):
    """A result was delivered now, or there was a result before."""

    status: Literal["accepted", "already"]


class Refusal(TypedDict):
    """The body of a rejection."""

    message: str
    code: NotRequired[int]


class Filter(TypedDict, total=False):
    """Which invocations: those that everything given here matches, by the names of a list's query.

    Of several values one has to hold; every text has to occur.
    """

    status: list[str]
    outcome: list[str]
    service: list[str] | str
    handler: list[str] | str
    key: list[str] | str
    deployment: list[str] | str
    text: list[str]
    since: Time
    until: Time


class BulkOptions(TypedDict, total=False):
    """What a bulk action may have."""

    filter: Filter
    ids: list[str]
    deployment: str
    dry_run: bool
    limit: int
    cursor: str | None


_From = TypedDict("_From", {"from": int}, total=False)


class Bulk(BulkOptions, _From):
    """An action on many invocations: those with these ids, or a page of those that the filter matches.

    ``from`` is for ``restart-as-new``, ``deployment`` for ``resume``.
    """

    action: Literal["cancel", "kill", "pause", "resume", "restart-as-new", "purge"]


class LogLine(TypedDict):
    """A line of the log. ``n`` counts the lines of the process."""

    n: int
    timestamp: Time
    level: str
    logger: str
    target: NotRequired[str]
    attempt: NotRequired[int]
    message: str
    exception: NotRequired[str]


class Logs(TypedDict):
    """The latest log lines of an invocation."""

    lines: list[LogLine]


class Skipped(TypedDict):
    """An invocation that the action did not change, and why."""

    id: str
    reason: str


class BulkDone(TypedDict):
    """What an action did to a page of invocations. With a dry run, what it would have done."""

    matched: int
    done: int
    skipped: list[Skipped]
    invocations: list[Summary]
    cursor: str | None


class KeyEntry(TypedDict):
    """A key that has an owner or a queue."""

    service: str
    key: str
    owner: NotRequired[str]
    waiting: int


class Keys(TypedDict):
    """A page of keys, found through the live invocations. A key may be on several pages."""

    keys: list[KeyEntry]
    cursor: str | None
    complete: bool


class Key(TypedDict):
    """A key: its owner, the first invocations of its queue, its state."""

    service: str
    key: str
    version: int
    owner: Summary | None
    queue: list[Summary]
    waiting: int
    state: dict[str, Value]
    large: list[str]


class State(TypedDict):
    """The state of a key."""

    version: int
    owner: str | None
    waiting: int
    state: dict[str, Json]
    large: list[str]


class Version(TypedDict):
    """The new version of a key."""

    version: int


class Promise(TypedDict):
    """A durable promise."""

    name: str
    status: Literal["pending", "resolved", "rejected"]
    created: Time
    value: NotRequired[Value]
    failure: NotRequired[Failure]


class Promises(TypedDict):
    """The promises of a workflow id. ``complete`` is false if some may be missing, because the index is off."""

    promises: list[Promise]
    complete: bool


class Handler(TypedDict):
    """A handler. ``takes`` and ``gives`` are media types. ``input`` and ``output`` are JSON schemas. ``metadata`` is
    text by name."""

    kind: str
    private: bool
    takes: str | None
    gives: str | None
    input: NotRequired[Json]
    output: NotRequired[Json]
    doc: NotRequired[str]
    metadata: NotRequired[dict[str, str]]


class Service(TypedDict):
    """A service."""

    name: str
    kind: Literal["service", "object", "workflow"]
    function: str
    deployment: str
    handlers: dict[str, Handler]
    doc: NotRequired[str]
    metadata: NotRequired[dict[str, str]]


class Services(TypedDict):
    """All services of the stack."""

    services: list[Service]


class Deployment(TypedDict):
    """A version of a function. ``live`` counts the invocations that run on it or will continue on it."""

    function: str
    deployment: str
    services: list[str]
    current: bool
    live: int
    statuses: dict[str, int]
    safe_to_delete: bool
    created: NotRequired[Time]


class Deployments(TypedDict):
    """The deployments. ``complete`` is false if there are more live invocations than were counted."""

    deployments: list[Deployment]
    complete: bool


class Removed(TypedDict):
    """A deployment was removed, or, with a dry run, can be."""

    deployment: str
    status: Literal["removed", "removable"]


class Deadlock(TypedDict):
    """Invocations each of which waits for the next, and the last for the first."""

    cycle: list[Summary]
    text: str


class Deadlocks(TypedDict):
    """The deadlocks among the live invocations that were read."""

    deadlocks: list[Deadlock]
    complete: bool


Edge = TypedDict("Edge", {"from": str, "to": str, "kind": Literal["call", "key"]})
"""One invocation waits for another: for its result, or for the key that it owns."""


class Waits(TypedDict):
    """The invocations that wait, and edges to those that they wait for."""

    nodes: list[Summary]
    edges: list[Edge]
    truncated: bool


class DeadLetter(TypedDict):
    """A message that could not be delivered."""

    id: str
    sent: NotRequired[Time]
    function: NotRequired[str]
    reason: NotRequired[str]
    invocation_id: NotRequired[str]
    body: Value


class DeadLetters(TypedDict):
    """A sample of the dead letters, and how many there are, about."""

    messages: list[DeadLetter]
    count: int


class Purged(TypedDict):
    """The dead letters are being deleted."""

    status: Literal["accepted"]


class Sweeper(TypedDict):
    """When the sweeper last ran, if this process knows."""

    last: Time | None
    age_seconds: float | None


class Requests(TypedDict):
    """The requests to handlers of the last minute."""

    per_second: float
    p50_ms: float
    p99_ms: float


class Overview(TypedDict):
    """How the stack is. ``complete`` is false if there are more invocations than were counted."""

    statuses: dict[str, int]
    outcomes: dict[str, int]
    complete: bool
    failing: list[Summary]
    oldest_paused: Summary | None
    oldest_due: Time | None
    sweeper: Sweeper
    requests: Requests | None
    services: int
    deployments: int


class Problem(TypedDict):
    """An error, by RFC 9457. ``type`` tells kinds of errors apart; ``code`` and ``message`` are the ingress's."""

    type: str
    title: str
    status: int
    detail: str
    code: int
    message: str
    source: str
    actions: NotRequired[list[Action]]
