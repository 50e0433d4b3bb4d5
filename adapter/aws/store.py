"""The store on DynamoDB: one method is one request, sent once.

Requests are built from the models in `adapter.aws.tables` and sent by `adapter.aws.wire`. Nothing is retried here: an
outcome that is not known is the engine's to settle, by the same bytes again (`Unavailable`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar, cast

from adapter.aws.changes import OPERATIONS, Changes, address, allowed, expired_at, item_key, meta_is, token, woken
from adapter.aws.expressions import (
    all_of,
    at_most,
)
from adapter.aws.refusals import RefusedError, meaning
from adapter.aws.tables import (
    DUE_INDEX,
    HEAD,
    HEAD_SK,
    INVOCATIONS_INDEX,
    META,
    META_SK,
    STATE,
    Item,
    StoredFormatError,
    dependent,
    object_pk,
    parts_sk,
    read,
    read_indexed,
    read_listed,
    state_sk,
    write,
)
from adapter.aws.wire import Api, AwsError, WireError
from adapter.engine import lifecycle
from adapter.engine.ports import (
    EVERYTHING,
    Change,
    Conflict,
    Dependent,
    Due,
    Indexed,
    Listed,
    NotIndexed,
    Page,
    Place,
    Unavailable,
    Update,
    Usage,
    Wake,
    Wanted,
    applied,
)
from adapter.engine.records import (
    Head,
    InboxEntry,
    JournalSegment,
    Meta,
    Notification,
    Part,
    Ref,
    StateEntry,
    Status,
    Waiter,
)
from adapter.engine.types import ObjectKey
from adapter.frozen import replace

MAX_CHANGES: Final = 100

MAX_BATCH: Final = 25

LATEST: Final = 10**15
"""Later than any time in milliseconds that is stored."""

T = TypeVar("T")

log = logging.getLogger("adapter")


class DynamoStore:
    """The `Store` port on DynamoDB.

    Args:
        invocations: The name of the table of invocations.
        objects: The name of the table of objects.
        api: DynamoDB's API; by default where the environment says.

    Attributes:
        usage: Requests so far, and the capacity units that DynamoDB says they consumed. Of refused ones it doesn't say.
    """

    def __init__(self, invocations: str, objects: str, *, api: Api | None = None) -> None:
        self.usage = Usage()
        self._invocations = invocations
        self._objects = objects
        self._changes = Changes(invocations, objects)
        self._api = api or Api("dynamodb")

    def close(self) -> None:
        """Close the connections."""
        self._api.close()

    # --- reads -------------------------------------------------------------------------------------------------------

    async def load(self, id: str, cursor: Any = None) -> Page:
        """`Query <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Query.html>`_; a unit per 4 KB."""
        items, cursor = await self._query(self._invocations, id, "input#", "n$", cursor=cursor)
        page = Page([], [], None, [], cursor)
        for item in items:
            match read(item):
                case Part() as part:
                    page.parts.append(part)
                case JournalSegment() as segment:
                    page.segments.append(segment)
                case Notification() as notification:
                    page.notifications.append(notification)
                case Meta() as meta:
                    page = replace(page, meta=meta)
                case record:
                    raise AssertionError(record)
        return page

    async def peek(self, id: str) -> Meta | None:
        """GetItem; a unit per 4 KB."""
        item = await self._get(self._invocations, id, META_SK)
        return META.read(item) if item else None

    async def peek_all(self, ids: Sequence[str]) -> dict[str, Meta]:
        """BatchGetItem; a unit per 4 KB of each."""
        if not 1 <= len(ids) <= MAX_CHANGES:
            raise ValueError(f"from 1 to {MAX_CHANGES} ids, not {len(ids)}")
        items, _ = await self._get_all(self._invocations, [item_key(id, META_SK) for id in dict.fromkeys(ids)])
        return {meta.id: meta for meta in map(META.read, items)}

    async def read_notifications(self, ref: Ref, cursor: Any = None) -> tuple[list[Notification], Any]:
        """Query; a unit per 4 KB."""
        items, cursor = await self._query(self._invocations, ref.id, f"n#{ref.generation}#", cursor=cursor)
        return [cast("Notification", read(item)) for item in items], cursor

    async def output(self, ref: Ref, name: str = "output", cursor: Any = None) -> tuple[list[Part], Any]:
        """Query; a unit per 4 KB."""
        items, cursor = await self._query(self._invocations, ref.id, parts_sk(ref.generation, name), cursor=cursor)
        parts = [cast("Part", read(item)) for item in items]
        return [part for part in parts if part.name == name], cursor

    async def heads(self, keys: Sequence[ObjectKey]) -> dict[ObjectKey, Head]:
        """GetItem for one, else `BatchGetItem
        <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html>`_; a unit per 4 KB."""
        if not 1 <= len(keys) <= MAX_CHANGES:
            raise ValueError(f"from 1 to {MAX_CHANGES} keys, not {len(keys)}")
        if len(keys) == 1:
            item = await self._get(self._objects, object_pk(keys[0]), HEAD_SK)
            return {keys[0]: HEAD.read(item) if item else Head(keys[0])}
        wanted = [item_key(object_pk(key), HEAD_SK) for key in dict.fromkeys(keys)]
        items, left = await self._get_all(self._objects, wanted)
        found = {head.key: head for head in map(HEAD.read, items)}
        return {key: found.get(key) or Head(key) for key in keys if object_pk(key) not in left}

    async def inbox(self, key: ObjectKey, limit: int) -> list[InboxEntry]:
        """Query; a unit per 4 KB."""
        items, _ = await self._query(self._objects, object_pk(key), "in#", Limit=limit)
        return [cast("InboxEntry", read(item)) for item in items]

    async def state(self, key: ObjectKey, generation: str, name: str) -> StateEntry | None:
        """GetItem; a unit per 4 KB."""
        item = await self._get(self._objects, object_pk(key), state_sk(generation, name))
        return STATE.read(item) if item else None

    async def entries(
        self, key: ObjectKey, generation: str, cursor: Any = None, *, values: bool = False
    ) -> tuple[list[StateEntry], Any]:
        """Query; a unit per 4 KB of the items, with or without their values."""
        options: dict[str, Any] = {}
        if not values:
            options["ProjectionExpression"] = "pk, sk, v, #blob, #parts"
            options["ExpressionAttributeNames"] = {"#blob": "blob", "#parts": "parts"}
        prefix = state_sk(generation, "")
        items, cursor = await self._query(self._objects, object_pk(key), prefix, cursor=cursor, **options)
        return [STATE.read(item) for item in items], cursor

    async def waiters(self, ref: Ref, cursor: Any = None) -> tuple[list[Waiter], Any]:
        """Query; a unit per 4 KB."""
        items, cursor = await self._query(self._invocations, ref.id, f"w#{ref.generation}#", cursor=cursor)
        return [cast("Waiter", read(item)) for item in items], cursor

    async def due(self, shard: int, before: int, limit: int) -> list[Due]:
        """Query of the index; half a unit per 4 KB."""
        answer = await self._read(
            "Query",
            TableName=self._invocations,
            IndexName=DUE_INDEX,
            KeyConditionExpression="due_shard = :shard AND due <= :before",
            ExpressionAttributeValues={":shard": {"S": str(shard)}, ":before": {"N": str(before)}},
            Limit=limit,
        )
        return [Due(item["pk"]["S"], int(item["due"]["N"])) for item in answer["Items"]]

    async def active(self, shard: int, limit: int, *, after: Place | None = None) -> tuple[list[Listed], Place | None]:
        """Query of the index; half a unit per 4 KB of the entries read."""
        options: dict[str, Any] = {
            "FilterExpression": "#status <> :completed",
            "ExpressionAttributeNames": {"#status": "status"},
            "ExpressionAttributeValues": {":completed": {"S": Status.COMPLETED}},
        }
        items, end = await self._list(DUE_INDEX, ("due_shard", "due"), str(shard), limit, after, options)
        return _readable(items, read_listed), end

    async def index(
        self, partition: str, limit: int, *, wanted: Wanted = EVERYTHING, after: Place | None = None
    ) -> tuple[list[Indexed], Place | None]:
        """Query of the index; half a unit per 4 KB of the entries read."""
        options: dict[str, Any] = {"ExpressionAttributeValues": {}, "ScanIndexForward": False}
        if wanted.since is not None or wanted.until is not None:
            since, until = wanted.since or 0, LATEST if wanted.until is None else wanted.until - 1
            if until < since:
                return [], None
            options["KeyConditionExpression"] = " AND created BETWEEN :since AND :until"
            options["ExpressionAttributeValues"] |= {":since": {"N": str(since)}, ":until": {"N": str(until)}}
        try:
            keys = ("service_shard", "created")
            items, end = await self._list(INVOCATIONS_INDEX, keys, partition, limit, after, options)
        except AwsError as error:
            # The template's parameter makes the index and drops it, whatever code runs: only the table knows.
            if "specified index" not in str(error) and "backfilling" not in str(error):
                raise
            raise NotIndexed("the index of invocations does not exist, or is not ready yet") from None
        return [each for each in _readable(items, read_indexed) if wanted.matches(each)], end

    async def _list(
        self,
        index: str,
        keys: tuple[str, str],
        partition: str,
        limit: int,
        after: Place | None,
        options: dict[str, Any],
    ) -> tuple[list[Item], Place | None]:
        """Read up to ``limit`` entries of an index's partition after a place, and the place to continue at."""
        request = {"TableName": self._invocations, "IndexName": index, "Limit": limit, **options}
        request["KeyConditionExpression"] = f"{keys[0]} = :partition{options.get('KeyConditionExpression', '')}"
        request["ExpressionAttributeValues"] = {":partition": {"S": partition}, **options["ExpressionAttributeValues"]}
        if after is not None:
            place = {keys[0]: {"S": partition}, keys[1]: {"N": str(after.at)}}
            request["ExclusiveStartKey"] = {**item_key(after.id, META_SK), **place}
        answer = await self._read("Query", **request)
        end = answer.get("LastEvaluatedKey")
        return answer["Items"], Place(int(end[keys[1]]["N"]), end["pk"]["S"]) if end else None

    async def dependents(self, id: str, cursor: Any = None) -> tuple[list[Dependent], Any]:
        """Query of keys; a unit per 4 KB of the items."""
        projection = {"ProjectionExpression": "pk, sk, #ttl", "ExpressionAttributeNames": {"#ttl": "ttl"}}
        items, cursor = await self._query(self._invocations, id, "a", "z", cursor=cursor, **projection)
        return [dependent(item) for item in items if item["sk"]["S"] != META_SK], cursor

    # --- writes ------------------------------------------------------------------------------------------------------

    async def count_notifications(self, ref: Ref, *, count: int, wake: Wake, due: int) -> tuple[bool, Meta | None]:
        """UpdateItem; a unit per KB, and up to 2 for the index."""
        condition = allowed(Update(ref))
        add, set = {"notifications": count}, dict[str, Any]()
        if wake is not Wake.NONE:
            condition = all_of(condition, woken(wake))
            set = lifecycle.counted(due)
            add["epoch"] = 1
        return await self._update_now(self._changes.update(ref.id, condition, set, add))

    async def commit(self, changes: Sequence[Change], commit_id: str) -> None:
        """`TransactWriteItems <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html>`_,
        or PutItem, UpdateItem or DeleteItem for a single change; a unit per KB of each item, in a transaction two."""
        if not 1 <= len(changes) <= MAX_CHANGES:
            raise ValueError(f"from 1 to {MAX_CHANGES} changes, not {len(changes)}")
        requests = [self._changes.of(change, commit_id) for change in changes]
        if len({address(request) for _, request in requests}) < len(requests):
            raise ValueError("two changes of one item")
        try:
            if len(requests) == 1:
                [(action, request)] = requests
                await self._write(OPERATIONS[action], **request)
            else:
                items = [{action: request} for action, request in requests]
                once = token(items, commit_id)
                await self._write("TransactWriteItems", TransactItems=items, ClientRequestToken=once)
        except RefusedError as refused:
            found = {place: read(item) if item else None for place, item in refused.found.items()}
            if not applied(changes, found, commit_id):
                raise Conflict(found) from None

    async def put(self, parts: Sequence[Part]) -> list[Part]:
        """`BatchWriteItem <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html>`_; a
        unit per KB of each."""
        if not 1 <= len(parts) <= MAX_BATCH:
            raise ValueError(f"from 1 to {MAX_BATCH} parts, not {len(parts)}")
        requests = [{"PutRequest": {"Item": write(part)}} for part in parts]
        answer = await self._write("BatchWriteItem", RequestItems={self._invocations: requests})
        left = answer.get("UnprocessedItems", {}).get(self._invocations, [])
        return [cast("Part", read(each["PutRequest"]["Item"])) for each in left]

    async def delete(self, keys: Sequence[Dependent]) -> list[Dependent]:
        """`BatchWriteItem <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html>`_; a
        unit per KB of each."""
        if not 1 <= len(keys) <= MAX_BATCH:
            raise ValueError(f"from 1 to {MAX_BATCH} keys, not {len(keys)}")
        requests = [{"DeleteRequest": {"Key": item_key(key.id, key.sort)}} for key in keys]
        answer = await self._write("BatchWriteItem", RequestItems={self._invocations: requests})
        left = answer.get("UnprocessedItems", {}).get(self._invocations, [])
        left_keys = {
            (each["DeleteRequest"]["Key"]["pk"]["S"], each["DeleteRequest"]["Key"]["sk"]["S"]) for each in left
        }
        return [key for key in keys if (key.id, key.sort) in left_keys]

    async def renew(self, key: Dependent, ttl: int) -> None:
        """UpdateItem; a unit per KB of the item."""
        earlier = at_most("ttl", META.value("ttl", ttl - 1))
        request = self._changes.conditional(self._invocations, earlier, {"ttl": META.value("ttl", ttl)})
        with suppress(RefusedError):
            await self._write("UpdateItem", Key=item_key(key.id, key.sort), **request)

    async def forget(self, ref: Ref, now: int) -> None:
        """DeleteItem; a unit per KB, and one for the index."""
        condition = all_of(meta_is("generation", ref.generation), expired_at(now))
        request = self._changes.conditional(self._invocations, condition)
        with suppress(RefusedError):
            await self._write("DeleteItem", Key=item_key(ref.id, META_SK), **request)

    async def _update_now(self, request: Mapping[str, Any]) -> tuple[bool, Meta | None]:
        """Update a record. Returns whether the conditions held, and the record as it then is."""
        try:
            answer = await self._write("UpdateItem", **request, ReturnValues="ALL_NEW")
        except RefusedError as refused:
            item = refused.found[0]
            return False, META.read(item) if item else None
        return True, META.read(answer["Attributes"])

    # --- sending -----------------------------------------------------------------------------------------------------

    async def _get(self, table: str, pk: str, sk: str) -> Item | None:
        answer = await self._read("GetItem", TableName=table, Key=item_key(pk, sk), ConsistentRead=True)
        return cast("Item | None", answer.get("Item"))

    async def _get_all(self, table: str, keys: Sequence[Item]) -> tuple[list[Item], set[str]]:
        """Return the items that are there, and the partitions of those that were left unprocessed."""
        request = {table: {"Keys": keys, "ConsistentRead": True}}
        answer = await self._read("BatchGetItem", RequestItems=request)
        left = answer.get("UnprocessedKeys", {}).get(table, {}).get("Keys", [])
        return answer["Responses"].get(table, []), {key["pk"]["S"] for key in left}

    async def _query(
        self, table: str, pk: str, first: str, last: str | None = None, *, cursor: Any = None, **options: Any
    ) -> tuple[list[Item], Any]:
        """A page of the items whose sort keys begin with ``first``, or lie between it and ``last``."""
        values = {":pk": {"S": pk}, ":first": {"S": first}}
        if last is None:
            condition = "pk = :pk AND begins_with(sk, :first)"
        else:
            condition = "pk = :pk AND sk BETWEEN :first AND :last"
            values[":last"] = {"S": last}
        if cursor is not None:
            options["ExclusiveStartKey"] = cursor
        answer = await self._read(
            "Query",
            TableName=table,
            KeyConditionExpression=condition,
            ExpressionAttributeValues=values,
            ConsistentRead=True,
            **options,
        )
        return answer["Items"], answer.get("LastEvaluatedKey")

    async def _read(self, operation: str, **request: Any) -> dict[str, Any]:
        answer = await self._send(operation, request)
        self.usage.read_units += sum(each["CapacityUnits"] for each in _consumed(answer))
        return answer

    async def _write(self, operation: str, **request: Any) -> dict[str, Any]:
        answer = await self._send(operation, request)
        for each in _consumed(answer):
            # A transaction that had been applied before is answered from a read.
            read = each.get("ReadCapacityUnits", 0.0)
            self.usage.read_units += read
            self.usage.write_units += each["CapacityUnits"] - read
        return answer

    async def _send(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """Send once.

        Raises:
            RefusedError: If conditions do not hold.
            Unavailable: If the outcome is not known, or DynamoDB can't take it now.
            TooLarge: If DynamoDB will never take it.
            Misconfigured: If the function may not make this request, or the table does not exist.
        """
        self.usage.requests += 1
        try:
            return await self._api.call(operation, {"ReturnConsumedCapacity": "TOTAL", **request})
        except AwsError as error:
            raise meaning(error) from error
        except WireError as error:
            raise Unavailable(f"{operation}: {error}") from error


def _readable(items: Sequence[Item], read: Callable[[Item], T]) -> list[T]:
    """Return entries of an index, without those that this code cannot read."""
    found: list[T] = []
    for item in items:
        try:
            found.append(read(item))
        except StoredFormatError as error:
            log.error("left out: %s", error)
    return found


def _consumed(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    consumed: list[dict[str, Any]] | dict[str, Any] = answer.get("ConsumedCapacity", [])
    return consumed if isinstance(consumed, list) else [consumed]
