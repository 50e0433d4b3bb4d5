"""AWS's APIs without AWS: a transport that answers what a test says."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from adapter.aws.wire import Answer, Api, AwsError, Credentials, Fixed, Place, Request

PLACE = Place("us-east-1", "https://aws.example.com/base")
KEY = Fixed(Credentials("k", "s"))


class Scripted:
    """Answers what it is told, one after the other; the last stays."""

    def __init__(self, *answers: Answer | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[Request] = []

    async def send(self, request: Request) -> Answer:
        self.asked.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def open(self) -> None:
        pass

    def close(self) -> None:
        pass


def scripted(service: str, *answers: Answer | Exception) -> tuple[Api, Scripted]:
    """An API that sends nothing again, and its transport."""
    transport = Scripted(*answers)
    return Api(service, place=PLACE, source=KEY, transport=transport), transport


def refusal(code: str, status: int = 400) -> Answer:
    """An error as Lambda and Scheduler have it."""
    return Answer(status, {"x-amzn-errortype": code}, json.dumps({"Message": "no"}).encode())


Operation = Callable[[dict[str, Any]], dict[str, Any]]


class Fake:
    """An API whose operations are a test's methods, such as ``put_item`` for ``PutItem``."""

    def __init__(self, operations: object) -> None:
        self._operations = operations

    async def call(self, operation: str, input: dict[str, Any]) -> dict[str, Any]:
        name = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in operation).removeprefix("_")
        answer: dict[str, Any] = getattr(self._operations, name)(**input)
        return answer

    def copy(self) -> Fake:
        return self

    def close(self) -> None:
        pass


def error(code: str) -> AwsError:
    """What an operation raises."""
    return AwsError("Operation", code, "no", 400, {})
