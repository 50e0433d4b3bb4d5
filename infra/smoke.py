"""One run on a real account: what no emulator shows.

    python -m infra.smoke

It deploys the examples as the stack `adapter-smoke` to where your AWS credentials lead, takes the tour, tries and
measures what is only known from documentation, prints a report, and deletes the stack. It takes some ten minutes, and
costs cents.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
from botocore.exceptions import ClientError

from infra.deploy import build, deploy, local_parameters
from infra.signing import signer
from infra.stack import Stack
from infra.tour import Tour, UnexpectedError

NAME = "adapter-smoke"


class Smoke:
    """What is tried on a deployed stack. Each check returns what it found, or raises.

    Args:
        stack: Where the examples are deployed.
    """

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self._run = uuid4().hex[:6]
        self._http = httpx.Client(base_url=stack.url, timeout=60, auth=signer(stack))

    def unsigned(self) -> str:
        """Requests without a signature"""
        admin = httpx.get(f"{self.stack.url}/admin/services", timeout=60).status_code
        _expect(admin == 403, f"403 for the admin, not {admin}")
        service = httpx.post(f"{self.stack.url}/Counter/{self._run}/total", timeout=60).status_code
        return f"403 for the admin, {service} for services"

    def keys(self) -> str:
        """Keys that need encoding"""
        for key in ("a/b", "100%", "a?b", "ä b"):
            path = f"/Counter/add?key={quote(f'{key}-{self._run}', safe='')}"
            answer = self._http.post(path, json=1)
            _expect(answer.is_success and answer.json() == 1, f"1 for {path}, not {answer.status_code} {answer.text}")
        return "all arrive as they are"

    def latency(self) -> str:
        """200 calls of an exclusive handler, one after the other, fresh keys"""
        times: list[float] = []
        for n in range(200):
            started = time.monotonic()
            answer = self._http.post(f"/Counter/{self._run}-{n}/add", json=1)
            _expect(answer.is_success, f"a success, not {answer.status_code} {answer.text}")
            times.append((time.monotonic() - started) * 1000)
        times.sort()
        return (
            f"median {statistics.median(times):.0f} ms, 99 % within {times[197]:.0f} ms, the first {max(times):.0f} ms"
        )

    def burst(self) -> str:
        """Calls at once, 100 of them on AWS"""
        count = 10 if self.stack.endpoint else 100  # an emulator starts a process of this machine for each
        with ThreadPoolExecutor(count) as pool:
            keys = (f"{self._run}-burst-{n}" for n in range(3 * count))
            found = list(pool.map(lambda key: self._http.post(f"/Counter/{key}/add", json=1), keys))
        codes = sorted({answer.status_code for answer in found})
        late = {504} if self.stack.endpoint else set[int]()  # this machine may take long to start the processes
        _expect(set(codes) <= {200, 429, 503} | late, f"200, 429 or 503, not {codes}")
        return ", ".join(f"{sum(a.status_code == code for a in found)} times {code}" for code in codes)

    def short_delays(self) -> str:
        """Ten messages with delays of 5 to 14 seconds: how late they are"""
        with ThreadPoolExecutor(10) as pool:
            late = list(pool.map(self._lateness, range(5, 15)))
        _expect(min(late) >= 0, "none before its time")
        return f"{min(late):.1f} to {max(late):.1f} s late, up to half a second of which is this measurement"

    def past_schedule(self) -> str:
        """A schedule for a time that has passed"""
        at = datetime.now(UTC) - timedelta(minutes=5)
        scheduler, name = self.stack.client("scheduler"), f"smoke-{self._run}"
        group = self.stack.outputs["TimersGroup"]
        dead_letters = self.stack.client("sqs").get_queue_attributes(
            QueueUrl=self.stack.outputs["DeadLettersUrl"], AttributeNames=["QueueArn"]
        )["Attributes"]["QueueArn"]
        try:
            scheduler.create_schedule(
                Name=name,
                GroupName=group,
                ScheduleExpression=f"at({at:%Y-%m-%dT%H:%M:%S})",
                FlexibleTimeWindow={"Mode": "OFF"},
                ActionAfterCompletion="DELETE",
                Target={"Arn": dead_letters, "RoleArn": self._schedule_role(), "Input": "{}"},
            )
        except ClientError as error:
            return f"refused: {error.response['Error']['Code']}"
        return "accepted"

    def gateway_limit(self) -> str:
        """A handler that takes longer than API Gateway waits"""
        items = [{"sku": f"item-{n}", "quantity": 16} for n in range(10)]
        started = time.monotonic()
        answer = self._http.post(f"/Shipping/{self._run}/ship", json={"items": items})
        took = time.monotonic() - started
        _expect(answer.status_code in (502, 503, 504), f"502 to 504, not {answer.status_code} {answer.text}")
        return f"{answer.status_code} after {took:.1f} s: {answer.text[:200]}"

    def cold_starts(self) -> str:
        """Cold starts, by the functions' logs"""
        events = self.stack.client("logs").filter_log_events(
            logGroupName=self.stack.outputs["LogGroup"], filterPattern='"Init Duration"'
        )["events"]
        found = (re.search(r"Init Duration: ([\d.]+) ms", event["message"]) for event in events)
        times = sorted(float(each[1]) for each in found if each)  # a function may log these words, too
        return f"{len(times)}, median {statistics.median(times):.0f} ms" if times else "none logged"

    def _lateness(self, delay: int) -> float:
        name = f"smoke-{self._run}-{delay}"
        sent = time.monotonic()
        answer = self._http.post(f"/Mailer/{name}/mail/send?delay={delay}s", json="late")
        _expect(answer.status_code == 202, f"202, not {answer.status_code} {answer.text}")
        while self._http.post(f"/Mailer/{name}/sent").json() != ["late"]:
            _expect(
                time.monotonic() - sent < delay + 90, f"a message with a delay of {delay} s within 90 s of its time"
            )
            time.sleep(0.25)
        return time.monotonic() - sent - delay

    def _schedule_role(self) -> str:
        settings: dict[str, Any] = json.loads(self.stack.outputs["Settings"])
        return str(settings["schedule_role"])

    @property
    def checks(self) -> list[Callable[[], str]]:
        """All of it, in this order."""
        return [
            self.unsigned,
            self.keys,
            self.latency,
            self.burst,
            self.short_delays,
            self.past_schedule,
            self.gateway_limit,
            self.cold_starts,
        ]

    def report(self) -> tuple[list[str], bool]:
        """Run all checks. Return a table of what they found, and whether all succeeded."""
        lines, well = ["| | |", "| --- | --- |"], True
        for check in self.checks:
            assert check.__doc__
            try:
                found = check()
            except (UnexpectedError, httpx.HTTPError, ClientError) as error:
                found, well = f"**not as it should be**: {error or type(error).__name__}", False
            lines.append(f"| {check.__doc__} | {found} |")
            print(f"==> {check.__doc__}: {found}", flush=True)
        return lines, well


