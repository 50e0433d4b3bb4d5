"""The command line in this process, against a server in a thread."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from adapter.cli import main
from tests.drills.world import World
from tests.drills.world import world as served


@dataclass(frozen=True)
class Ran:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self) -> dict[str, Any]:
        """The error, where JSON was asked for."""
        return dict(json.loads(self.err)["error"])


class Cli:
    """Runs commands: ``cli("inv", "list")``."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys = capsys
        self._monkeypatch = monkeypatch

    def __call__(self, *arguments: str, input: str | bytes = "") -> Ran:
        data = input.encode() if isinstance(input, str) else input
        self._monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        printed = self._capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return Ran(code, printed.out, printed.err)

    def ok(self, *arguments: str, input: str | bytes = "") -> Ran:
        """Run a command that has to succeed."""
        ran = self(*arguments, input=input)
        assert ran.code == 0, ran.err
        return ran


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with served() as world:
        yield world


@pytest.fixture
def bare(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The command line without a server."""
    for name in ("ADAPTER_URL", "AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    return Cli(capsys, monkeypatch)


@pytest.fixture
def cli(bare: Cli, world: World, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The command line with a server."""
    monkeypatch.setenv("ADAPTER_URL", world.url)
    return bare
