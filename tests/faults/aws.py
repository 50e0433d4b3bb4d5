"""AWS between the functions and the emulator's: DynamoDB, Scheduler, SQS and Lambda as a proxy that can do worse.

What goes wrong with a request is a function of the exchange that it is part of; a plan picks it. A crash can only be
told from others by what was stored before it, so a process is killed right before one of its requests has its effect,
or right after.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import select
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from uuid import uuid4

GIVEN_UP = 10
"""Seconds after which a client that waits for an answer is taken to have given up."""


class Upstream(Protocol):
    """Where requests go, and whose processes they come from; an `infra.emulator.Emulator` is one."""

    @property
    def port(self) -> int: ...

    def workers(self) -> set[int]: ...

    def kill_worker(self, pid: int) -> None: ...


class Process(NamedTuple):
    """A Lambda worker."""

    pid: int
    """0 where it is not known."""
    function: str


@dataclass(frozen=True)
class Request:
    """What a process asks of AWS."""

    process: Process
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @cached_property
    def operation(self) -> str:
        """As AWS's API calls it, such as ``PutItem``, ``CreateSchedule``, ``SendMessage``, ``Invoke``."""
        target = self.headers.get("x-amz-target", "")
        if target:
            return target.partition(".")[2]
        if self.path.startswith("/schedules/"):
            return {"POST": "CreateSchedule", "DELETE": "DeleteSchedule"}.get(self.method, "GetSchedule")
        return "Invoke" if self.path.endswith("/invocations") else f"{self.method} {self.path}"

    @cached_property
    def input(self) -> dict[str, Any]:
        """Its body as JSON."""
        return json.loads(self.body) if self.body else {}


