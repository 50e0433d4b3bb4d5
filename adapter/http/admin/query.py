"""SQL as Restate's tools ask it, over the records of this admin.

SQLite evaluates a query, over tables in memory with the rows that the query can need. Those are found by the conditions
that the query names: ids, services, and that invocations are live.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from adapter.errors import TerminalError

Row = dict[str, Any]

_INVOCATION: Final = {
    "id": "TEXT",
    "target": "TEXT",
    "target_service_name": "TEXT",
    "target_service_key": "TEXT",
    "target_handler_name": "TEXT",
    "target_service_ty": "TEXT",
    "idempotency_key": "TEXT",
    "status": "TEXT",
    "created_at": "TEXT",
    "modified_at": "TEXT",
    "scheduled_start_at": "TEXT",
    "last_start_at": "TEXT",
    "next_retry_at": "TEXT",
    "completed_at": "TEXT",
    "pinned_deployment_id": "TEXT",
    "last_attempt_deployment_id": "TEXT",
    "last_attempt_server": "TEXT",
    "retry_count": "INTEGER",
    "last_failure": "TEXT",
    "last_failure_related_entry_index": "INTEGER",
    "last_failure_related_entry_name": "TEXT",
    "last_failure_related_entry_type": "TEXT",
    "invoked_by": "TEXT",
    "invoked_by_id": "TEXT",
    "invoked_by_target": "TEXT",
    "trace_id": "TEXT",
    "completion_result": "TEXT",
    "completion_failure": "TEXT",
}

TABLES: Final[Mapping[str, Mapping[str, str]]] = {
    "sys_invocation": _INVOCATION,
    "sys_invocation_status": _INVOCATION,
    "sys_inbox": {
        "service_name": "TEXT",
        "service_key": "TEXT",
        "id": "TEXT",
        "sequence_number": "INTEGER",
        "created_at": "TEXT",
    },
    "sys_deployment": {"id": "TEXT", "ty": "TEXT", "endpoint": "TEXT", "created_at": "TEXT"},
    "sys_service": {"name": "TEXT", "ty": "TEXT", "revision": "INTEGER", "public": "BOOLEAN", "deployment_id": "TEXT"},
    "state": {
        "service_name": "TEXT",
        "service_key": "TEXT",
        "key": "TEXT",
        "value": "BLOB",
        "value_utf8": "TEXT",
    },
    "information_schema.columns": {"table_name": "TEXT", "column_name": "TEXT"},
}
"""The tables with their columns, by the names that Restate gives them."""

MOST_STEPS: Final = 20_000_000
"""After so many steps of SQLite's machine a query is given up."""

MOST_ROWS: Final = 100_000
"""The most rows of an answer. A join has more rows than its tables."""

LONGEST: Final = 64 * 1024 * 1024
"""The most bytes of a value that a query computes."""

_LITERAL: Final = re.compile(r"('(?:[^']|'')*')")
_ID: Final = "inv_[A-Za-z0-9]+"
_TARGETED: Final = re.compile(rf"(?i)\btarget\s+like\s+'({_ID})/%'")
"""The command line takes an id of this admin, which is longer than those of a Restate server, for a service's name."""


@dataclass(frozen=True, slots=True)
class Query:
    """A query, and what it says of the rows that it needs.

    Attributes:
        text: The query as it was sent.
        tables: The tables that it reads.
        ids: It needs only the invocations with these ids; ``None`` if it does not say so.
        services: It needs only rows of these services; empty if it does not say so.
        keys: It needs only rows of these keys; empty if it does not say so.
        live: It needs only invocations that are not completed.
    """

    text: str
    tables: frozenset[str]
    ids: tuple[str, ...] | None
    services: frozenset[str]
    keys: frozenset[str]
    live: bool

    def names(self, column: str) -> bool:
        """Return True if the query names a column, or asks for all."""
        return column in self.text or "*" in self.text


def read_query(text: str) -> Query:
    """Return what a query says.

    Raises:
        TerminalError: With code 501 if it reads a table that is not there, or none.
    """
    text = _TARGETED.sub(r"id = '\1'", text)
    code = _LITERAL.sub("''", text).lower()
    named = re.findall(r"(?:\bwith|,)\s*(\w+)\s+as\s*\(", code)
    tables = frozenset(re.findall(r"\b(?:from|join)\s+([a-z_][\w.]*)", code)).difference(named)
    if "sys_journal" in code or "'sys_journal'" in text:
        raise TerminalError("journals are not queried: adapter inv show ID shows one", code=501)
    unknown = sorted(tables - TABLES.keys())
    if unknown or not tables:
        asked = f"there is no table {unknown[0][:100]}" if unknown else "the query names no table"
        raise TerminalError(f"{asked}: the tables are {', '.join(TABLES)}", code=501)
    conditions = _conditions(text)
    ids = _values(conditions, r"\bid", _ID)
    services = _values(conditions, r"\b(?:target_)?service_name", "[^']*")
    keys = _values(conditions, r"\b(?:target_)?service_key", "(?:[^']|'')*")
    statuses = _values(conditions, r"\bstatus", "[^']*")
    live = bool(statuses) and "completed" not in statuses
    live = live or re.search(r"\bstatus\s*!=\s*'completed'", conditions, re.IGNORECASE) is not None
    unquoted = frozenset(each.replace("''", "'") for each in keys)
    return Query(text, tables, ids or None, frozenset(services), unquoted, live)


