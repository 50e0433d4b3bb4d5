"""The store in a SQLite file, for one process: what is committed survives the process, however it ends.

Items are stored as DynamoDB's tables hold them (`adapter.aws.tables`), as JSON. The indexes are columns.

A commit is in the file before it is answered, but perhaps not yet on the disk (`synchronous=NORMAL
<https://www.sqlite.org/pragma.html#pragma_synchronous>`_): if the machine loses power, the last commits may be undone,
each as a whole. To wait for the disk takes fifty times as long, and a process that is killed loses nothing either way.
"""

from __future__ import annotations

import json
import sqlite3
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final

from adapter.aws import tables
from adapter.engine.ports import Place, Unavailable
from adapter.engine.records import Meta, Record, Status
from adapter.frozen import replace
from adapter.local.changes import Address, Write, address
from adapter.local.conflicts import Conflicts
from adapter.local.options import UnservableError
from adapter.local.store import Hook, LocalStore

APPLICATION: Final = 0x41445054
"""Tells these files from those of other programs that use SQLite (``PRAGMA application_id``)."""

FORMAT: Final = 1
"""The version of the files that this code writes; it reads every version up to it (``PRAGMA user_version``)."""

SCHEMA: Final = f"""
    CREATE TABLE items (
        pk TEXT, sk TEXT, item TEXT, due_shard INTEGER, due INTEGER, partition TEXT, created INTEGER, ttl INTEGER,
        PRIMARY KEY (pk, sk)
    );
    CREATE INDEX due ON items (due_shard, due, pk) WHERE due_shard IS NOT NULL;
    CREATE INDEX created ON items (partition, created, pk) WHERE partition IS NOT NULL;
    CREATE INDEX ttl ON items (ttl) WHERE ttl IS NOT NULL;
    PRAGMA application_id = {APPLICATION};
    PRAGMA user_version = {FORMAT};
"""


class SqliteStore(LocalStore):
    """The `Store` port in a SQLite file. See `LocalStore` for the other arguments.

    Args:
        file: The file. It is created if it does not exist. Until `close`, no other process can open it.

    Raises:
        UnservableError: If the file is in use, of a newer version, or no such file.
    """

    def __init__(
        self, file: Path, hook: Hook | None = None, page: int = 1024 * 1024, conflicts: Conflicts | None = None
    ) -> None:
        super().__init__(hook, page, conflicts)
        self._file = file
        self._database = _open(file)

    def close(self) -> None:
        """Close the file. All requests after that are `Unavailable`."""
        self._database.close()

    def end_leases(self, now: int) -> None:
        """Make due at once what a former process was running or about to run. That process has ended, as this one has
        the file."""
        found = self._select("SELECT pk, sk, item FROM items WHERE due_shard IS NOT NULL AND due > ?", now)
        records = [record for record in map(_read, found) if isinstance(record, Meta)]
        running = [record for record in records if record.status in (Status.RUNNING, Status.READY)]
        self._save([Write(address(record), record, replace(record, due=now)) for record in running])

    def records(self) -> Iterator[Record]:
        return map(_read, self._select("SELECT pk, sk, item FROM items ORDER BY pk, sk"))

    def _lookup(self, address: Address) -> Record | None:
        found = self._select("SELECT pk, sk, item FROM items WHERE pk = ? AND sk = ?", *address)
        return next(map(_read, found), None)

    def _range(self, pk: str, first: str, end: str) -> Iterator[Record]:
        select = "SELECT pk, sk, item FROM items WHERE pk = ? AND sk >= ? AND sk < ? ORDER BY sk"
        return map(_read, self._select(select, pk, first, end))

    def _due(self, shard: int, after: Place | None, limit: int) -> Sequence[Place]:
        select = "SELECT due, pk FROM items WHERE due_shard = ? AND (due, pk) > (?, ?) ORDER BY due, pk LIMIT ?"
        return [Place(*row) for row in self._select(select, shard, *(after or (0, "")), limit)]

    def _created(self, partition: str, since: Place, until: Place | None, limit: int) -> Sequence[Place]:
        select = "SELECT created, pk FROM items WHERE partition = ? AND (created, pk) >= (?, ?)"
        given: list[str | int] = [partition, *since]
        if until is not None:
            select += " AND (created, pk) < (?, ?)"
            given += until
        rows = self._select(f"{select} ORDER BY created DESC, pk DESC LIMIT ?", *given, limit)
        return [Place(*row) for row in rows]

    def _overdue(self, now: int) -> Iterable[Record]:
        return [_read(row) for row in self._select("SELECT pk, sk, item FROM items WHERE ttl < ?", now)]

    def _select(self, select: str, *given: str | int) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self._database.execute(select, given)
        except sqlite3.Error as error:
            raise Unavailable(f"{self._file}: {error}") from error

    def _save(self, writes: Sequence[Write]) -> None:
        put = [_row(*write.address, write.new) for write in writes if write.new is not None]
        deleted = [write.address for write in writes if write.new is None]
        try:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany("REPLACE INTO items VALUES (?, ?, ?, ?, ?, ?, ?, ?)", put)
            self._database.executemany("DELETE FROM items WHERE pk = ? AND sk = ?", deleted)
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):  # it may have been rolled back already
                self._database.execute("ROLLBACK")
            raise Unavailable(f"{self._file}: {error}") from error