@dataclass(frozen=True)
class Answer:
    """What AWS says."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class Exchange:
    """A request that waits for its answer."""

    def __init__(self, request: Request, connection: _Connection) -> None:
        self.request = request
        self._connection = connection

    def forward(self, request: Request | None = None) -> Answer:
        """Have it done, or another in its stead."""
        return self._connection.forward(request or self.request)

    def answer(self, answer: Answer) -> None:
        """Tell the process."""
        self._connection.answer(answer)

    def answer_in_part(self, answer: Answer) -> None:
        """Tell the process half of it, and no more."""
        self._connection.answer(answer, in_part=True)
        self.hang_up()

    def hang_up(self) -> None:
        """Never answer."""
        self._connection.close_connection = True

    def wait_for_the_client_to_give_up(self) -> None:
        """Let its time run out, and never answer."""
        _is_readable(self._connection.connection, GIVEN_UP)  # what comes before an answer is the end
        self.hang_up()

    def kill(self) -> None:
        """Kill the process that asks. It is gone when this returns."""
        self.hang_up()
        with suppress(ValueError):  # it is gone already
            self._connection.aws.upstream.kill_worker(self.request.process.pid)


Fault = Callable[[Exchange], None]
Plan = Callable[[Request], Fault | None]
"""Picks what goes wrong with a request. Called by many threads at once."""

Watch = Callable[[Request, Answer], None]
"""Is told of every request that was handed on, once it has its answer and before the process does."""


def all_is_well(request: Request) -> None:
    """The plan in which nothing goes wrong."""


class FaultyAWS:
    """Hands on to the emulator what the functions ask of AWS, unless its plan has something else in mind.

    Args:
        upstream: The emulator.
        watch: Is told what is done.

    Attributes:
        plan: What goes wrong; it may be changed at any time.
        requests: How many there were so far, by the name of the function.
        url: What AWS_ENDPOINT_URL_… has to be.
    """

    def __init__(self, upstream: Upstream, watch: Watch = lambda request, answer: None) -> None:
        self.upstream = upstream
        self.watch = watch
        self.plan: Plan = all_is_well
        self.requests: Counter[str] = Counter()
        self._lock = threading.Lock()
        proxy = self

        class Connection(_Connection):
            aws = proxy

        self._server = _Server(("127.0.0.1", 0), Connection)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def count(self, process: Process) -> None:
        with self._lock:
            self.requests[process.function] += 1

    def __enter__(self) -> FaultyAWS:
        threading.Thread(target=self._server.serve_forever, args=[0.05], daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Processes that end leave connections behind. Anything else is a mistake in here, and looks like a fault."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Connection(BaseHTTPRequestHandler):
    """A process's connection, with one of its own to the emulator."""

    aws: FaultyAWS
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.process = _owner(self.client_address[1], self.connection.getsockname()[1], self.aws.upstream)
        self.upstream = http.client.HTTPConnection("127.0.0.1", self.aws.upstream.port)

    def finish(self) -> None:
        self.upstream.close()
        super().finish()

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.process, self.command, self.path, headers, body)
        exchange = Exchange(request, self)
        self.aws.count(self.process)
        fault = self.aws.plan(request)
        if fault is None:
            exchange.answer(exchange.forward())
        else:
            fault(exchange)

    do_POST = do_GET = do_DELETE = do_PUT = _serve  # noqa: N815

    def forward(self, request: Request) -> Answer:
        if self.upstream.sock is not None and _is_readable(self.upstream.sock):
            self.upstream.close()  # the emulator did, and a request on it would be lost
        self.upstream.request(request.method, request.path, request.body, dict(request.headers))
        response = self.upstream.getresponse()
        answer = Answer(response.status, tuple(response.getheaders()), response.read())
        self.aws.watch(request, answer)
        return answer

    def answer(self, answer: Answer, *, in_part: bool = False) -> None:
        body = answer.body
        self.send_response_only(answer.status)
        for name, value in answer.headers:
            if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("content-length", str(max(1, len(body)) if in_part else len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if in_part else body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _is_readable(connection: Any, seconds: float = 0) -> bool:
    return bool(select.select([connection], [], [], seconds)[0])


def _owner(port: int, proxy: int, upstream: Upstream) -> Process:
    """The worker that owns the local end of a connection to this proxy."""
    sockets = {f"socket:[{inode}]" for inode in _inodes(port, proxy)}
    for pid in upstream.workers():
        process = Path("/proc") / str(pid)
        with suppress(OSError):  # it has ended
            if sockets & set(_open(process / "fd")):
                variables = dict(
                    entry.split("=", 1) for entry in (process / "environ").read_text().split("\0") if "=" in entry
                )
                return Process(pid, variables.get("AWS_LAMBDA_FUNCTION_NAME", ""))
    return Process(0, "")


def _inodes(local: int, remote: int) -> Iterator[str]:
    """The sockets that connect two ports. Another connection from the local port may just have been closed."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if [int(field.partition(":")[2], 16) for field in fields[1:3]] == [local, remote]:
            yield fields[9]


def _open(descriptors: Path) -> Iterator[str]:
    """What a process has open, while it opens and closes files."""
    for descriptor in descriptors.iterdir():
        with suppress(OSError):
            yield os.readlink(descriptor)


# --- faults ----------------------------------------------------------------------------------------------------------


def killed_before(exchange: Exchange) -> None:
    """The process ends before its request has an effect."""
    exchange.kill()


def killed_after(exchange: Exchange) -> None:
    """The process ends when its request has had its effect, and before it knows."""
    exchange.forward()
    exchange.kill()


def unheard(exchange: Exchange) -> None:
    """The request has its effect, and the connection ends."""
    exchange.forward()
    exchange.hang_up()


def cut(exchange: Exchange) -> None:
    """The request has its effect, and the connection ends in the middle of the answer."""
    exchange.answer_in_part(exchange.forward())


def unanswered(exchange: Exchange) -> None:
    """The request has its effect, and no answer comes until the client gives up."""
    exchange.forward()
    exchange.wait_for_the_client_to_give_up()


def belated(exchange: Exchange) -> None:
    """The request has its effect when the client has given up, and perhaps sent it again."""
    exchange.wait_for_the_client_to_give_up()
    exchange.forward()


def slow(seconds: float) -> Fault:
    """The request has its effect at once, and is answered late."""

    def slow(exchange: Exchange) -> None:
        answer = exchange.forward()
        threading.Event().wait(seconds)
        exchange.answer(answer)

    return slow


def dropped(exchange: Exchange) -> None:
    """An invoke, a schedule or a message is accepted, and nothing comes of it."""
    if exchange.request.operation == "Invoke":
        exchange.answer(Answer(202))
    elif exchange.request.operation == "SendMessage":
        digest = hashlib.md5(exchange.request.input["MessageBody"].encode(), usedforsecurity=False).hexdigest()
        exchange.answer(_json(200, {"MessageId": str(uuid4()), "MD5OfMessageBody": digest}))
    else:
        name = exchange.request.path.rpartition("/")[2]
        arn = f"arn:aws:scheduler:us-east-1:000000000000:schedule/{exchange.request.input['GroupName']}/{name}"
        exchange.answer(_json(200, {"ScheduleArn": arn}))


def doubled(exchange: Exchange) -> None:
    """An invoke is carried out twice; a schedule fires twice; a message is delivered twice."""
    answer = exchange.forward()
    again = exchange.request
    if again.operation == "CreateSchedule":
        path, _, name = again.path.rpartition("/")
        again = replace(again, path=f"{path}/again-{name[:58]}")  # up to 64 characters
    exchange.forward(again)
    exchange.answer(answer)


def throttled(exchange: Exchange) -> None:
    """The request has no effect: there were too many."""
    request = exchange.request
    match request.operation:
        case "BatchGetItem":
            exchange.answer(_json(200, {"Responses": {}, "UnprocessedKeys": request.input["RequestItems"]}))
        case "BatchWriteItem":
            exchange.answer(_json(200, {"UnprocessedItems": request.input["RequestItems"]}))
        case "TransactWriteItems":
            exchange.answer(_cancelled(request, "ThrottlingError", "Throughput exceeds the current capacity."))
        case "Invoke":
            exchange.answer(_error(429, "TooManyRequestsException", "Rate Exceeded."))
        case "CreateSchedule" | "DeleteSchedule" | "GetSchedule" | "SendMessage":
            exchange.answer(_error(429, "ThrottlingException", "Rate exceeded"))
        case _:
            message = "The level of configured provisioned throughput for the table was exceeded."
            exchange.answer(_error(400, "ProvisionedThroughputExceededException", message))


def in_conflict(exchange: Exchange) -> None:
    """The write has no effect: a transaction under way holds one of its items."""
    message = "Transaction is ongoing for the item"
    if exchange.request.operation == "TransactWriteItems":
        exchange.answer(_cancelled(exchange.request, "TransactionConflict", message))
    else:
        exchange.answer(_error(400, "TransactionConflictException", message))


def _cancelled(request: Request, code: str, message: str) -> Answer:
    """A transaction's cancellation for the sake of its first item."""
    reasons = [{"Code": code, "Message": message}, *({"Code": "None"} for _ in request.input["TransactItems"][1:])]
    codes = ", ".join(reason["Code"] for reason in reasons)
    text = f"Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]"
    return _error(400, "TransactionCanceledException", text, CancellationReasons=reasons)


def _error(status: int, code: str, message: str, **further: Any) -> Answer:
    # DynamoDB says what it is in the body, the others in a header.
    answer = _json(status, {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": message, **further})
    return replace(answer, headers=(*answer.headers, ("x-amzn-errortype", code)))


def _json(status: int, content: Any) -> Answer:
    return Answer(status, (("content-type", "application/x-amz-json-1.0"),), json.dumps(content).encode())


# --- plans -----------------------------------------------------------------------------------------------------------


class Blow:
    """Kills the process that makes the n-th request of some functions from now on.

    Args:
        n: Which request.
        fault: `killed_before` or `killed_after`.
        functions: The names of the functions.

    Attributes:
        struck: Set when it is done.
        killed: The name of the killed process's function.
        pid: The id of the killed process.
    """

    def __init__(self, n: int, fault: Fault, *functions: str) -> None:
        self.struck = threading.Event()
        self.killed, self.pid = "", 0
        self._left = n
        self._fault = fault
        self._functions = functions
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Fault | None:
        if request.process.function not in self._functions or not request.process.pid:
            return None
        with self._lock:
            self._left -= 1
            return self._strike if self._left == 0 else None

    def _strike(self, exchange: Exchange) -> None:
        self._fault(exchange)
        self.pid, self.killed = exchange.request.process
        self.struck.set()
