"""Which function hosts which service: written at deployment, read by every function that calls or sends elsewhere.

One item per service in the table of objects, under the key ``registry``, so that one query reads them all. A process
asks at most once a minute, and only when it has something to do with a service that it does not host itself. What its
handlers take and give lies apart, under the key ``openapi``: it is large, and read only by who asks for it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, Final, TypeVar

from adapter.aws.tables import FORMAT, Item, StoredFormatError, require_version
from adapter.aws.wire import Api, AwsError, WireError
from adapter.engine.ports import Unavailable
from adapter.engine.records import Unreadable
from adapter.engine.types import Kind, Options, Target
from adapter.frozen import frozen
from adapter.http.services import Deployed, Endpoint, Endpoints, endpoints
from adapter.registry import Registry

PARTITION: Final = "registry"
DOCUMENTS: Final = "openapi"
SWEEPER: Final = "sweeper"
"""The items' partition keys. An object's has a slash in it."""

WITHDRAWN: Final = 0
"""When services are gone whose function was deleted: long ago, so that nothing is sent to them."""

FRESH: Final = 60.0
"""Seconds for which what was read counts as current."""

HASTE: Final = 1.0
"""The first pause, in seconds, between reads for services that the directory does not list."""

LEISURE: Final = 15.0
"""The longest of these pauses, in seconds: the pause doubles while the directory lists nothing new. Otherwise requests
with made-up names would make every process read it once a second."""

GONE: Final = 15 * 60
"""Seconds for which a service stays listed after its function stopped hosting it. If it moved, another function has
registered it by then. Until then, messages to it are kept rather than refused."""

LARGEST: Final = 390_000
"""Bytes that a document may have, compressed."""

log = logging.getLogger("adapter")

T = TypeVar("T")


@frozen
class Listed(Deployed):
    """A service in the directory.

    Attributes:
        gone: When its function was deployed without it, in seconds since the epoch.
    """

    gone: int | None = None


class Directory:
    """The directory, as far as this process has read it.

    Args:
        table: The name of the table of objects.
        api: DynamoDB's API.
        clock: Seconds, for how old what was read is.
    """

    def __init__(self, table: str, api: Api, clock: Callable[[], float] = time.monotonic) -> None:
        self._table = table
        self._api = api
        self._clock = clock
        self._services: Mapping[str, Listed] = {}
        self._unreadable: Mapping[str, Unreadable] = {}
        self._known: Sequence[str] = ()
        self._read_at: float | None = None
        self._pause = HASTE

    # --- reading ---

    async def prepare(self) -> None:
        """Read the directory now, before the first event; a failure is left to the first request that needs it."""
        try:
            await self._refresh(self._api)
        except Unavailable as error:
            log.warning("read later: %s", error)

    def kind(self, target: Target) -> Kind | None:
        """The kind of a handler elsewhere; ``None`` if there is none such.

        It is asked in the middle of handler code, so where it has to read, the process is held up for it.

        Raises:
            Unavailable: If that cannot be told now.
            Unreadable: If what the directory says of it cannot be read.
        """
        listed = self._services.get(target.service)
        if listed is None or target.handler not in listed.handlers:
            if self._age() > self._pause:
                self._seek_in_thread()
            listed = self._readable(target.service)
        endpoint = listed.handlers.get(target.handler) if listed else None
        return endpoint.kind if endpoint else None

    def options(self, target: Target) -> Options:
        """How long things are kept of a handler elsewhere; as usual, if there is none such.

        Raises:
            Unavailable: If that cannot be told now.
            Unreadable: If what the directory says of it cannot be read.
        """
        return self._services[target.service].handlers[target.handler].options if self.kind(target) else Options()

    async def find(self, service: str) -> Endpoints | None:
        """The handlers of a service (see `adapter.http.services.Elsewhere`)."""
        listed = await self.lookup(service)
        return listed.handlers if listed else None

    async def lookup(self, service: str) -> Listed | None:
        """Where a service is now; where it was when last read, if that cannot be told.

        Raises:
            Unavailable: If neither is known.
            Unreadable: If what the directory says of it cannot be read.
        """
        known = service in self._services
        if self._age() > (FRESH if known else self._pause):
            try:
                await (self._refresh if known else self._seek)(self._api)
            except Unavailable:
                if not known:
                    raise
        return self._readable(service)

    async def listed(self) -> list[Listed]:
        """Return all services as they are now, except those that cannot be read.

        Raises:
            Unavailable: If that cannot be told now.
        """
        await self._refresh(self._api)
        return list(self._services.values())

    async def names(self) -> Sequence[str]:
        """Return the names of all services, also of those that their functions host no longer.

        Raises:
            Unavailable: If that cannot be told now.
        """
        await self._refresh(self._api)
        return self._known

    async def note_sweep(self, at: int) -> None:
        """Note when a sweep has ended, in milliseconds.

        Raises:
            Unavailable: If DynamoDB does not take it.
        """
        item = {"pk": {"S": SWEEPER}, "sk": {"S": "last"}, "v": {"N": str(FORMAT)}, "at": {"N": str(at)}}
        await self._send(self._api, "PutItem", Item=item)

    async def last_sweep(self) -> int | None:
        """Return when a sweep last ended, in milliseconds; ``None`` if none has.

        Raises:
            Unavailable: If that cannot be told now.
        """
        items = await self._query(self._api, SWEEPER)
        return int(items[0]["at"]["N"]) if items else None

    async def documents(self) -> dict[str, dict[str, Any]]:
        """Return the OpenAPI documents of all services, except those that cannot be read.

        Raises:
            Unavailable: If that cannot be told now.
        """
        found, _ = _readable(await self._query(self._api, DOCUMENTS), _read_document)
        return found

    def _age(self) -> float:
        return float("inf") if self._read_at is None else self._clock() - self._read_at

    async def _refresh(self, api: Api) -> None:
        began, now = self._clock(), time.time()
        found, self._unreadable = _readable(await self._query(api, PARTITION), _read)
        self._known = sorted({*found, *self._unreadable})
        self._services = {name: each for name, each in found.items() if each.gone is None or now - each.gone < GONE}
        self._read_at = began

    async def _seek(self, api: Api) -> None:
        """Read the directory for a service that it did not list."""
        before = self._services
        await self._refresh(api)
        self._pause = min(2 * self._pause, LEISURE) if self._services == before else HASTE

    def _seek_in_thread(self) -> None:
        """Read the directory in the middle of handler code. This loop waits for that: a thread has one of its own."""

        async def seek() -> None:
            api = self._api.copy()
            try:
                await self._seek(api)
            finally:
                api.close()

        with ThreadPoolExecutor(1, "directory") as thread:
            thread.submit(lambda: asyncio.run(seek())).result()

    def _readable(self, service: str) -> Listed | None:
        if service in self._unreadable:
            raise self._unreadable[service]
        return self._services.get(service)

    # --- writing, at deployment ---

    async def register(self, registry: Registry, function: str, deployment: str) -> None:
        """List a function's services; those that it had and has no longer are marked as gone.

        What is written last holds: CloudFormation deploys one version of a function at a time, and when it rolls back
        the older one is the current one again.

        Raises:
            Unavailable: If DynamoDB does not take it.
        """
        for name, service in registry.services.items():
            await self._send(self._api, "PutItem", Item=_write(Listed(name, function, deployment, endpoints(service))))
        await self._describe(registry, function)
        for item in await self._query(self._api, PARTITION):
            if item["function"]["S"] == function and item["sk"]["S"] not in registry.services:
                request = _if_hosted_by(function, item["sk"]["S"])
                request["ExpressionAttributeValues"][":now"] = {"N": str(int(time.time()))}
                await self._send(
                    self._api, "UpdateItem", UpdateExpression="SET gone = if_not_exists(gone, :now)", **request
                )

    async def withdraw(self, function: str) -> None:
        """Strike a function's services off: it is being deleted. Their names stay, as they may have invocations.

        Raises:
            Unavailable: If DynamoDB does not take it.
        """
        for item in await self._query(self._api, PARTITION):
            if item["function"]["S"] == function:
                request = _if_hosted_by(function, item["sk"]["S"])
                request["ExpressionAttributeValues"][":long_ago"] = {"N": str(WITHDRAWN)}
                await self._send(self._api, "UpdateItem", UpdateExpression="SET gone = :long_ago", **request)
        for item in await self._query(self._api, DOCUMENTS):
            if item["function"]["S"] == function:
                await self._send(self._api, "DeleteItem", **_if_hosted_by(function, item["sk"]["S"], DOCUMENTS))

    async def _describe(self, registry: Registry, function: str) -> None:
        """Store what a function's services take and give, and nothing of those that it has no longer."""
        from adapter.http import openapi

        described = openapi.documents(registry)
        for name, document in described.items():
            data = zlib.compress(json.dumps(document).encode())
            if len(data) > LARGEST:
                log.warning("the OpenAPI document of %s is too large: it is left out", name)
                continue
            item = {"pk": {"S": DOCUMENTS}, "sk": {"S": name}, "v": {"N": str(FORMAT)}}
            await self._send(self._api, "PutItem", Item={**item, "function": {"S": function}, "document": {"B": data}})
        for item in await self._query(self._api, DOCUMENTS):
            if item["function"]["S"] == function and item["sk"]["S"] not in described:
                await self._send(self._api, "DeleteItem", **_if_hosted_by(function, item["sk"]["S"], DOCUMENTS))

    # --- requests ---

    async def _query(self, api: Api, partition: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        start: dict[str, Any] = {}
        while True:
            answer = await self._send(
                api,
                "Query",
                KeyConditionExpression="pk = :pk",
                ExpressionAttributeValues={":pk": {"S": partition}},
                ConsistentRead=True,
                **start,
            )
            items += answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return items
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    async def _send(self, api: Api, operation: str, **request: Any) -> dict[str, Any]:
        try:
            return await api.call(operation, {"TableName": self._table, **request})
        except WireError as error:
            if isinstance(error, AwsError) and error.code == "ConditionalCheckFailedException":
                return {}
            raise Unavailable(f"the directory: {error}") from error


def _if_hosted_by(function: str, service: str, partition: str = PARTITION) -> dict[str, Any]:
    """A change of a service's item, unless another function has taken it over."""
    return {
        "Key": {"pk": {"S": partition}, "sk": {"S": service}},
        "ConditionExpression": "#function = :function",
        "ExpressionAttributeNames": {"#function": "function"},
        "ExpressionAttributeValues": {":function": {"S": function}},
    }


def _write(listed: Listed) -> dict[str, Any]:
    handlers = {
        name: {
            "kind": str(each.kind),
            "private": each.private,
            "takes": each.takes,
            "gives": each.gives,
            "kept": _kept(each.options),
            "batch": each.options.batch,
        }
        for name, each in listed.handlers.items()
    }
    return {
        "pk": {"S": PARTITION},
        "sk": {"S": listed.name},
        "v": {"N": str(FORMAT)},
        "function": {"S": listed.function},
        "deployment": {"S": listed.deployment},
        "handlers": {"S": json.dumps(handlers, separators=(",", ":"))},
    }


def _readable(items: Iterable[Item], read: Callable[[Item], T]) -> tuple[dict[str, T], dict[str, Unreadable]]:
    """What items hold, by their sort keys; and of those of which it cannot be told, why."""
    found: dict[str, T] = {}
    unreadable: dict[str, Unreadable] = {}
    for item in items:
        name = item["sk"]["S"]
        try:
            require_version(item)
            found[name] = read(item)
        except Unreadable as error:
            unreadable[name] = error
        except (AttributeError, KeyError, TypeError, ValueError, zlib.error) as error:
            unreadable[name] = StoredFormatError(item, f"damaged: no service, by {error!r}")
    for reason in unreadable.values():
        log.error("left out: %s", reason)
    return found, unreadable


def _read(item: Item) -> Listed:
    handlers = {
        name: Endpoint(Kind(each["kind"]), each["private"], each["takes"], each["gives"], _options(each))
        for name, each in json.loads(item["handlers"]["S"]).items()
    }
    gone = int(item["gone"]["N"]) if "gone" in item else None
    return Listed(item["sk"]["S"], item["function"]["S"], item["deployment"]["S"], handlers, gone)


def _kept(options: Options) -> list[float]:
    retentions = options.idempotency_retention, options.workflow_retention, options.journal_retention
    return [retention.total_seconds() for retention in retentions]


def _options(entry: dict[str, Any]) -> Options:
    idempotency, workflow, journal = (timedelta(seconds=seconds) for seconds in entry["kept"])
    return Options(
        idempotency_retention=idempotency,
        workflow_retention=workflow,
        journal_retention=journal,
        batch=entry.get("batch", 1),  # code that is older than batches takes one message at a time
    )


def _read_document(item: Item) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(zlib.decompress(item["document"]["B"]))
    return document
