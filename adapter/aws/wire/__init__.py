"""A lean client of the AWS services that requests wait for: DynamoDB, Lambda, SQS and EventBridge Scheduler.

It runs on the engine's event loop, imports nothing of botocore and takes a quarter of its CPU per request. Why it is
our own is in ``docs/decisions``. What a deployment needs beside these, boto3 does.

>>> import asyncio
>>> async def count(table: str) -> int:
...     dynamodb = Api("dynamodb")
...     answer = await dynamodb.call("Scan", {"TableName": table, "Select": "COUNT"})
...     dynamodb.close()
...     return answer["Count"]
"""

from adapter.aws.wire.api import Api, AwsError, NoRegionError, Place, locate
from adapter.aws.wire.credentials import Fixed, NoCredentialsError
from adapter.aws.wire.http import Answer, NoAnswerError, Request, Transport, WireError
from adapter.aws.wire.signing import Credentials

__all__ = [
    "Answer",
    "Api",
    "AwsError",
    "Credentials",
    "Fixed",
    "NoAnswerError",
    "NoCredentialsError",
    "NoRegionError",
    "Place",
    "Request",
    "Transport",
    "WireError",
    "locate",
]
