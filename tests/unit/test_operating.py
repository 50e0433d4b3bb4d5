"""What the admin asks of Lambda and SQS."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import botocore.session
import pytest
from botocore.stub import ANY, Stubber

from adapter.aws.operating import DeadLetterQueue, LambdaVersions
from adapter.engine.ports import Unavailable
from adapter.errors import TerminalError
from adapter.http.admin.ports import InUseError, Letter, Version
from adapter.http.services import Deployed

ALIAS = "arn:aws:lambda:eu-west-1:123456789012:function:shop_app:live"
FUNCTION = ALIAS.removesuffix(":live")
QUEUE = "arn:aws:sqs:eu-west-1:123456789012:shop-dead-letters"
URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/shop-dead-letters"
ID = "inv_" + "a" * 32


class Directory:
    async def listed(self) -> Sequence[Deployed]:
        return [Deployed(name, ALIAS, "shop_app:8", {}) for name in ("Shop", "Cart")]


class Dispatcher:
    async def exists(self, deployment: str) -> bool:
        return deployment == "shop_app:7"


def client(service: str) -> Any:
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("AWS_PROFILE", raising=False)
        return botocore.session.get_session().create_client(service, region_name="eu-west-1", **keys)


@pytest.fixture(scope="module")
def lambdas() -> Any:
    return client("lambda")


@pytest.fixture(scope="module")
def sqs() -> Any:
    return client("sqs")


def versions(client: Any) -> LambdaVersions:
    return LambdaVersions(cast("Any", Directory()), cast("Any", Dispatcher()), client)


async def test_the_versions_of_the_functions_that_host_services(lambdas: Any) -> None:
    with Stubber(lambdas) as stub:
        stub.add_response("get_alias", {"FunctionVersion": "8"}, {"FunctionName": FUNCTION, "Name": "live"})
        listed = [
            {"FunctionName": "shop_app", "Version": version, "LastModified": "2026-01-01T00:00:00.000+0000"}
            for version in ("$LATEST", "7", "8")
        ]
        stub.add_response("list_versions_by_function", {"Versions": listed}, {"FunctionName": FUNCTION})
        at = round(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000)
        assert await versions(lambdas).listed() == [
            Version("shop_app:7", ALIAS, at, current=False), Version("shop_app:8", ALIAS, at, current=True),
        ]  # fmt: skip
    assert await versions(lambdas).exists("shop_app:7")


async def test_a_version_is_deleted_and_never_a_function(lambdas: Any) -> None:
    with Stubber(lambdas) as stub:
        stub.add_response("delete_function", {}, {"FunctionName": "shop_app", "Qualifier": "7"})
        assert await versions(lambdas).remove("shop_app:7")
        for name in ("shop_app", "shop_app:", "shop_app:live", "shop_app:$LATEST", "other:7", "", ":7"):
            assert not await versions(lambdas).remove(name)
        stub.assert_no_pending_responses()


@pytest.mark.parametrize(
    ("code", "raised"),
    [
        ("ResourceConflictException", InUseError),
        ("AccessDeniedException", TerminalError),
        ("TooManyRequestsException", Unavailable),
    ],
)
async def test_a_version_that_lambda_does_not_delete(lambdas: Any, code: str, raised: type[Exception]) -> None:
    with Stubber(lambdas) as stub:
        stub.add_client_error("delete_function", code, "no")
        with pytest.raises(raised):
            await versions(lambdas).remove("shop_app:7")
        stub.add_client_error("delete_function", "ResourceNotFoundException", "no")
        assert not await versions(lambdas).remove("shop_app:7")


DISPATCH = json.dumps({"adapter": "dispatch", "id": ID, "service": "Shop"})
BATCH = json.dumps({"adapter": "dispatch", "ids": [ID, "inv_other"], "service": "Shop"})
MESSAGES: list[tuple[dict[str, Any], Callable[[str], Letter]]] = [
    ({"Body": BATCH}, lambda id: Letter(id, BATCH.encode(), 5, None, None, ID)),
    (
        {"Body": DISPATCH, "MessageAttributes": {"ErrorMessage": {"DataType": "String", "StringValue": "timed out"}}},
        lambda id: Letter(id, DISPATCH.encode(), 5, None, "timed out", ID),
    ),
    (
        {
            "Body": json.dumps(
                {
                    "requestContext": {"functionArn": ALIAS, "condition": "RetriesExhausted"},
                    "requestPayload": {"id": ID},
                }
            ),
        },
        lambda id: Letter(id, ANY, 5, ALIAS, "RetriesExhausted", ID),
    ),
    ({"Body": "plain"}, lambda id: Letter(id, b"plain", 5)),
    ({"Body": '{"id": "inv_1", "requestPayload": [1]}'}, lambda id: Letter(id, ANY, 5)),
]


async def test_a_sample_of_the_dead_letters(sqs: Any) -> None:
    messages = [
        {"MessageId": f"m{n}", "Attributes": {"SentTimestamp": "5"}, **message}
        for n, (message, _) in enumerate(MESSAGES)
    ]
    queue = DeadLetterQueue(QUEUE, sqs)
    with Stubber(sqs) as stub:
        owner = {"QueueName": "shop-dead-letters", "QueueOwnerAWSAccountId": "123456789012"}
        stub.add_response("get_queue_url", {"QueueUrl": URL}, owner)
        stub.add_response("receive_message", {"Messages": [*messages, messages[0]]})
        stub.add_response("get_queue_attributes", {"Attributes": {"ApproximateNumberOfMessages": "12"}})
        letters, count = await queue.sample()
        assert count == 12
        assert letters == [expected(f"m{n}") for n, (_, expected) in enumerate(MESSAGES)]
        stub.add_response("purge_queue", {}, {"QueueUrl": URL})
        await queue.purge()
        stub.add_client_error("purge_queue", "AWS.SimpleQueueService.PurgeQueueInProgress", "wait")
        await queue.purge()
        stub.add_client_error("purge_queue", "InternalError", "no", http_status_code=500)
        with pytest.raises(Unavailable):
            await queue.purge()
