"""What `import adapter` brings along: a cold start pays for all of it."""

from __future__ import annotations

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
