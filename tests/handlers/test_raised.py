"""What code raises that asyncio would not pass on."""

from __future__ import annotations

import pytest

from adapter import Context, RetryPolicy, Service, TerminalError, handler
from tests.handlers.conftest import Environments


class Raising(Service):
    def plain(self, name: str) -> str:
        if name == "stop":
            return next(iter(()))
        if name == "exit":
            raise SystemExit(3)
        raise KeyboardInterrupt

    @handler
    async def work(self, ctx: Context, name: str) -> str:
        return await ctx.run("step", self.plain, name, retry=RetryPolicy(attempts=2))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("stop", "StopIteration"),
        ("exit", r"step 'step' called sys\.exit\(3\)"),
        ("interrupt", "KeyboardInterrupt"),
    ],
)
async def test_what_a_plain_function_raises_in_its_thread_fails_its_step(
    environment: Environments, name: str, text: str
) -> None:
    with pytest.raises(TerminalError, match=f"^step 'step' failed 2 times: .*{text}"):
        await environment(Raising).service_client(Raising).work(name)