def _expect(holds: bool, what: str) -> None:
    if not holds:
        raise UnexpectedError(f"expected: {what}")


def delete(stack: Stack) -> None:
    """Delete the stack, and wait for that."""
    cloudformation = stack.client("cloudformation")
    cloudformation.delete_stack(StackName=stack.name)
    cloudformation.get_waiter("stack_delete_complete").wait(StackName=stack.name, WaiterConfig={"Delay": 5})


def main() -> int:
    stack = Stack.from_environment(NAME)
    local = local_parameters() if stack.endpoint else {}
    build(parameters=local)
    parameters = local | {"DeletionProtection": "false", "Authorization": "AWS_IAM"}
    started = time.monotonic()
    try:
        deploy(stack, parameters=parameters)
        print(f"==> deployed in {time.monotonic() - started:.0f} s: {stack.url}", flush=True)
        try:
            Tour(stack).take()
            toured = "all as it should be"
        except (UnexpectedError, httpx.HTTPError) as error:
            toured = f"**not as it should be**: {error or type(error).__name__}"
        lines, well = Smoke(stack).report()
    finally:
        started = time.monotonic()
        delete(stack)
        print(f"==> deleted in {time.monotonic() - started:.0f} s", flush=True)
    print("\n".join(["", *lines, f"| The tour | {toured} |", ""]), flush=True)
    return 0 if well and toured.startswith("all") else 1


if __name__ == "__main__":
    sys.exit(main())
