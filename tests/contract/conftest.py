"""The stores that keep the contract: in memory, in a file, and on DynamoDB."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from adapter.aws.store import DynamoStore
from adapter.aws.wire import Api, Credentials, Fixed, Place
from adapter.engine.ports import Store
from adapter.local.dynamodb import create_tables, make_client
from adapter.local.memory import MemoryStore
from adapter.local.sqlite import SqliteStore
from infra import emulator


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``AWS_ENDPOINT_URL`` if it is set, else an emulator for this session (``ADAPTER_EMULATOR`` says which)."""
    given = os.environ.get("AWS_ENDPOINT_URL")
    if given:
        yield given
        return
    with pytest.MonkeyPatch.context() as patch:
        if executable := os.environ.get("ADAPTER_EMULATOR"):
            patch.setattr(emulator, "EXECUTABLE", Path(executable))
        with emulator.running(tmp_path_factory.mktemp("emulator")) as process:
            yield process.url


@pytest.fixture(scope="session")
def credentials() -> dict[str, str]:
    return {"region_name": "us-east-1", "aws_access_key_id": "test", "aws_secret_access_key": "test"}


@pytest.fixture(scope="session")
def client(endpoint: str, credentials: dict[str, str]) -> Any:
    return make_client(endpoint_url=endpoint, **credentials)


@pytest.fixture
def history() -> bool:
    """Whether the tables have the index of history."""
    return False


@pytest.fixture
def tables(client: Any, history: bool) -> Iterator[tuple[str, str]]:
    """Two tables of this test's own."""
    name = uuid4().hex[:12]
    names = f"invocations-{name}", f"objects-{name}"
    create_tables(client, invocations=names[0], objects=names[1], history=history)
    yield names
    for table in names:
        client.delete_table(TableName=table)


@pytest.fixture
async def api(endpoint: str) -> AsyncIterator[Api]:
    """The store's way to DynamoDB; `client` is the tests' own. A busy emulator is waited for."""
    api = Api("dynamodb", patience=60, place=Place("us-east-1", endpoint), source=Fixed(Credentials("test", "test")))
    yield api
    api.close()


@pytest.fixture
def dynamodb(api: Api, tables: tuple[str, str]) -> DynamoStore:
    return DynamoStore(*tables, api=api)


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "state")
    yield store
    store.close()


@pytest.fixture(params=["memory", "sqlite", pytest.param("dynamodb", marks=pytest.mark.dynamodb)])
def store(request: pytest.FixtureRequest) -> Store:
    if request.param == "memory":
        return MemoryStore()
    found: Store = request.getfixturevalue(request.param)
    return found
