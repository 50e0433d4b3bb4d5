"""An endpoint that ends and starts again while invocations are under way: they go on, and it is discovered again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.restate import node
from tests.restate.hosting import Hosted, eventually
from tests.restate.serving import Served, served_python
from tests.unit.dev import Dev

Serve = Callable[..., AbstractContextManager[Served]]

SERVES: dict[str, tuple[Serve, str]] = {
    "typescript": (node.served, "restarting.ts"),
    "python": (served_python, "tests.restate.restarting:app"),
}


@pytest.mark.parametrize("language", SERVES)
async def test_an_endpoint_is_killed_and_starts_again(language: str, tmp_path: Path) -> None:
    serve, program = SERVES[language]
    log = tmp_path / "steps"
    log.touch()

    def steps() -> list[str]:
        return [line.split()[1] for line in log.read_text().splitlines()]

    with serve(program, LIFE="first", STEPS=str(log)) as first:
        dev = Dev(tmp_path, "--no-reload", "--endpoint", first.url)
        try:
            async with httpx.AsyncClient(base_url=dev.url, timeout=240) as http:
                host = Hosted(http)
                waits, works = await host.send("Working/work", True), await host.send("Working/work", False)

                async def both_are_under_way() -> bool:
                    waited: list[dict[str, Any]] = (await host.admin(waits)).get("waits", [])
                    return any(each["kind"] == "signal" for each in waited) and steps().count("two") == 1

                await eventually(both_are_under_way, 240)
                first.kill()
                with serve(program, port=first.port, LIFE="second", STEPS=str(log)):
                    dev.until("==> Working, Added")
                    dev.drain()
                    assert await host.call("Added/echo", "Mary") == "Mary"
                    assert await host.attach(works) == ["one", "two", "three"]
                    (await http.post(f"/admin/invocations/{waits}/signals/go", json="went")).raise_for_status()
                    assert await host.attach(waits) == ["one", "went", "two", "three"]
        finally:
            dev.stop()
    assert Counter(steps()) == {"one": 2, "two": 3, "three": 2}, "only the step that was under way runs again"
