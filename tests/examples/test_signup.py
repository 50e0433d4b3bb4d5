from __future__ import annotations

from datetime import timedelta

import pytest

from adapter import Invocation, TerminalError
from adapter.testing import Environment
from handlers.greeter.app import Mailer
from handlers.signup.app import SignUp, Status

EMAIL = "mary@example.com"


@pytest.fixture
def sign_up(env: Environment) -> SignUp:
    return env.workflow_client(SignUp, "1")


@pytest.fixture
async def run(env: Environment, sign_up: SignUp) -> Invocation[Status]:
    run = sign_up.run(EMAIL)
    await env.settle()
    return run


@pytest.fixture
async def code(env: Environment, run: Invocation[Status]) -> str:
    """The code that was mailed."""
    [mail] = await env.object_client(Mailer, EMAIL).sent()
    return mail.removeprefix("Your code is ")


async def test_waits_for_the_code(sign_up: SignUp, run: Invocation[Status], code: str) -> None:
    assert await sign_up.status() == "waiting"
    with pytest.raises(TerminalError, match="not the code") as refused:
        await sign_up.confirm("wrong")
    assert refused.value.code == 403
    assert await sign_up.confirm(code) == "confirmed"
    assert await run == "confirmed"
    assert await sign_up.status() == await sign_up.confirm(code) == "confirmed"


async def test_runs_once(env: Environment, sign_up: SignUp, run: Invocation[Status], code: str) -> None:
    with pytest.raises(TerminalError) as refused:
        await sign_up.run(EMAIL)
    assert refused.value.code == 409
    await sign_up.confirm(code)
    await run
    assert len(await env.object_client(Mailer, EMAIL).sent()) == 1


async def test_gives_up_after_a_day(env: Environment, sign_up: SignUp, run: Invocation[Status], code: str) -> None:
    await env.advance(timedelta(hours=23))
    assert await sign_up.status() == "waiting"
    await env.advance(timedelta(hours=1))
    assert await run == await sign_up.status() == "expired"
    with pytest.raises(TerminalError, match="expired") as refused:
        await sign_up.confirm(code)
    assert refused.value.code == 409


async def test_nobody_knows_what_was_never_begun(sign_up: SignUp) -> None:
    assert await sign_up.status() == "unknown"
    with pytest.raises(TerminalError, match="not the code"):
        await sign_up.confirm("")
