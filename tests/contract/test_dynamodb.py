"""What only DynamoDB can do: fail, hold items of other versions, and have words of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from adapter.aws.store import DynamoStore
from adapter.aws.tables import StoredFormatError, write
from adapter.aws.wire import (
    Answer,
    Api,
    AwsError,
    Credentials,
    Fixed,
    NoAnswerError,
    NoCredentialsError,
    Place,
    Request,
    Transport,
)
from adapter.engine.ids import due_shard, shard
from adapter.engine.ports import (
    Conflict,
    Contended,
    Create,
    Misconfigured,
    Put,
    TooLarge,
    Unavailable,
    Update,
    WriteHead,
)
from adapter.engine.records import Head, Ref, StateEntry, Status
from adapter.engine.types import ObjectKey
from adapter.local.dynamodb import create_tables
from tests.contract.samples import GENERATION, KEY, NOW, commit, completed, created, meta, segment

pytestmark = pytest.mark.dynamodb

REF = Ref("inv_a", GENERATION)
Send = Callable[[Request], Awaitable[Answer]]


class Faults:
    """Answers requests in DynamoDB's place, and counts them."""

    def __init__(self, dynamodb: Transport) -> None:
        self.requests: list[Request] = []
        self.answer: Send | None = None
        self.lost = 0
        self._dynamodb = dynamodb

    async def send(self, request: Request) -> Answer:
        self.requests.append(request)
        if self.answer is not None:
            return await self.answer(request)
        answer = await self._dynamodb.send(request)
        if self.lost:
            self.lost -= 1
            raise NoAnswerError("lost")
        return answer

    async def open(self) -> None:
        await self._dynamodb.open()

    def close(self) -> None:
        self._dynamodb.close()


@pytest.fixture
def faults(api: Api) -> Faults:
    api.transport = faults = Faults(api.transport)
    return faults


def error(code: str, status: int = 400, **more: Any) -> Send:
    body = json.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "no", **more}).encode()

    async def send(request: Request) -> Answer:
        return Answer(status, {}, body)

    return send


async def unanswered(request: Request) -> Answer:
    raise NoAnswerError("no")


def cancelled(*codes: str) -> Send:
    return error(
        "TransactionCanceledException", CancellationReasons=[{"Code": code, "Message": "no"} for code in codes]
    )


class TestFaults:
    @pytest.mark.parametrize(
        "fault",
        [
            error("ProvisionedThroughputExceededException"),
            error("ThrottlingException"),
            error("RequestLimitExceeded"),
            error("TransactionConflictException"),
            error("TransactionInProgressException"),
            error("InternalServerError", 500),
            error("SomethingElse", 503),
            unanswered,
        ],
    )
    async def test_unavailable_after_one_attempt(self, dynamodb: DynamoStore, faults: Faults, fault: Send) -> None:
        faults.answer = fault
        for send in (
            lambda: dynamodb.load("inv_a"),
            lambda: dynamodb.peek("inv_a"),
            lambda: dynamodb.forget(REF, NOW),
            lambda: commit(dynamodb, Put(segment(REF, 0))),
            lambda: commit(dynamodb, Put(segment(REF, 0)), Put(segment(REF, 1))),
        ):
            faults.requests.clear()
            with pytest.raises(Unavailable):
                await send()
            assert len(faults.requests) == 1

    async def test_other_changes_have_another_token(self, dynamodb: DynamoStore, faults: Faults) -> None:
        """AWS does not say whether it remembers the token of a transaction that was cancelled."""
        faults.answer = cancelled("ConditionalCheckFailed", "None")
        for last in (1, 1, 2):
            with pytest.raises(Conflict):
                await commit(dynamodb, Put(segment(REF, 0)), Put(segment(REF, last)), commit_id="n")
        first, again, other = (json.loads(request.body)["ClientRequestToken"] for request in faults.requests)
        assert first == again != other
        assert len(other) <= 36

    @pytest.mark.parametrize(
        "codes",
        [("TransactionConflict", "None"), ("None", "ThrottlingError"), ("ProvisionedThroughputExceeded", "None")],
    )
    async def test_a_transaction_that_collides(
        self, dynamodb: DynamoStore, faults: Faults, codes: tuple[str, ...]
    ) -> None:
        faults.answer = cancelled(*codes)
        with pytest.raises(Unavailable) as raised:
            await commit(dynamodb, Put(segment(REF, 0)), Put(segment(REF, 1)))
        assert isinstance(raised.value, Contended) == ("TransactionConflict" in codes)

    async def test_a_failed_condition_outweighs_a_collision(self, dynamodb: DynamoStore, faults: Faults) -> None:
        faults.answer = cancelled("TransactionConflict", "ConditionalCheckFailed")
        with pytest.raises(Conflict) as raised:
            await commit(dynamodb, Put(segment(REF, 0)), Put(segment(REF, 1)))
        assert raised.value.found == {1: None}

    async def test_what_is_our_fault_stays_as_it_is(self, dynamodb: DynamoStore, faults: Faults) -> None:
        faults.answer = error("SerializationException")
        with pytest.raises(AwsError, match="SerializationException"):
            await dynamodb.peek("inv_a")

    @pytest.mark.parametrize(
        ("code", "advice"),
        [
            ("AccessDeniedException", "allow it in the function's role"),
            ("ResourceNotFoundException", "check the names of the tables"),
            ("UnrecognizedClientException", "check the function's credentials"),
        ],
    )
    async def test_a_function_that_is_not_set_up_is_told_what_to_do(
        self, dynamodb: DynamoStore, faults: Faults, code: str, advice: str
    ) -> None:
        faults.answer = error(code)
        with pytest.raises(Misconfigured, match=rf"^DynamoDB refuses this function: GetItem: {code}: .*: {advice}"):
            await dynamodb.peek("inv_a")

    async def test_a_lost_answer_is_found_out(self, dynamodb: DynamoStore, faults: Faults) -> None:
        """The first of two single puts applies, and its answer is lost; the second meets its own write."""
        faults.lost = 1
        change = Create(meta("inv_a"), NOW)
        with pytest.raises(Unavailable):
            await commit(dynamodb, change, commit_id="nonce")
        assert await dynamodb.peek("inv_a")
        await commit(dynamodb, change, commit_id="nonce")

    async def test_no_one_listens(self) -> None:
        place, source = Place("us-east-1", "http://127.0.0.1:9"), Fixed(Credentials("test", "test"))
        store = DynamoStore("a", "b", api=Api("dynamodb", place=place, source=source))
        with pytest.raises(Unavailable):
            await store.peek("inv_a")

    async def test_there_are_no_credentials(self, endpoint: str) -> None:
        class Empty:
            async def get(self, *, refused: Credentials | None = None) -> Credentials:
                raise NoCredentialsError("none yet")

            def copy(self) -> Empty:
                return self

        store = DynamoStore("a", "b", api=Api("dynamodb", place=Place("us-east-1", endpoint), source=Empty()))
        with pytest.raises(Unavailable, match="GetItem: none yet"):
            await store.peek("inv_a")


