"""State that `adapter dev --persist FILE` keeps."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from adapter import Context, ObjectContext, Service, VirtualObject, handler
from adapter.local import saved
from adapter.local.options import UnservableError
from adapter.local.saved import SavedStore
from adapter.local.server import running
from adapter.registry import Registry
from tests.unit.dev import Dev


class Counter(VirtualObject):
    @handler
    async def add(self, ctx: ObjectContext, amount: int) -> int:
        total = (await ctx.get("total", int) or 0) + amount
        ctx.set("total", total)
        return total


class Sleeper(Service):
    @handler
    async def sleep(self, ctx: Context) -> str:
        await ctx.sleep(timedelta(milliseconds=300))
        return "slept"


async def test_state_and_sleeping_handlers_survive(tmp_path: Path) -> None:
    file = tmp_path / "state"
    id = ""
    for round in (1, 2):
        store = SavedStore(file)
        async with (
            running(Registry(Counter, Sleeper), store) as app,
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http,
        ):
            assert (await http.post("/Counter/Mary/add", json=1)).json() == round
            if round == 1:
                id = (await http.post("/Sleeper/sleep/send")).json()["invocationId"]
            else:
                assert (await http.get(f"/restate/invocation/{id}/attach")).json() == "slept"
        store.save()


async def test_it_is_saved_while_it_runs_and_only_if_something_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saved, "INTERVAL", 0.001)
    file = tmp_path / "state"
    store = SavedStore(file)
    keeping = asyncio.create_task(store.keep_saved())
    await asyncio.sleep(0.05)
    assert not file.exists()
    await store.peek("inv_" + "a" * 32)
    async with asyncio.timeout(5):
        while not file.exists():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    keeping.cancel()
    assert os.listdir(tmp_path) == ["state"]


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"no pickle", "cannot be read"), (pickle.dumps((("0.0.1", []), {})), "another version")],
)
def test_a_file_of_another_kind(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "state"
    file.write_bytes(content)
    with pytest.raises(UnservableError, match=f"state .*{says}.*delete it"):
        SavedStore(file)
    assert file.read_bytes() == content


MODULE = """
from adapter import ObjectContext, VirtualObject, handler

class Counter(VirtualObject):
    @handler
    async def add(self, ctx: ObjectContext, amount: int) -> int:
        total = (await ctx.get("total", int) or 0) + amount
        ctx.set("total", total)
        return total
"""


def test_the_development_server_keeps_state(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(MODULE)
    for total in (1, 2):
        dev = Dev(tmp_path, "shop", "--persist", "state", "--no-reload")
        banner = dev.until(r"on (http://\S+) \(state: memory, saved in (\S+)\)")
        assert banner[2] == str(tmp_path / "state")
        assert httpx.post(f"{banner[1]}/Counter/Mary/add", json=1).json() == total
        dev.process.send_signal(signal.SIGTERM)
        assert dev.process.wait(15) == 0
    assert os.listdir(tmp_path).count("state") == 1
