"""What operators ask of AWS besides the store: versions of functions, and the queue of dead letters."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, TypeVar, cast

from botocore.exceptions import BotoCoreError, ClientError

from adapter.aws.clients import Remote
from adapter.aws.directory import Directory
from adapter.aws.dispatch import LambdaDispatcher
from adapter.engine.ids import INVOCATION_ID
from adapter.engine.ports import Unavailable
from adapter.errors import TerminalError
from adapter.http.admin.ports import InUseError, Letter, Version

T = TypeVar("T")

LATEST: Final = "$LATEST"
"""Lambda's name of the code that is not published. The stack never invokes it."""

SAMPLED: Final = 10
"""How many messages one request receives, at most: SQS's limit."""

HIDDEN: Final = 0
"""Seconds for which a message that was read is hidden from other readers."""


class LambdaVersions:
    """The versions of a stack's functions, for `adapter.http.admin.ports.Versions`.

    Args:
        directory: Knows the stack's functions.
        dispatcher: Asks Lambda whether a version can be invoked.
        client: A Lambda client; by default one is made at the first request.
    """

    def __init__(self, directory: Directory, dispatcher: LambdaDispatcher, client: Any = None) -> None:
        self._directory = directory
        self._dispatcher = dispatcher
        self._lambda = Remote("lambda", connections=4, attempts=3, client=client)

    async def exists(self, deployment: str) -> bool:
        """Return True if invocations can continue on a deployment."""
        return await self._dispatcher.exists(deployment)

    async def listed(self) -> list[Version]:
        """Return the versions of the functions that host services."""
        aliases = sorted({each.function for each in await self._directory.listed()})
        found: list[Version] = []
        for alias in aliases:
            found += await self._ask(lambda client, alias=alias: _versions(client, alias))  # type: ignore[misc]
        return found

    async def remove(self, deployment: str) -> bool:
        """`Delete <https://docs.aws.amazon.com/lambda/latest/api/API_DeleteFunction.html>`_ a version.

        Return False if it does not exist. Lambda refuses where an alias leads to it.

        Raises:
            InUseError: If the function's alias leads to it.
        """
        function, _, version = deployment.partition(":")
        hosts = {_name(each.function) for each in await self._directory.listed()}
        if not version.isdecimal() or function not in hosts:
            return False
        return await self._ask(lambda client: _delete(client, function, version))

    async def _ask(self, request: Callable[[Any], T]) -> T:
        return await _asked("Lambda", self._lambda, request)


def _versions(client: Any, alias: str) -> list[Version]:
    function, name = alias.rsplit(":", 1)
    current = client.get_alias(FunctionName=function, Name=name)["FunctionVersion"]
    found: list[Version] = []
    for page in client.get_paginator("list_versions_by_function").paginate(FunctionName=function):
        for each in page["Versions"]:
            if each["Version"] != LATEST:
                deployment = f"{each['FunctionName']}:{each['Version']}"
                created = _milliseconds(each.get("LastModified", ""))
                found.append(Version(deployment, alias, created, current=each["Version"] == current))
    return found


def _delete(client: Any, function: str, version: str) -> bool:
    try:
        client.delete_function(FunctionName=function, Qualifier=version)
    except client.exceptions.ResourceNotFoundException:
        return False
    except client.exceptions.ResourceConflictException as error:
        raise InUseError(f"Lambda does not delete {function}:{version}: {error}") from error
    return True


def _name(alias: str) -> str:
    """Return the name of the function that an alias's ARN leads to.

    >>> _name("arn:aws:lambda:eu-west-1:123456789012:function:shop:live")
    'shop'
    """
    return alias.rsplit(":", 2)[-2] if ":" in alias else alias