async def test_none_waits_for_the_answer_of_another(dynamodb: DynamoStore, faults: Faults) -> None:
    under_way, all_there = 0, asyncio.Event()

    async def together(request: Request) -> Answer:
        nonlocal under_way
        under_way += 1
        if under_way == 8:
            all_there.set()
        await asyncio.wait_for(all_there.wait(), 60)
        return Answer(200, {}, b"{}")

    faults.answer = together
    await asyncio.gather(*(dynamodb.peek(f"inv_{n}") for n in range(8)))


async def test_requests_are_counted(dynamodb: DynamoStore, faults: Faults) -> None:
    record = await created(dynamodb)
    await dynamodb.peek(record.id)
    with pytest.raises(Conflict):
        await commit(dynamodb, Create(record, NOW))
    assert dynamodb.usage.requests == len(faults.requests) == 3
    assert dynamodb.usage.read_units == 1
    assert dynamodb.usage.write_units == 1


class TestFormat:
    async def put(self, client: Any, table: str, **attributes: Any) -> None:
        client.put_item(TableName=table, Item={"pk": {"S": "inv_a"}, "sk": {"S": "meta"}, **attributes})

    async def test_a_newer_version(self, dynamodb: DynamoStore, client: Any, tables: tuple[str, str]) -> None:
        await self.put(client, tables[0], **{**write(meta("inv_a")), "v": {"N": "2"}})
        with pytest.raises(StoredFormatError, match=r"inv_a/meta \(version 2\): this code reads versions up to 1"):
            await dynamodb.peek("inv_a")
        with pytest.raises(StoredFormatError):
            await dynamodb.load("inv_a")
        with pytest.raises(StoredFormatError):
            await commit(dynamodb, Create(meta("inv_a"), NOW))

    async def test_something_is_missing(self, dynamodb: DynamoStore, client: Any, tables: tuple[str, str]) -> None:
        await self.put(client, tables[0], v={"N": "1"}, generation={"S": "g"})
        with pytest.raises(StoredFormatError, match=r"inv_a/meta .*Meta"):
            await dynamodb.peek("inv_a")

    async def test_an_unknown_kind(self, dynamodb: DynamoStore, client: Any, tables: tuple[str, str]) -> None:
        await self.put(client, tables[0], v={"N": "1"}, sk={"S": "k#new"})
        with pytest.raises(StoredFormatError, match=r"inv_a/k#new .*unknown"):
            await dynamodb.load("inv_a")

    async def test_attributes_that_a_later_version_may_add(
        self, dynamodb: DynamoStore, client: Any, tables: tuple[str, str]
    ) -> None:
        await self.put(client, tables[0], **write(meta("inv_a")), later={"S": "x"})
        assert await dynamodb.peek("inv_a") == meta("inv_a")


