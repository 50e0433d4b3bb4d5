"""The development server's DynamoDB: the tables, and what to do if they cannot be had."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError, WaiterError

from adapter.aws.models import definitions
from adapter.aws.store import DynamoStore
from adapter.local.options import UnservableError

REFUSED = ("UnrecognizedClientException", "InvalidSignatureException", "ExpiredTokenException", "MissingAuthentication")
"""Codes of answers to requests whose credentials AWS does not take."""


def open_dynamodb(endpoint: str) -> DynamoStore:
    """Return the store at ``AWS_ENDPOINT_URL``, its tables created where there are none.

    An endpoint that is not AWS's gets made-up credentials if no others are configured: emulators take any.

    Raises:
        UnservableError: If the endpoint cannot be reached, or refuses.
    """
    os.environ.setdefault("AWS_DEFAULT_REGION", os.environ.get("AWS_REGION", "us-east-1"))
    if not (_is_aws(endpoint) or os.environ.get("AWS_ACCESS_KEY_ID") or os.environ.get("AWS_PROFILE")):
        os.environ.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test")
    invocations = os.environ.get("ADAPTER_INVOCATIONS_TABLE", "adapter-dev-invocations")
    objects = os.environ.get("ADAPTER_OBJECTS_TABLE", "adapter-dev-objects")
    try:
        create_tables(make_client(), invocations=invocations, objects=objects)
    except (BotoCoreError, ClientError, ValueError) as error:
        raise UnservableError(_advice(error, endpoint, f"{invocations} and {objects}")) from error
    return DynamoStore(invocations, objects)


def make_client(**options: Any) -> Any:
    """Return botocore's client of DynamoDB, for creating tables. It fails within seconds.

    Args:
        options: Further arguments of botocore's ``create_client``, such as ``endpoint_url``.
    """
    config = Config(connect_timeout=1, read_timeout=3, retries={"total_max_attempts": 1, "mode": "standard"})
    return botocore.session.get_session().create_client("dynamodb", config=config, **options)


def create_tables(client: Any, *, invocations: str, objects: str, history: bool = True) -> None:
    """Create the tables that do not exist, for development and tests. Deployments have template.yaml create them."""
    for name, definition in zip((invocations, objects), definitions(history).values(), strict=True):
        lifetime = definition.pop("TimeToLiveSpecification")
        try:
            client.create_table(TableName=name, **definition)
        except client.exceptions.ResourceInUseException:
            continue
        client.get_waiter("table_exists").wait(TableName=name)
        client.update_time_to_live(TableName=name, TimeToLiveSpecification=lifetime)


def _is_aws(endpoint: str) -> bool:
    return (urlsplit(endpoint).hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws"))


def _advice(error: Exception, endpoint: str, tables: str) -> str:
    """Return one line that says what failed and what to do."""
    said = " ".join(str(error).split())
    answer: Mapping[str, str] = error.response.get("Error", {}) if isinstance(error, ClientError) else {}  # type: ignore[assignment]
    code = answer.get("Code", "").rpartition("#")[2]
    if isinstance(error, ConnectionError | HTTPClientError | WaiterError | ValueError):
        return (
            f"cannot reach DynamoDB at AWS_ENDPOINT_URL={endpoint} ({said}). Start the emulator there, correct the "
            "URL, or unset AWS_ENDPOINT_URL to keep state in memory"
        )
    if isinstance(error, BotoCoreError) or code.startswith(REFUSED):
        return (
            f"no valid AWS credentials for {endpoint} ({said}). Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or log in again; `aws sts get-caller-identity` shows which are used"
        )
    if code.startswith("AccessDenied"):
        return (
            f"access to DynamoDB at {endpoint} is denied ({said}). Allow the tables {tables} to these credentials: "
            "CreateTable, DescribeTable, UpdateTimeToLive, and reading and writing items"
        )
    return f"DynamoDB at {endpoint} refused to create the tables {tables} ({said})"
