"""State that `adapter dev --persist FILE` keeps in a SQLite file."""

from __future__ import annotations

import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from adapter import Context, ObjectContext, Service, VirtualObject, handler
from adapter.engine.ids import DUE_SHARDS
from adapter.engine.ports import Create, Put, Unavailable, WriteHead
from adapter.engine.records import Head, Part, Record, StateEntry, Status
from adapter.engine.types import Failure, ObjectKey, Outcome
from adapter.local.options import UnservableError
from adapter.local.server import running
from adapter.local.sqlite import APPLICATION, FORMAT, SqliteStore
from adapter.registry import Registry
from tests.contract.samples import GENERATION, KEY, NOW, commit, completed, meta, notification, waiting
from tests.unit.dev import ROOT, Dev, save


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
    id = ""
    for round in (1, 2):
        store = SqliteStore(tmp_path / "state")
        async with (
            running(Registry(Counter, Sleeper), store) as app,
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http,
        ):
            assert (await http.post("/Counter/Mary/add", json=1)).json() == round
            if round == 1:
                id = (await http.post("/Sleeper/sleep/send")).json()["invocationId"]
            else:
                assert (await http.get(f"/restate/invocation/{id}/attach")).json() == "slept"
        store.close()


async def test_what_a_former_process_was_running_is_due_at_once(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state")
    later = NOW + 1000
    statuses = (Status.RUNNING, Status.READY, Status.SUSPENDED, Status.BACKING_OFF, Status.SCHEDULED)
    records = [meta(status=status, due=later) for status in statuses]
    for record in (
        *records,
        meta(status=Status.RUNNING, due=NOW - 5),
        meta(status=Status.PAUSED),
        completed(due=later),
    ):
        await commit(store, Create(record, NOW))
    store.end_leases(NOW)
    for record in records:
        found = await store.peek(record.id)
        assert found is not None
        assert found.due == (NOW if record.status in (Status.RUNNING, Status.READY) else later)
    due = [each.id for shard in range(DUE_SHARDS) for each in await store.due(shard, NOW, 9)]
    assert len(due) == 3
    store.close()


RECORDS: list[Record] = [
    meta(input=b"\x00\xff", headers={"B": "é☃\0", "S": "x"}, due=NOW),
    completed(outcome=Outcome(failure=Failure(409, "no ☃", {"B": "ü", "N": "1"}, "cancelled"))),
    notification(meta().ref, "sx:B#\0", Outcome(b"\xff")),
    Part("inv_a", GENERATION, "output#1", 3, bytes(range(256)), NOW // 1000),
    Head(KEY, owner=meta().ref, state_generation=GENERATION, state={"B": b"\xff", "": b"", "\0☃": b"x"}),
    StateEntry(ObjectKey("A", "b/c\0☃"), GENERATION, "B#\0", b"x"),
    waiting(7),
]


async def test_every_record_comes_back_after_a_restart(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state")
    for record in RECORDS:
        match record:
            case Head():
                await commit(store, WriteHead(record, version=0))
            case Part() | StateEntry():
                await commit(store, Put(record))
            case _:
                await commit(store, Create(record, NOW) if hasattr(record, "target") else Put(record))  # type: ignore[arg-type]
    before = list(store.records())
    store.close()
    again = SqliteStore(tmp_path / "state")
    assert len(before) == len(RECORDS)
    assert list(again.records()) == before
    again.close()


async def test_a_request_after_the_end_is_unavailable(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state")
    store.close()
    with pytest.raises(Unavailable, match="state: Cannot operate on a closed database"):
        await store.peek("inv_a")
    with pytest.raises(Unavailable):
        await commit(store, Put(waiting(1)))


async def test_a_commit_that_cannot_be_written_has_no_effect(tmp_path: Path) -> None:
    """The disk is full, as far as this file goes; later there is room again."""
    store = SqliteStore(tmp_path / "state")
    database = store._database
    (pages,) = database.execute("PRAGMA page_count").fetchone()
    database.execute(f"PRAGMA max_page_count = {pages + 2}")
    record = meta(input=b"x" * 1000)
    parts = [Put(Part(record.id, GENERATION, "input", n, b"x" * 100_000)) for n in range(3)]
    with pytest.raises(Unavailable, match="full"):
        await commit(store, Create(record, NOW), *parts, commit_id="c")
    assert list(store.records()) == []
    database.execute(f"PRAGMA max_page_count = {pages + 1000}")
    await commit(store, Create(record, NOW), *parts, commit_id="c")
    assert len(list(store.records())) == 4
    store.close()


def database(file: Path, *statements: str) -> None:
    connection = sqlite3.connect(file)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def test_a_file_of_the_former_kind_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "state"
    file.write_bytes(pickle.dumps((("0.0.1", []), {})))
    before = file.read_bytes()
    with pytest.raises(UnservableError, match=r"state was written by an earlier version of adapter dev.*delete it"):
        SqliteStore(file)
    assert file.read_bytes() == before


def test_a_file_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "state"
    SqliteStore(file).close()
    database(file, f"PRAGMA user_version = {FORMAT + 1}")
    with pytest.raises(UnservableError, match=rf"newer version.*format {FORMAT + 1}; this one reads up to {FORMAT}"):
        SqliteStore(file)
    database(file, f"PRAGMA user_version = {FORMAT}")  # it was closed
    SqliteStore(file).close()


@pytest.mark.parametrize(
    "statements",
    [("CREATE TABLE t (a)",), ("PRAGMA user_version = 1",), (f"PRAGMA application_id = {APPLICATION + 1}",)],
)
def test_another_programs_database_is_refused_and_left_as_it_is(tmp_path: Path, statements: tuple[str, ...]) -> None:
    file = tmp_path / "state"
    database(file, *statements)
    before = file.read_bytes()
    with pytest.raises(UnservableError, match="another program's database: give another file"):
        SqliteStore(file)
    assert file.read_bytes() == before


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0" + b"x" * 200])
def test_what_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "state"
    file.write_bytes(content)
    with pytest.raises(UnservableError, match=r"state is no file of adapter dev|state cannot be opened: file is not"):
        SqliteStore(file)


@pytest.mark.parametrize("path", [".", "absent/state"])
def test_a_path_that_cannot_be_a_file_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(
        UnservableError, match=r"cannot be read: Is a directory|there is no folder .*/absent: create it"
    ):
        SqliteStore(tmp_path / path)


def test_an_empty_file_is_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    SqliteStore(tmp_path / "state").close()


OPEN = """
import sys
import time
from pathlib import Path
from adapter.local.options import UnservableError
from adapter.local.sqlite import SqliteStore

try:
    SqliteStore(Path(sys.argv[1]))
except UnservableError as error:
    sys.exit(str(error))
"""


def test_a_second_process_is_refused_at_once(tmp_path: Path) -> None:
    file = tmp_path / "state"
    first = SqliteStore(file)

    def second() -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(
            [sys.executable, "-c", OPEN, str(file)], check=False, env=environment, capture_output=True, text=True
        )

    refused = second()
    assert refused.stderr.strip() == f"{file} is in use by another process: stop that, or give another file"
    first.close()
    assert second().returncode == 0


MODULE = """
import os
from datetime import timedelta
from adapter import Context, ObjectContext, Service, VirtualObject, handler

class Counter(VirtualObject):
    @handler
    async def add(self, ctx: ObjectContext, amount: int) -> int:
        total = (await ctx.get("total", int) or 0) + amount
        ctx.set("total", total)
        return total

def note(line):
    with open("steps", "a") as file:
        file.write(line + "\\n")
    return line

class Work(Service):
    @handler
    async def many(self, ctx: Context, name: str) -> int:
        for n in range(30):
            await ctx.run("step", note, f"{name} {n}")
        await ctx.sleep(timedelta(seconds=3))
        return await ctx.object_client(Counter, name).add(1)
"""


def test_the_development_server_keeps_state(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(MODULE)
    for total in (1, 2):
        dev = Dev(tmp_path, "shop", "--persist", "state", "--no-reload")
        banner = dev.until(r"on (http://\S+) \(state: (\S+)\)")
        assert banner[2] == str(tmp_path / "state")
        assert httpx.post(f"{banner[1]}/Counter/Mary/add", json=1, timeout=60).json() == total
        dev.process.send_signal(signal.SIGTERM)
        assert dev.process.wait(60) == 0
        assert [name for name in os.listdir(tmp_path) if name.startswith("state")] == ["state"]


def test_a_second_server_on_a_file_ends_with_a_message(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(MODULE)
    first = Dev(tmp_path, "shop", "--persist", "state")
    try:
        assert first.url
        second = Dev(tmp_path, "shop", "--persist", "state")
        second.until(rf"^adapter dev: {tmp_path}/state is in use by another process: stop that, or give another file$")
        assert second.process.wait(60) == 1
    finally:
        first.stop()


def test_a_server_that_starts_anew_keeps_its_file(tmp_path: Path) -> None:
    """The former process has closed it before the next one opens it."""
    module = tmp_path / "shop.py"
    module.write_text(MODULE)
    dev = Dev(tmp_path, "shop", "--persist", "state")
    try:
        url = dev.url
        for total in range(1, 4):
            assert httpx.post(f"{url}/Counter/Mary/add", json=1, timeout=60).json() == total
            save(module, f"{MODULE}\n# {total}\n")
            url = dev.url
    finally:
        dev.stop()


def test_what_a_killed_server_was_at_goes_on(tmp_path: Path) -> None:
    """It is killed twice in the middle of many steps, and while handlers sleep."""
    (tmp_path / "shop.py").write_text(MODULE)
    steps = tmp_path / "steps"
    ids: dict[str, str] = {}
    for kills in range(4):
        dev = Dev(tmp_path, "shop", "--persist", "state", "--no-reload")
        url = dev.url
        if kills == 0:
            for name in ("Ann", "Bob", "Cid"):
                ids[name] = httpx.post(f"{url}/Work/many/send", json=name, timeout=60).json()["invocationId"]
        if kills == 3:
            break
        while dev.process.poll() is None and (steps.read_text() if steps.exists() else "").count("\n") < 30 * kills + 5:
            time.sleep(0.01)
        dev.process.kill()
        dev.process.wait(60)
        dev.output.close()
    try:
        for name, id in ids.items():
            assert httpx.get(f"{url}/restate/invocation/{id}/attach", timeout=120).json() == 1
            assert httpx.post(f"{url}/Counter/{name}/add", json=1, timeout=60).json() == 2
        lines = steps.read_text().splitlines()
        assert sorted(set(lines)) == sorted(f"{name} {n}" for name in ids for n in range(30))
        assert len(lines) <= 90 + 3 * 3, "only the steps that were under way at a kill run again"
    finally:
        dev.stop()
