"""A tour of the deployed examples over HTTP: every request and answer, as they happen.

    python -m infra.tour

Ends with status 1 at the first answer that is not as it should be.
"""

from __future__ import annotations

import json
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import httpx

from infra import emulator
from infra.emulator import Emulator
from infra.signing import signer
from infra.stack import Stack

PATIENCE = 180
"""Seconds to wait for what happens later: a crash is noticed when the function's time is over, then swept up."""


SCHEDULED = 65
"""Seconds of a delay that goes through EventBridge Scheduler."""


SIGNING = """\
    # The routes ask for a signature: give curl
    #   --aws-sigv4 aws:amz:{region}:execute-api --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY"
    #   and, with temporary credentials, -H "x-amz-security-token: $AWS_SESSION_TOKEN"
"""


class UnexpectedError(Exception):
    """An answer, or its absence, that is not as it should be."""


class Tour:
    """What can be done with the examples.

    Args:
        stack: Where they are deployed.
        local: The emulator that they run on, if its processes are ours to kill.
    """

    def __init__(self, stack: Stack, local: Emulator | None = None) -> None:
        self._stack = stack
        self._local = local
        # On AWS the routes ask for a signature, unless the stack was deployed with Authorization=NONE.
        self._http = httpx.Client(base_url=stack.url, timeout=90, auth=signer(stack))
        # Names of this tour's own, so that the next one begins anew.
        self._run = uuid4().hex[:6]
        self._scheduled = ("", 0.0)

    def service_call(self) -> None:
        """A call to a service, which calls an object and leaves a message to be delivered in five hours."""
        mary = f"mary-{self._run}"
        for visit in (1, 2):
            self.post("/Greeter/greet", mary, expect=f"Hello {mary}, visit {visit}")

    def object_counts(self) -> None:
        """An object: state of its own per key, one exclusive handler at a time."""
        path = f"/Counter/visitors-{self._run}"
        self.post(f"{path}/add", 2, expect=2)
        say("ten at once, all for the same key:")
        with ThreadPoolExecutor(10) as pool:
            answers = list(pool.map(lambda _: self.quiet("POST", f"{path}/add", 1), range(10)))
        say(f"  {', '.join(sorted({str(answer.status_code) for answer in answers}))}: {[a.text for a in answers]}")
        self.expect(sorted(answer.text for answer in answers) == sorted(map(str, range(3, 13))), "every answer once")
        self.post(f"{path}/total", expect=12)

    def workflow_runs_once(self) -> None:
        """A workflow: it runs once per id, waits for a person by a promise, and can be asked during and after."""
        path, email = f"/SignUp/{self._run}", f"{self._run}@example.com"
        self.post(f"{path}/run/send", email, status=202)
        code = self.until("the code is mailed", lambda: self.mails(email))[0].removeprefix("Your code is ")
        self.post(f"{path}/status", expect="waiting")
        say("a second run of the same id is refused:")
        self.post(f"{path}/run", email, status=409)
        self.post(f"{path}/confirm", "a wrong code", status=403)
        self.post(f"{path}/confirm", code, expect="confirmed")
        say("its result, whoever asks for it:")
        self.get(f"/restate/workflow/SignUp/{self._run}/attach", expect="confirmed")
        self.post(f"{path}/status", expect="confirmed")

    def one_way_message(self) -> None:
        """A one-way message: stored before it is answered, handled later."""
        name = f"john-{self._run}"
        self.post(f"/Mailer/{name}/mail/send", "one way", status=202)
        self.until("it is handled", lambda: self.mails(name) == ["one way"])
        self.post(f"/Mailer/{name}/sent", expect=["one way"])

    def delayed_messages(self) -> None:
        """Delayed messages: up to a minute SQS wakes them, precise to a second; beyond, EventBridge Scheduler does."""
        name, late = f"jane-{self._run}", f"joan-{self._run}"
        before = self.schedules()
        self.post(f"/Mailer/{late}/mail/send?delay={SCHEDULED}s", "a good minute later", status=202)
        self._scheduled = late, time.monotonic()
        made = self.schedules() - before
        say(f"this made a schedule in EventBridge Scheduler: {', '.join(made)}")
        self.expect(len(made) == 1, "one schedule more")
        before = self.schedules()
        sent = time.monotonic()
        self.post(f"/Mailer/{name}/mail/send?delay=5s", "five seconds later", status=202)
        self.expect(not self.schedules() - before, "no further schedule")
        say("this made none: the message waits in a queue of SQS")
        self.until("it is delivered", lambda: self.mails(name))
        seconds = time.monotonic() - sent
        say(f"delivered after {seconds:.1f} s; the other one comes later in this tour")
        self.expect(seconds >= 5, "not before its time")

    def scheduled_message(self) -> None:
        """The longer delay from before: EventBridge Scheduler delivers it."""
        name, sent = self._scheduled
        self.until("it is delivered", lambda: self.mails(name))
        say(f"it was sent {time.monotonic() - sent:.0f} s ago, with a delay of {SCHEDULED} s")
        self.post(f"/Mailer/{name}/sent", expect=["a good minute later"])

    def idempotent_duplicate(self) -> None:
        """The same request twice: carried out once, answered twice."""
        name = f"dave-{self._run}"
        for _ in range(2):
            self.post("/Greeter/greet", name, key=f"greet-{name}", expect=f"Hello {name}, visit 1")
        self.post(f"/Counter/{name}/total", expect=1)

    def saga(self) -> None:
        """A saga over three services in another function: it succeeds, or what it did is undone."""
        sku, customer = f"book-{self._run}", f"anna-{self._run}"
        order: dict[str, Any] = {"customer": customer, "items": [{"sku": sku, "quantity": 2}], "cents": 4_000}
        self.post(f"/Inventory/{sku}/restock", 10, expect=10)
        self.post(f"/Checkout/{self._run}-1/run", order)
        self.post(f"/Inventory/{sku}/stock", expect=8)
        self.post("/Payment/balance", customer, expect=96_000)
        say("and where nothing is delivered: stock and money come back")
        self.post(f"/Checkout/{self._run}-2/run", order | {"country": "Atlantis"}, status=422)
        self.post(f"/Inventory/{sku}/stock", expect=8)
        self.post("/Payment/balance", customer, expect=96_000)

    def awakeable(self) -> None:
        """An awakeable: a large payment waits until somebody outside approves it, or until it has taken too long."""
        sku, customer = f"piano-{self._run}", f"carl-{self._run}"
        order: dict[str, Any] = {"customer": customer, "items": [{"sku": sku}], "cents": 60_000}
        self.post(f"/Inventory/{sku}/restock", 2, expect=2)
        late, paid = f"{self._run}-late", f"{self._run}-paid"
        self.post(f"/Checkout/{late}/run/send", order | {"patience": "PT15S"}, status=202)
        self.until("the customer is asked", lambda: self.mails(customer))
        self.post(f"/Checkout/{paid}/run/send", order, status=202)
        self.until("the customer is asked again", lambda: len(self.mails(customer)) == 2)
        mail = self.mails(customer)[1]
        say(f"{mail!r}\nboth pianos are kept, and no process waits:")
        self.post(f"/Inventory/{sku}/stock", expect=0)
        awakeable = mail.rpartition(" ")[2]
        self.post(f"/restate/awakeables/{awakeable}/resolve", status=202)
        self.get(f"/restate/workflow/Checkout/{paid}/attach")
        say("an awakeable is completed once:")
        self.post(f"/restate/awakeables/{awakeable}/reject", status=409)
        say("the other order had fifteen seconds, which are over; the piano goes back:")
        self.get(f"/restate/workflow/Checkout/{late}/attach", status=408)
        self.post(f"/Inventory/{sku}/stock", expect=1)
        self.post("/Payment/balance", customer, expect=40_000)

    def crash(self) -> None:
        """A crash: the process is killed in the middle of a handler; the steps that it finished are not run again."""
        if self._local is None:
            say("left out: where this stack runs, no process is ours to kill")
            return
        path = f"/Shipping/crash-{self._run}"
        items = [{"sku": sku, "quantity": 6} for sku in ("lamp", "desk", "chair", "shelf")]
        say("packing takes a second and a half per item; the answer will be kept for this idempotency key")
        with ThreadPoolExecutor(1) as pool:
            pending = pool.submit(self.quiet, "POST", f"{path}/ship", {"items": items}, f"ship-{self._run}")
            before = self.until("two of four items are packed", lambda: self.packed(path, 2))
            worker = before[0]["worker"]
            self._local.kill_worker(worker)
            say(f"killed process {worker}")
            answer = pending.result()
        say(f"the gateway's answer: {answer.status_code}")
        self.expect(answer.status_code >= 500, "no answer from a process that is gone")
        say("nobody does anything now. When the function's time is over, the sweeper sends another process:")
        after = self.until("all is packed", lambda: self.packed(path, 4))
        for packed in after:
            say(f"  {packed['item']['sku']:<6} packed by process {packed['worker']}")
        workers = [packed["worker"] for packed in after]
        self.expect(after[:2] == before[:2], "what was finished was not done again")
        self.expect(workers[3] != worker, "another process went on")
        say("the same request again has the answer that the first one did not get:")
        self.post(f"{path}/ship", {"items": items}, key=f"ship-{self._run}", expect=after)

    # --- requests ---

    def post(
        self,
        path: str,
        body: object = None,
        *,
        key: str | None = None,
        status: int = 200,
        expect: object = None,
    ) -> httpx.Response:
        """Send a request, show it and its answer, and make sure that it is the one expected."""
        return self._exchange("POST", path, body, key, status, expect)

    def get(self, path: str, *, status: int = 200, expect: object = None) -> httpx.Response:
        return self._exchange("GET", path, None, None, status, expect)

    def quiet(self, method: str, path: str, body: object = None, key: str | None = None) -> httpx.Response:
        """Send a request without a word."""
        content = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"} if content else {}
        if key:
            headers["idempotency-key"] = key
        return self._http.request(method, path, content=content, headers=headers)

    def mails(self, name: str) -> list[str]:
        """What was mailed to somebody."""
        mails: list[str] = self.quiet("POST", f"/Mailer/{name}/sent").json()
        return mails

    def schedules(self) -> set[str]:
        """The names of the stack's timers in EventBridge Scheduler."""
        pages = self._stack.client("scheduler").get_paginator("list_schedules")
        found = pages.paginate(GroupName=self._stack.outputs["TimersGroup"])
        return {schedule["Name"] for page in found for schedule in page["Schedules"]}

    def packed(self, path: str, count: int) -> list[dict[str, Any]]:
        """What is packed, once it is that many items."""
        answer = self.quiet("POST", f"{path}/track")
        # The function may be busy dying.
        packed: list[dict[str, Any]] = answer.json() if answer.is_success else []
        return packed if len(packed) >= count else []

    def until(self, what: str, happened: Callable[[], Any]) -> Any:
        """Wait for something, and say so; what it returns first that is not false."""
        started = time.monotonic()
        with _progress(f"waiting until {what} "):
            while not (result := happened()):
                if time.monotonic() - started > PATIENCE:
                    raise UnexpectedError(f"{what}: not within {PATIENCE} s")
                time.sleep(0.25)
                if round((time.monotonic() - started) * 4) % 20 == 0:
                    print(".", end="", flush=True)
        return result

    def expect(self, holds: bool, what: str) -> None:
        if not holds:
            raise UnexpectedError(f"expected: {what}")

    def _exchange(
        self, method: str, path: str, body: object, key: str | None, status: int, expect: object
    ) -> httpx.Response:
        shown = "" if body is None else f" {json.dumps(body, ensure_ascii=False)}"
        say(f"{method} {path}{shown}" + (f"   (Idempotency-Key: {key})" if key else ""))
        started = time.monotonic()
        response = self.quiet(method, path, body, key)
        text = response.text if len(response.text) < 400 else response.text[:400] + " …"
        say(f"  {response.status_code} {text}   {(time.monotonic() - started) * 1000:.0f} ms")
        self.expect(response.status_code == status, f"status {status}")
        if expect is not None:
            self.expect(response.json() == expect, json.dumps(expect))
        return response

    def take(self) -> None:
        """All of it."""
        chapters = [
            self.service_call,
            self.object_counts,
            self.workflow_runs_once,
            self.one_way_message,
            self.delayed_messages,
            self.idempotent_duplicate,
            self.saga,
            self.awakeable,
            self.scheduled_message,
            self.crash,
        ]
        for number, chapter in enumerate(chapters, 1):
            assert chapter.__doc__
            print(f"\n{number}. {chapter.__doc__}\n", flush=True)
            chapter()


