from __future__ import annotations

import asyncio

import pytest

from adapter import TerminalError
from tests.examples.conftest import Services


async def code(services: Services, email: str) -> str:
    """The code that was mailed."""
    while not (mails := await services.call(f"Mailer/{email}/sent")):
        await services.engine.clock.sleep(1)
    return str(mails[0]).removeprefix("Your code is ")


async def test_waits_for_the_code(services: Services) -> None:
    run = asyncio.ensure_future(services.call("SignUp/1/run", "mary@example.com"))
    right = await code(services, "mary@example.com")
    assert await services.call("SignUp/1/status") == "waiting"
    with pytest.raises(TerminalError, match="not the code") as refused:
        await services.call("SignUp/1/confirm", "wrong")
    assert refused.value.code == 403
    assert await services.call("SignUp/1/confirm", right) == "confirmed"
    assert await run == "confirmed"
    assert await services.call("SignUp/1/status") == "confirmed"


async def test_runs_once(services: Services) -> None:
    run = asyncio.ensure_future(services.call("SignUp/1/run", "mary@example.com"))
    right = await code(services, "mary@example.com")
    with pytest.raises(TerminalError) as refused:
        await services.call("SignUp/1/run", "mary@example.com")
    assert refused.value.code == 409
    await services.call("SignUp/1/confirm", right)
    await run
    assert len(await services.call("Mailer/mary@example.com/sent")) == 1


async def test_gives_up_after_a_day(services: Services) -> None:
    assert await services.call("SignUp/1/run", "mary@example.com") == "expired"
    right = await code(services, "mary@example.com")
    with pytest.raises(TerminalError, match="expired"):
        await services.call("SignUp/1/confirm", right)
    assert await services.call("SignUp/1/status") == "expired"


async def test_nobody_knows_what_was_never_begun(services: Services) -> None:
    assert await services.call("SignUp/nobody/status") == "unknown"
    with pytest.raises(TerminalError):
        await services.call("SignUp/nobody/confirm", "")
