"""The courier: a Lambda function of the shared stack that invokes an application's functions when it is time.

It consumes the queue of short delays, whose messages name a function and the event for it, and has a function sweep
once a minute. So a function needs no queue of its own, which would cost $0.26 a month while nothing happens.

`python -m infra.inline` copies this file into stack.yaml. It needs nothing but boto3, which Lambda's runtime has.
"""

import json
import os
import random
from functools import cache
from typing import Any

import boto3
from botocore.config import Config


@cache
def client(service: str) -> Any:
    aws: Any = boto3
    return aws.client(service, config=Config(retries={"total_max_attempts": 3, "mode": "standard"}))


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Deliver messages, or start a sweep."""
    if "Records" not in event:
        sweep()
        return {}
    failed = [record["messageId"] for record in event["Records"] if not deliver(record["body"])]
    # These, and only these, SQS delivers again.
    return {"batchItemFailures": [{"itemIdentifier": id} for id in failed]}


def deliver(body: str) -> bool:
    """Invoke the function that a message names. Return False if that failed."""
    try:
        message = json.loads(body)
        invoke(message["function"], message["event"])
    except Exception as error:
        print(f"not delivered: {error!r}")
        return False
    return True


def sweep() -> None:
    """Have one of the functions sweep. A function that cannot be invoked leaves it to another."""
    functions = registered()
    random.shuffle(functions)
    for function in functions:
        try:
            invoke(function, {"adapter": "sweep"})
            return
        except Exception as error:
            print(f"{function}: {error}")
    if functions:
        raise RuntimeError("no function could be invoked to sweep")


def registered() -> list[str]:
    """Return the aliases of the functions that host services."""
    found = (
        client("dynamodb")
        .get_paginator("query")
        .paginate(
            TableName=os.environ["OBJECTS"],
            KeyConditionExpression="pk = :registry",
            ExpressionAttributeValues={":registry": {"S": "registry"}, ":deleted": {"N": "0"}},
            # A function that was deleted is gone since the beginning of time.
            FilterExpression="attribute_not_exists(gone) OR gone > :deleted",
            ProjectionExpression="#function",
            ExpressionAttributeNames={"#function": "function"},
        )
    )
    return sorted({item["function"]["S"] for page in found for item in page["Items"]})


def invoke(function: str, event: dict[str, Any]) -> None:
    client("lambda").invoke(FunctionName=function, InvocationType="Event", Payload=json.dumps(event).encode())