def say(text: str) -> None:
    print(textwrap.indent(text, "   "), flush=True)


@contextmanager
def _progress(text: str) -> Iterator[None]:
    started = time.monotonic()
    print(f"   {text}", end="", flush=True)
    try:
        yield
    finally:
        print(f" {time.monotonic() - started:.1f} s", flush=True)


def main() -> int:
    stack = Stack.from_environment()
    running = emulator.find()
    local = running if running is not None and running.url == stack.endpoint else None
    print(f"==> tour: {stack.url}", flush=True)
    try:
        Tour(stack, local).take()
    except (UnexpectedError, httpx.HTTPError) as error:
        print(f"\n==> not as it should be: {error or type(error).__name__}", flush=True)
        if local is not None:
            print(f"    the log of the functions: {local.log}", flush=True)
        return 1
    hint = "" if stack.endpoint else SIGNING.format(region=stack.region)
    print(
        f"""
==> all as it should be. Go on yourself:

    URL='{stack.url}'
{hint}    curl -X POST "$URL/Greeter/greet" --json '"Mary"'
    curl -X POST "$URL/Counter/Mary/add" --json '1' -H 'Idempotency-Key: some-key-of-yours'
    curl -X POST "$URL/Mailer/Mary/mail/send?delay=20s" --json '"hello"'
    curl -X POST "$URL/Mailer/Mary/sent"

    make stop   ends the emulator that `make run` started
""",
        flush=True,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
