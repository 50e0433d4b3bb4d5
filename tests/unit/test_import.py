"""What `import adapter` brings along: a cold start pays for all of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

import adapter

HEAVY = {
    "boto3", "botocore", "httpx", "starlette", "mangum", "pynamodb", "aws_lambda_powertools", "rich", "tenacity",
    "typer", "uvicorn",
}  # fmt: skip


def test_importing_the_library_imports_nothing_of_aws_or_http() -> None:
    code = "import sys; from adapter import Context, handler; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "pydantic" in loaded
    assert HEAVY.intersection(loaded) == set()


def test_every_public_name_is_there() -> None:
    assert {name for name in adapter.__all__ if getattr(adapter, name, None) is None} == set()
    assert set(adapter.__all__) <= set(dir(adapter))
    assert adapter.serde.json is not None
    assert not hasattr(adapter, "Nothing")


ENTRY = """
import asyncio, sys
from adapter import Context, Service, handler, lambda_handler

class Greeter(Service):
    @handler
    async def greet(self, ctx: Context, name: str) -> str:
        return await ctx.run("greet", lambda: f"Hello {name}")

entry = lambda_handler(Greeter)
loaded = set(sys.modules)
"""
"""What a function's module does, as Lambda imports it."""

COLD = {
    "adapter", "annotated_types", "anyio", "aws_lambda_powertools", "botocore", "h11", "jmespath", "mangum",
    "opentelemetry", "pydantic", "pydantic_core", "starlette", "typing_extensions", "typing_inspection",
}  # fmt: skip
"""The packages that a cold start imports. Each costs milliseconds, which a quarter of a core multiplies by four.

Of botocore it is the package itself, whose version Powertools reads. OpenTelemetry is there only with the extra."""

LATER = {
    "adapter.aws.clients", "adapter.aws.deployed", "adapter.aws.models", "adapter.aws.operating", "adapter.cli",
    "adapter.client", "adapter.console", "adapter.http.admin", "adapter.http.openapi", "adapter.local",
    "adapter.project", "adapter.restate", "adapter.testing",
}  # fmt: skip
"""Modules of ours that no function needs before it is asked for what is in them."""

SETTINGS = {
    "name": "app",
    "invocations": "invocations",
    "objects": "objects",
    "schedules": "app-timers",
    "schedule_role": "arn:aws:iam::1:role/schedules",
    "dead_letters": "arn:aws:sqs:eu-central-1:1:dead",
    "delays": "https://sqs.eu-central-1.amazonaws.com/1/delays",
    "longest_delay": 60,
}


def started(program: str) -> list[str]:
    """What a program prints as a process of Lambda's, whose requests to AWS find nobody."""
    variables = {
        "AWS_LAMBDA_FUNCTION_NAME": "app_greeter",
        "AWS_LAMBDA_FUNCTION_VERSION": "7",
        "AWS_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "ADAPTER_STACK": json.dumps(SETTINGS),
        "PATH": os.environ["PATH"],
    }
    ran = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()[-1].split()


def test_a_cold_start_imports_these_packages_and_no_others() -> None:
    loaded = started(ENTRY + "print(*sorted(loaded))")
    packages = {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names
    assert {name for name in packages if not name.startswith("_")} - {"sitecustomize"} <= COLD
    assert [name for name in loaded if name.startswith("botocore.")] == []
    assert [name for name in loaded if any(name == late or name.startswith(f"{late}.") for late in LATER)] == []


def test_the_first_request_imports_nothing() -> None:
    """It is all imported while Lambda initialises the process, which then has CPU to spare."""
    program = """
from adapter.aws.store import DynamoStore

class Invocation:
    aws_request_id = "r"
    def get_remaining_time_in_millis(self):
        return 10_000

event = {
    "version": "2.0", "rawPath": "/Greeter/greet", "rawQueryString": "",
    "headers": {"content-type": "application/json"},
    "requestContext": {"http": {"method": "POST", "path": "/", "protocol": "HTTP/1.1", "sourceIp": "1.1.1.1"},
                       "timeEpoch": __import__("time").time_ns() // 1_000_000 + 3_600_000},
    "body": '"Mary"', "isBase64Encoded": False,
}
async def commit(store, changes, commit_id): ...
DynamoStore.commit = commit
answer = entry(event, Invocation())
assert answer["body"] == '"Hello Mary"', answer
print(*(set(sys.modules) - loaded), "")
"""
    assert started(ENTRY + program) == []


def test_no_schema_is_built_before_it_is_needed() -> None:
    code = """
import pydantic
made = []
before = pydantic.TypeAdapter.__init__
pydantic.TypeAdapter.__init__ = lambda self, *args, **options: (made.append(args), before(self, *args, **options))[1]
from adapter import Context, Service, handler
from adapter.registry import Registry
class Greeter(Service):
    @handler
    async def greet(self, ctx: Context, name: str) -> list[str]: ...
registry = Registry(Greeter)
assert made == [], made
registry.services["Greeter"].handlers["greet"].validate_input(b'"x"')
assert made == [(str,)], made
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("missing", "code", "message"),
    [
        ("httpx", "from adapter import Client", "Client needs httpx, which the extra .*client"),
        ("tenacity", "from adapter import SyncClient", "SyncClient needs tenacity, which the extra"),
        ("uvicorn", "from adapter.cli import main; main(['dev', 'x'])", r"uvicorn is not installed: pip .*\[cli\]"),
        ("typer", "from adapter.cli import main; main([])", r"typer is not installed: pip .*\[cli\]"),
        ("rich", "from adapter.cli import main; main(['inv', '--help'])", r"rich is not installed: pip .*\[cli\]"),
        ("watchfiles", "from adapter.cli import main; main(['dev', 'x'])", "watchfiles is not installed: pip "),
    ],
)
def test_what_an_extra_brings_is_named(missing: str, code: str, message: str) -> None:
    program = [sys.executable, "-c", f"import sys; sys.modules[{missing!r}] = None; {code}"]
    ran = subprocess.run(program, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert re.search(message, ran.stderr)