def _row(pk: str, sk: str, record: Record) -> tuple[str | int | None, ...]:
    """Return a record's row: its key, its item, and the columns of the indexes."""
    item = tables.write(record)
    del item["pk"], item["sk"]

    def number(name: str) -> int | None:
        return int(value["N"]) if (value := item.get(name)) else None

    due_shard, partition = (item.pop(name, {}).get("S") for name in ("due_shard", "service_shard"))
    text = json.dumps(item, ensure_ascii=False, separators=(",", ":"), default=_encoded)
    created = number("created") if partition is not None else None
    return pk, sk, text, int(due_shard) if due_shard else None, number("due"), partition, created, number("ttl")


def _read(row: tuple[Any, ...]) -> Record:
    pk, sk, text = row
    return tables.read({"pk": {"S": pk}, "sk": {"S": sk}, **json.loads(text, object_hook=_decoded)})


def _encoded(data: bytes) -> str:
    return b64encode(data).decode()


def _decoded(value: dict[str, Any]) -> dict[str, Any]:
    """Return a value with its bytes. A map that has an entry named ``B`` has a value there, and no text."""
    data = value.get("B")
    return {"B": b64decode(data)} if isinstance(data, str) else value


# --- the file --------------------------------------------------------------------------------------------------------


def _open(file: Path) -> sqlite3.Connection:
    try:
        with file.open("rb") as stored:
            begin = stored.read(16)
    except FileNotFoundError:
        if not file.parent.is_dir():
            raise UnservableError(f"there is no folder {file.parent}: create it, or give another file") from None
        begin = b""
    except OSError as error:
        raise UnservableError(f"{file} cannot be read: {error.strerror}") from None
    if begin.startswith(b"\x80"):  # a pickle
        raise UnservableError(
            f"{file} was written by an earlier version of adapter dev, and cannot be read any more: delete it, or give "
            "another file"
        )
    if begin and begin != b"SQLite format 3\0":
        raise UnservableError(f"{file} is no file of adapter dev: give another one")
    with ExitStack() as undo:
        try:
            database = sqlite3.connect(file, timeout=0, isolation_level=None)
            undo.callback(database.close)
            _prepare(database, file)
        except sqlite3.Error as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                raise UnservableError(f"{file} is in use by another process: stop that, or give another file") from None
            raise UnservableError(f"{file} cannot be opened: {error}") from None
        undo.pop_all()
        return database


def _prepare(database: sqlite3.Connection, file: Path) -> None:
    """Take the file for this process, and create the table if it is new.

    Raises:
        UnservableError: If the file is another program's, or of a newer version.
    """
    database.execute(
        "PRAGMA locking_mode = EXCLUSIVE"
    )  # before the log is first used, so that it needs no shared memory
    application, version, tables = database.execute(
        "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master)"
        " FROM pragma_application_id, pragma_user_version"
    ).fetchone()
    if application != APPLICATION and (application or version or tables):
        raise UnservableError(f"{file} is another program's database: give another file")
    if version > FORMAT:
        raise UnservableError(
            f"{file} was written by a newer version of adapter dev (format {version}; this one reads up to {FORMAT}): "
            "update serverless-adapter, or give another file"
        )
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute("BEGIN EXCLUSIVE")
    if not version:
        for statement in SCHEMA.split(";"):
            database.execute(statement)
    database.execute("COMMIT")