class TestItems:
    async def test_time_to_live_follows_expiry(
        self, dynamodb: DynamoStore, client: Any, tables: tuple[str, str]
    ) -> None:
        key = {"pk": {"S": "inv_a"}, "sk": {"S": "meta"}}
        await commit(dynamodb, Create(meta("inv_a"), NOW))
        assert "ttl" not in client.get_item(TableName=tables[0], Key=key)["Item"]
        await commit(dynamodb, Update(REF, {"status": Status.COMPLETED, "expires": NOW}))
        item = client.get_item(TableName=tables[0], Key=key)["Item"]
        assert int(item["ttl"]["N"]) == NOW // 1000 + 7 * 24 * 3600

    async def test_due_shard_is_there_while_it_is_due(
        self, dynamodb: DynamoStore, client: Any, tables: tuple[str, str]
    ) -> None:
        key = {"pk": {"S": "inv_a"}, "sk": {"S": "meta"}}
        await commit(dynamodb, Create(meta("inv_a", due=NOW), NOW))
        assert client.get_item(TableName=tables[0], Key=key)["Item"]["due_shard"] == {"S": str(due_shard("inv_a"))}
        await commit(dynamodb, Update(REF, {"due": None}))
        assert client.get_item(TableName=tables[0], Key=key)["Item"].keys().isdisjoint({"due", "due_shard"})

    async def test_heads_never_expire(self, dynamodb: DynamoStore, client: Any, tables: tuple[str, str]) -> None:
        await commit(dynamodb, WriteHead(Head(KEY, expires=1), version=0))
        [item] = client.scan(TableName=tables[1])["Items"]
        assert "ttl" not in item

    async def test_history_is_there_for_an_index_that_is_made_later(
        self, dynamodb: DynamoStore, client: Any, tables: tuple[str, str]
    ) -> None:
        await commit(dynamodb, Create(meta("inv_a"), NOW))
        assert client.scan(TableName=tables[0])["Items"][0]["service_shard"] == {"S": f"Counter#{shard('inv_a')}"}

    @pytest.mark.parametrize("history", [True])
    async def test_history(self, dynamodb: DynamoStore, client: Any, tables: tuple[str, str]) -> None:
        await commit(dynamodb, Create(meta("inv_a"), NOW))
        await commit(dynamodb, Create(completed("inv_b"), NOW))
        items = client.scan(TableName=tables[0], IndexName="by-service")["Items"]
        assert {item["pk"]["S"]: item["service_shard"]["S"] for item in items} == {
            id: f"Counter#{shard(id)}" for id in ("inv_a", "inv_b")
        }
        by_id = {item["pk"]["S"]: set(item) for item in items}
        entry = {"pk", "sk", "service_shard", "created", "target"}
        assert by_id == {"inv_a": entry, "inv_b": entry | {"ended"}}

    async def test_every_name_may_be_a_reserved_word(self, dynamodb: DynamoStore, faults: Faults) -> None:
        """Names stand in expressions as placeholders only."""
        await commit(dynamodb, Create(meta("inv_a", due=NOW), NOW))
        await commit(dynamodb, Update(REF, {"error": "e", "due": 5}, epoch=0, due=NOW, status=Status.READY))
        for request in faults.requests:
            body = json.loads(request.body)
            for part in ("ConditionExpression", "UpdateExpression"):
                words = set(body.get(part, "").replace("(", " ").replace(")", " ").replace(",", " ").split())
                lower = {word for word in words if word.islower() and word[0] not in "#:"}
                assert lower <= {"attribute_exists", "attribute_not_exists"}

    async def test_a_key_that_is_too_long(self, dynamodb: DynamoStore) -> None:
        with pytest.raises(TooLarge):
            await commit(dynamodb, Put(StateEntry(ObjectKey("S", "k"), GENERATION, "n" * 1025, b"")))


class TestCreateTables:
    def test_again_does_nothing(self, client: Any, tables: tuple[str, str]) -> None:
        create_tables(client, invocations=tables[0], objects=tables[1])

    def test_time_to_live_is_on(self, client: Any, tables: tuple[str, str]) -> None:
        for table in tables:
            lifetime = client.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
            assert lifetime == {"TimeToLiveStatus": "ENABLED", "AttributeName": "ttl"}

    def test_without_history(self, client: Any, tables: tuple[str, str]) -> None:
        names = f"{tables[0]}-x", f"{tables[1]}-x"
        create_tables(client, invocations=names[0], objects=names[1], history=False)
        indexes = client.describe_table(TableName=names[0])["Table"]["GlobalSecondaryIndexes"]
        assert [index["IndexName"] for index in indexes] == ["due"]
        for name in names:
            client.delete_table(TableName=name)
