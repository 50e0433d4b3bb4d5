"""What happened: the ledger of the steps, and what the store was told, in one order.

The proxy tells of every write that was applied, before the process that asked for it knows; a step tells before it does
anything. So a step that runs after its result was recorded has run again.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from adapter.engine.journal import CommandIssued, ResultDelivered, decode, inline
from adapter.engine.records import JournalSegment, Status
from tests.faults.aws import Answer, Process, Request


@dataclass(frozen=True)
class Ran:
    """A step begins."""

    invocation: str
    step: str
    pid: int = 0


@dataclass(frozen=True)
class Recorded:
    """A step's result is in the journal."""

    invocation: str
    step: str


Event = Ran | Recorded

INLINE = "last"
"""Stands for the sort key of a record's inline journal."""


@dataclass(frozen=True)
class Recovery:
    """An invocation that something had happened to went on."""

    after: str
    seconds: float


@dataclass(frozen=True)
class _Struck:
    what: str
    at: float
    pid: int = 0


@dataclass
class Watch:
    """Sees every request that was carried out, and every step.

    Attributes:
        clock: Seconds since the epoch.
        events: What happened to steps, in order.
        recoveries: How long it took until what had happened to an invocation was made up for.
    """

    clock: Callable[[], float] = time.time
    events: list[Event] = field(default_factory=list)
    recoveries: list[Recovery] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _journals: dict[str, dict[str, str]] = field(default_factory=dict)
    _running: dict[str, int] = field(default_factory=dict)
    _struck: dict[str, _Struck] = field(default_factory=dict)

    def __call__(self, request: Request, answer: Answer) -> None:
        """A request was carried out."""
        if answer.status != 200:
            return
        with self._lock:
            for id, sort, values in writes(request):
                if sort.startswith("j#"):
                    self._journal(id, sort, values["data"]["S"])
                elif "inline_journal" in values:
                    self._journal(id, INLINE, values["inline_journal"]["S"])
                if sort == "meta" and "status" in values:
                    self._status(id, Status(values["status"]["S"]), request.process.pid)

    def ran(self, event: Ran) -> None:
        """A step begins."""
        with self._lock:
            self.events.append(event)

    def killed(self, process: Process) -> None:
        """A process was killed: what it ran has to be recovered."""
        with self._lock:
            for id in [id for id, pid in self._running.items() if pid == process.pid]:
                self._struck[id] = _Struck("killed", self.clock(), self._running.pop(id))

    def dropped(self, request: Request) -> None:
        """An invoke, a schedule or a message was dropped: what it was for has to be recovered."""
        at, event = self.clock(), request.input
        what = "invoke dropped"
        if request.operation == "CreateSchedule":
            due = datetime.strptime(event["ScheduleExpression"], "at(%Y-%m-%dT%H:%M:%S)").replace(tzinfo=UTC)
            at, event, what = due.timestamp(), json.loads(event["Target"]["Input"]), "schedule dropped"
        elif request.operation == "SendMessage":
            at, event, what = at + event["DelaySeconds"], json.loads(event["MessageBody"])["event"], "message dropped"
        with self._lock:
            self._struck.setdefault(event["id"], _Struck(what, at))

    @property
    def struck(self) -> dict[str, str]:
        """What has not gone on yet, and what had happened to it."""
        with self._lock:
            return {id: struck.what for id, struck in self._struck.items()}

    def _journal(self, id: str, sort: str, data: str) -> None:
        segments = self._journals.setdefault(id, {})
        before = _results(segments)
        segments[sort] = data
        self.events += [Recorded(id, step) for step in _results(segments)[len(before) :]]

    def _status(self, id: str, status: Status, pid: int) -> None:
        if status is Status.READY:
            return  # it is to go on, and does not yet
        if status is Status.RUNNING:
            self._running[id] = pid
        else:
            self._running.pop(id, None)
        struck = self._struck.get(id)
        if struck is not None and pid != struck.pid:
            del self._struck[id]
            self.recoveries.append(Recovery(struck.what, max(0.0, self.clock() - struck.at)))


def _results(segments: dict[str, str]) -> list[str]:
    """The steps whose results are in a journal, in their order."""
    stored = [JournalSegment("", "", 0, data) for sort, data in sorted(segments.items()) if sort != INLINE]
    last = inline(stored, segments.get(INLINE))
    entries = [entry for entry, _ in decode([*(segment.data for segment in stored), *([last] if last else [])])]
    steps = {entry.n: entry.name for entry in entries if isinstance(entry, CommandIssued) and entry.kind == "run"}
    return [steps[entry.n] for entry in entries if isinstance(entry, ResultDelivered) and entry.n in steps]


def writes(request: Request) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """What a request writes: partition, sort key, and the attributes' new values."""
    match request.operation:
        case "PutItem" | "UpdateItem":
            yield _write(request.input)
        case "TransactWriteItems":
            for item in request.input["TransactItems"]:
                for kind in item.keys() & {"Put", "Update"}:
                    yield _write(item[kind])


def _write(write: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    if "Item" in write:
        return write["Item"]["pk"]["S"], write["Item"]["sk"]["S"], write["Item"]
    names, values = write.get("ExpressionAttributeNames", {}), write.get("ExpressionAttributeValues", {})
    assigned = re.findall(r"(\S+) = (:\w+)", write["UpdateExpression"])
    return (
        write["Key"]["pk"]["S"],
        write["Key"]["sk"]["S"],
        {names.get(name, name): values[at] for name, at in assigned},
    )


class Ledger:
    """Where steps say that they run: an address, and what is told when they do."""

    def __init__(self, ran: Callable[[Ran], None]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                ran(Ran(**json.loads(self.rfile.read(int(self.headers["content-length"])))))
                self.send_response_only(204)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Ledger:
        threading.Thread(target=self._server.serve_forever, args=[0.05], daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
