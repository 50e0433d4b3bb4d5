"""``adapter dev``: what it logs, and what it says of a DynamoDB that it cannot use."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest

from tests.unit.dev import MODULE, ROOT, Dev

FAILING = """
import logging
from datetime import timedelta
from adapter import Context, RetryPolicy, Service, handler

class Shop(Service):
    @handler(retry=RetryPolicy(initial=timedelta(milliseconds=50), attempts=2, exhausted="kill"))
    async def order(self, ctx: Context) -> None:
        logging.getLogger("plain").info("before")
        await ctx.run("step", int)
        raise ValueError("no pears\\nsecond line")
"""


def test_its_log_has_a_line_for_each_attempt_and_request_and_each_traceback_once(
    dev: Callable[..., Dev], tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(FAILING)
    process = dev("shop", "--no-reload")
    answer = httpx.post(f"{process.url}/Shop/order?token=secret", timeout=60)
    assert answer.status_code == 500
    id = answer.headers["x-restate-id"]
    process.until("curl")
    process.said.clear()
    process.until("POST /Shop/order")
    lines = [re.sub("^[0-9:]{8} ", "", line.rstrip()) for line in process.said]
    assert lines.pop(-2).startswith("INFO    Shop/order: failed with 500 after ")
    assert re.fullmatch(rf"INFO    POST /Shop/order: 500 in [\d.]+ (ms|s|min) \({id}\)", lines.pop())
    assert lines == [
        f"INFO    Shop/order: before ({id})",
        f"WARNING Shop/order: attempt failed (1 of 2; next in 50 ms): ValueError: no pears (shop.py:11) ({id})",
        "Traceback (most recent call last):",
        f'  File "{tmp_path}/shop.py", line 11, in order',
        r'    raise ValueError("no pears\nsecond line")',
        "ValueError: no pears",
        "second line",
        f"WARNING Shop/order: attempt failed (2 of 2; given up): ValueError: no pears (shop.py:11) ({id})",
    ]


def test_an_invocations_lines_are_printed_by_the_command_line(dev: Callable[..., Dev], tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(FAILING)
    process = dev("shop", "--no-reload")
    url = process.url
    id = httpx.post(f"{url}/Shop/order", timeout=60).headers["x-restate-id"]
    other = httpx.post(f"{url}/Shop/order", timeout=60).headers["x-restate-id"]
    process.until(rf"POST /Shop/order: 500 .*{other}")  # so the lines of the first are all there
    command = [sys.executable, "-m", "adapter", "inv", "logs", id, "--url", url, "--follow"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    lines = [re.sub("^[0-9: -]{20}", "", line) for line in ran.stdout.splitlines()]
    assert lines[0] == "INFO    Shop/order: before"
    assert lines[1].startswith("WARNING Shop/order: attempt failed (1 of 2; next in 50 ms): ValueError: no pears")
    assert "ValueError: no pears" in lines
    assert any(line.startswith("INFO    Shop/order: failed with 500 after ") for line in lines)
    assert re.fullmatch(r"INFO    POST /Shop/order: 500 in \S+ \w+", lines[-1])  # and no look of an operator
    assert other not in ran.stdout


def test_the_consoles_requests_are_not_logged(dev: Callable[..., Dev], tmp_path: Path) -> None:
    (tmp_path / "greeter.py").write_text(MODULE)
    process = dev("greeter", "--no-reload")
    url = process.url
    httpx.get(f"{url}/console/config.json", timeout=60)
    httpx.get(f"{url}/admin/services", headers={"x-adapter-console": "1"}, timeout=60)
    httpx.get(f"{url}/admin/services", timeout=60)
    httpx.post(f"{url}/Greeter/greet", json="Mary", timeout=60)
    process.until("POST /Greeter/greet")
    requests = [line for line in process.said if re.search("INFO    (GET|POST) ", line)]
    assert [" ".join(line.split()[2:4]).rstrip(":") for line in requests] == [
        "GET /admin/services",
        "POST /Greeter/greet",
    ]


def test_requests_for_a_result_that_is_not_there_yet_are_not_logged(dev: Callable[..., Dev], tmp_path: Path) -> None:
    (tmp_path / "greeter.py").write_text(MODULE)
    process = dev("greeter", "--no-reload")
    url = process.url
    id = httpx.post(f"{url}/Greeter/greet/send?delay=1h", json="Mary", timeout=60).json()["invocationId"]
    attach = f"{url}/restate/invocation/{id}/attach"
    assert httpx.get(attach, headers={"prefer": "respond-suspended"}, timeout=60).status_code == 202
    httpx.get(f"{url}/restate/invocation/{id}/output", timeout=60)
    process.until("/output: 470")
    requests = [line for line in process.said if re.search("INFO    (GET|POST) ", line)]
    assert ["/attach" in line for line in requests] == [False, False]


def test_replayed_lines_are_shown_and_marked_if_asked_for(dev: Callable[..., Dev], tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(FAILING)
    process = dev("shop", "--no-reload", "--show-replays")
    httpx.post(f"{process.url}/Shop/order", timeout=60)
    process.until("POST /Shop/order")
    shown = [line.split("Shop/order")[0][9:] for line in process.said if ": before" in line]
    assert shown == ["INFO    ", "INFO    (replay) "]


def test_a_request_that_waits_when_it_stops_gets_a_503(dev: Callable[..., Dev], tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        MODULE.replace("return f", "print('it waits')\n        await ctx.awakeable()\n        return f")
    )
    process = dev("shop")
    url = process.url
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(httpx.post, f"{url}/Greeter/greet", json="Mary", timeout=120)
        process.until("it waits")
        process.process.terminate()
        answer = waiting.result()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "adapter dev is stopping" in answer.json()["message"]
    process.until("POST /Greeter/greet: 503")
    assert process.process.wait(60) == 0
    assert not any("Traceback" in line or "ERROR" in line for line in process.said)


# --- DynamoDB that cannot be had ---


@pytest.mark.parametrize("reload", [[], ["--no-reload"]], ids=["reload", "no-reload"])
@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "cannot reach DynamoDB .* Start the emulator there"),
        ({"AWS_ENDPOINT_URL": "localhost"}, "cannot reach DynamoDB at AWS_ENDPOINT_URL=localhost .* correct the URL"),
        (
            {"AWS_ENDPOINT_URL": "https://dynamodb.eu-west-1.amazonaws.com", "AWS_EC2_METADATA_DISABLED": "true"},
            "no valid AWS credentials .* Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_PROFILE": "nobody"}, r"no valid AWS credentials .*\(nobody\)"),
    ],
    ids=["dead", "wrong", "no credentials", "no profile"],
)
def test_dynamodb_that_cannot_be_had_takes_one_line(
    dev: Callable[..., Dev], tmp_path: Path, environment: dict[str, str], says: str, reload: list[str]
) -> None:
    (tmp_path / "shop.py").write_text(MODULE)
    process = dev("shop", *reload, HOME=str(tmp_path), **environment)
    process.until(f"^adapter dev: {says}")
    assert process.process.wait(60) == 1
    assert (len(process.said), process.output.read()) == (1, "")


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("AccessDeniedException", "access to DynamoDB .* is denied .* Allow the tables one and two .*: CreateTable"),
        ("UnrecognizedClientException", "no valid AWS credentials"),
        ("ExpiredTokenException", "no valid AWS credentials .* or log in again"),
        ("ValidationException", "DynamoDB at http://.* refused to create the tables one and two"),
    ],
)
def test_dynamodb_that_refuses_takes_one_line(dev: Callable[..., Dev], tmp_path: Path, code: str, says: str) -> None:
    class Refusal(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            body = json.dumps({"__type": f"com.amazon.coral.service#{code}", "message": "no"}).encode()
            self.send_response(400)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    (tmp_path / "shop.py").write_text(MODULE)
    with HTTPServer(("127.0.0.1", 0), Refusal) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        process = dev(
            "shop",
            AWS_ENDPOINT_URL=f"http://127.0.0.1:{server.server_port}",
            ADAPTER_INVOCATIONS_TABLE="one",
            ADAPTER_OBJECTS_TABLE="two",
        )
        process.until(f"^adapter dev: {says}")
        assert process.process.wait(60) == 1
        server.shutdown()
    assert (len(process.said), process.output.read()) == (1, "")