def _milliseconds(text: str) -> int | None:
    try:
        return round(datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError:
        return None


class DeadLetterQueue:
    """The queue of messages that could not be delivered, for `adapter.http.admin.ports.DeadLetters`.

    Args:
        arn: The queue's ARN.
        client: An SQS client; by default one is made at the first request.
    """

    def __init__(self, arn: str, client: Any = None) -> None:
        *_, self._account, self._queue = arn.split(":")
        self._sqs = Remote("sqs", connections=2, attempts=3, client=client)
        self._url: str | None = None

    async def sample(self) -> tuple[list[Letter], int]:
        """`Receive <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html>`_
        some messages without taking them from the queue, and return how many there are, about."""
        return await self._ask(self._sample)

    async def purge(self) -> None:
        """Delete all messages. SQS takes up to a minute, and refuses a second request in that time."""
        await self._ask(self._purge)

    def _sample(self, client: Any) -> tuple[list[Letter], int]:
        url = self._find(client)
        answer = client.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=SAMPLED,
            VisibilityTimeout=HIDDEN,
            MessageAttributeNames=["All"],
            AttributeNames=["SentTimestamp"],
        )
        names = ["ApproximateNumberOfMessages"]
        attributes = client.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        letters = {each["MessageId"]: _letter(each) for each in answer.get("Messages", [])}
        return list(letters.values()), int(attributes["ApproximateNumberOfMessages"])

    def _purge(self, client: Any) -> None:
        try:
            client.purge_queue(QueueUrl=self._find(client))
        except ClientError as error:
            if "PurgeQueueInProgress" not in str(error):
                raise

    def _find(self, client: Any) -> str:
        if self._url is None:
            request = {"QueueName": self._queue, "QueueOwnerAWSAccountId": self._account}
            self._url = str(client.get_queue_url(**request)["QueueUrl"])
        return self._url

    async def _ask(self, request: Callable[[Any], T]) -> T:
        return await _asked("SQS", self._sqs, request)


async def _asked(service: str, remote: Remote, request: Callable[[Any], T]) -> T:
    try:
        return await remote.run(request)
    except ClientError as error:
        if "AccessDenied" in error.response.get("Error", {}).get("Code", ""):
            raise TerminalError(
                f"{service} refuses: {error}. Deploy the shared template of this version of the library",
                code=502,
            ) from error
        raise Unavailable(f"{service}: {error}") from error
    except BotoCoreError as error:
        raise Unavailable(f"{service}: {error}") from error


def _letter(message: dict[str, Any]) -> Letter:
    """Return a message as an operator reads it: Lambda and Scheduler say in its attributes what happened."""
    attributes = {name: each.get("StringValue", "") for name, each in message.get("MessageAttributes", {}).items()}
    body: str = message["Body"]
    sent = message.get("Attributes", {}).get("SentTimestamp")
    reason = attributes.get("ErrorMessage") or attributes.get("ERROR_MESSAGE") or attributes.get("ErrorCode")
    function = attributes.get("RULE_ARN") or attributes.get("TARGET_ARN")
    # Lambda's destinations wrap the event: docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
    event = _object(body)
    context, inner = _part(event, "requestContext"), _part(event, "requestPayload") or event
    function, reason = function or _text(context, "functionArn"), reason or _text(context, "condition")
    id = _text(inner, "id") or _first(inner, "ids")
    invocation = id if INVOCATION_ID.fullmatch(id) else None
    return Letter(message["MessageId"], body.encode(), int(sent) if sent else None, function, reason, invocation)


def _object(text: str) -> dict[str, Any]:
    """Return a JSON object; an empty one for any other text."""
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _part(value: dict[str, Any], name: str) -> dict[str, Any]:
    part: Any = value.get(name)
    return cast("dict[str, Any]", part) if isinstance(part, dict) else {}


def _first(value: dict[str, Any], name: str) -> str:
    """Return the first of a list, for example of the messages of a batch."""
    part: Any = value.get(name)
    return str(cast("list[object]", part)[0]) if isinstance(part, list) and part else ""


def _text(value: dict[str, Any], name: str) -> str | None:
    part: Any = value.get(name)
    return part if isinstance(part, str) else None
