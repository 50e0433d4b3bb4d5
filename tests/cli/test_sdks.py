"""What the command line shows of a handler of an SDK: what its code did, and no exchanges with it."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.cli.conftest import Cli
from tests.drills.orders import Placed, placed, serving
from tests.drills.world import PATIENCE


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving() as url:
        yield url


@pytest.fixture
def cli(bare: Cli, url: str, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.setenv("ADAPTER_URL", url)
    return bare


@pytest.fixture
def order(url: str) -> Placed:
    return placed(url)


def test_an_invocation_is_shown_with_its_journal(cli: Cli, order: Placed) -> None:
    shown = cli.ok("inv", "show", order.id).out
    for words in ("get count", "run quote", "set count", "call Stock/reserve", "sleep", order.awakeable):
        assert words in " ".join(shown.split()), words
    assert "exchange" not in shown


def test_its_journal_as_data(cli: Cli, order: Placed) -> None:
    shown = cli.ok("inv", "show", order.id, "-o", "json").json
    commands = [(each["command"], each.get("name")) for each in shown["journal"] if "command" in each]
    assert [each for each in commands if each[0] != "state-keys"] == [
        ("get", "count"),
        ("run", "quote"),
        ("set", "count"),
        ("call", "Stock/reserve"),
        ("sleep", None),
        ("awakeable", None),
    ]


def test_an_order_is_approved(cli: Cli, url: str, order: Placed) -> None:
    assert order.awakeable in cli.ok("inv", "why", order.id).out
    cli.ok("awakeable", "resolve", order.awakeable, '"yes"')
    output = httpx.get(f"{url}/restate/invocation/{order.id}/attach", timeout=PATIENCE).json()
    assert output == ["7 EUR", "reserved pear", "yes"]
    assert cli.ok("state", "get", "Orders", order.key, "count").json == 1
