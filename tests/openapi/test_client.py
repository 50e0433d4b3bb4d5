"""A client that openapi-python-client generates works."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

BIN = Path(sys.executable).parent


@pytest.fixture
def generated(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The generated package's modules, by their names in it."""
    done = subprocess.run(
        [
            BIN / "openapi-python-client",
            "generate",
            "--path",
            file,
            "--output-path",
            tmp_path / "catalogue_client",
            "--meta=none",
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},  # it formats with ruff
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    # Of a body of text it knows nothing; all else it understands.
    assert "Unable to parse" not in said and "Cannot parse" not in said, said  # noqa: PT018
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda name: importlib.import_module(f"catalogue_client.{name}")
    for name in [name for name in sys.modules if name.partition(".")[0] == "catalogue_client"]:
        del sys.modules[name]


async def test_a_generated_client(generated: Any, http: httpx.AsyncClient) -> None:
    client = generated("client").Client("http://test").set_async_httpx_client(http)
    models = generated("models")

    async def call(path: str, *arguments: Any, **body: Any) -> Any:
        return await generated(f"api.{path}").asyncio(*arguments, client=client, **body)

    item = models.Item.from_dict({"sku": "a", "Count": 2, "color": "red", "x-weird": "y"})
    order = models.OrderInput.from_dict(
        {"id": str(UUID(int=1)), "at": "2026-01-01T00:00:00Z", "items": [item.to_dict()], "total": "1.10"}
    )
    given = await call("catalogue.catalogue_order", body=order)
    assert (given.id, given.items, given.total) == (UUID(int=1), [item], "1.10")
    assert len((await call("catalogue.catalogue_page", body=3)).entries) == 3
    assert len((await call("catalogue.catalogue_page")).entries) == 10
    assert (await call("catalogue.catalogue_find", body="a")).sku == "a"
    assert await call("catalogue.catalogue_find", body=None) is None
    assert await call("catalogue.catalogue_list") == [1, 2]
    assert await call("catalogue.catalogue_dotted_name") is None
    circle = models.Circle.from_dict({"kind": "circle", "radius": 1.5})
    assert await call("catalogue.catalogue_draw", body=circle) == circle
    assert await call("basket_2.basket_2_count", "Mary") is None
    assert await call("basket_2.basket_2_put", "Mary", body=item, idempotency_key="k") == 2
    assert await call("basket_2.basket_2_put", "Mary", body=item, idempotency_key="k") == 2
    assert await call("basket_2.basket_2_count", "Mary") == 2
    sent = await call("basket_2.basket_2_put_send", "Mary", body=item, delay="1h")
    assert sent.status == "Accepted"
    refused = await call("basket_2.basket_2_put", "Mary", body=models.Item.from_dict({"sku": "a", "Count": 0}))
    assert (refused.code, refused.message) == (400, "invalid input: Count: Input should be greater than 0")
    address = models.Address.from_dict({"street": "Main"})
    assert (await call("delivery.delivery_run_send", "d1", body=address)).status == "Accepted"
    assert await call("delivery.delivery_run_attach", "d1") == "Main"
    assert await call("delivery.delivery_run_output", "d1") == "Main"