def _conditions(text: str) -> str:
    """Return the part of a query with the conditions that every row of it has to meet; empty if that is in doubt."""
    code = _LITERAL.sub(lambda literal: "_" * len(literal[0]), text).lower()  # every place is that of the text
    end = r"\bgroup\s+by\b|\border\s+by\b|\bhaving\b|\blimit\b|$"
    found = re.search(rf"\bwhere\b.*?(?={end})", code, re.DOTALL)
    several = len(re.findall(r"\b(?:from|join)\s+(?:sys_inv|sys_inbox|state)", code)) > 1
    few = re.search(r"\blimit\s+\d{1,4}\b.*\bwhere\b", code, re.DOTALL)  # some of these few are wanted
    doubtful = re.search(r"\b(or|union|except|intersect|case)\b|\bnot\s+(?!null\b)|<>", code)
    if found is None or several or few or doubtful:
        return ""
    return text[found.start() : found.end()]


def _values(text: str, column: str, value: str) -> tuple[str, ...]:
    """Return the values of which a column has to have one."""
    one = re.search(rf"{column}\s*==?\s*'({value})'", text, re.IGNORECASE)
    several = re.search(rf"{column}\s+in\s*\(\s*('{value}'(?:\s*,\s*'{value}')*)\s*\)", text, re.IGNORECASE)
    if one is None and several is None:
        return ()
    found = {one[1]} if one else set[str]()
    listed = set(re.findall(f"'({value})'", several[1])) if several else found
    return tuple(sorted(listed & found if one and several else listed))


def evaluate(query: Query, rows: Mapping[str, Iterable[Row]]) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Evaluate a query, and return the names of the columns and the rows.

    Args:
        query: The query.
        rows: The rows of its tables.

    Raises:
        TerminalError: With code 400 if SQLite cannot evaluate it, with code 501 if the answer has too many rows.
    """
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute("PRAGMA case_sensitive_like = ON")
        for table in query.tables:
            columns = TABLES[table]
            declared = ", ".join(f'"{name}" {type}' for name, type in columns.items())
            connection.execute(f"CREATE TABLE {_table(table)} ({declared})")
            places = ", ".join("?" * len(columns))
            values = ([row.get(name) for name in columns] for row in rows[table])
            connection.executemany(f"INSERT INTO {_table(table)} VALUES ({places})", values)
        connection.create_aggregate("any_of", 1, _AnyOf)
        connection.create_aggregate("earliest", 2, _Earliest)  # type: ignore[arg-type]
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST)
        connection.set_authorizer(_only_reads)
        steps = iter(range(MOST_STEPS // 1000))
        connection.set_progress_handler(lambda: next(steps, None) is None, 1000)
        text, booleans = _dialect(query.text)
        try:
            cursor = connection.execute(text)
            found = cursor.fetchmany(MOST_ROWS + 1)
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise TerminalError(f"SQLite evaluates the query, and says: {error}", code=400) from None
        if len(found) > MOST_ROWS:
            raise TerminalError(f"the answer has more than {MOST_ROWS} rows: add conditions, or a LIMIT", code=501)
        names = [each[0] for each in cursor.description]
        booleans |= {name for columns in TABLES.values() for name, type in columns.items() if type == "BOOLEAN"}
        return names, [tuple(map(_shown, (name in booleans for name in names), row)) for row in found]
    finally:
        connection.close()


def _shown(boolean: bool, value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    return bool(value) if boolean and value is not None else value


def _table(name: str) -> str:
    return name.replace(".", "_")


def _dialect(text: str) -> tuple[str, set[str]]:
    """Return a query of DataFusion's dialect in SQLite's, and the names of the columns that are true or false."""
    code = _LITERAL.sub("''", text)
    booleans = set(re.findall(r"(?i)\bis\s+(?:not\s+)?null\s+as\s+(\w+)", code))
    joins = re.search(r"(?i)\bjoin\b", code) is not None
    parts = _LITERAL.split(text.strip().rstrip(";"))
    for place in range(0, len(parts), 2):  # the parts between literals
        part = parts[place]
        for name in TABLES:
            part = part.replace(name, _table(name))
        part = re.sub(r"(?i)\bfirst_value\(\s*(\w+)\s+order\s+by\s+(\w+)\s+asc\s*\)", r"earliest(\1, \2)", part)
        part = re.sub(r"(?i)\bfirst_value\(", "any_of(", part)
        part = re.sub(r"(?i)\bfrom\s+(\w+ \w+)\s+right\s+join\s+(\w+ \w+)", r"from \2 left join \1", part)
        if not joins:  # of one table: an alias may be used outside of the part that defines it
            part = re.sub(r"(?i)\b[a-z]\w*\.(?=\w)", "", part)
        parts[place] = part
    return "".join(parts), booleans


def _only_reads(action: int, *_: Any) -> int:
    allowed = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION)
    return sqlite3.SQLITE_OK if action in allowed else sqlite3.SQLITE_DENY


class _AnyOf:
    """The aggregate ``first_value(x)``: the first value that is seen."""

    def __init__(self) -> None:
        self._found: Any = None

    def step(self, value: Any) -> None:
        if self._found is None:
            self._found = value

    def finalize(self) -> Any:
        return self._found


class _Earliest:
    """The aggregate ``first_value(x ORDER BY y ASC)``: the value of the row with the least ``y``."""

    def __init__(self) -> None:
        self._found: Sequence[Any] | None = None

    def step(self, value: Any, order: Any) -> None:
        if self._found is None or order < self._found[0]:
            self._found = order, value

    def finalize(self) -> Any:
        return self._found[1] if self._found is not None else None
