"""The example services in one process, run twice: as they are, and with each of their awaits suspended and replayed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from adapter.testing import Environment
from handlers.checkout.app import Checkout
from handlers.greeter.app import Counter, Greeter, Mailer
from handlers.signup.app import SignUp
from handlers.warehouse.app import Account, Inventory, Payment, Shipping


@pytest.fixture(params=["normal", "replay"])
async def env(request: pytest.FixtureRequest) -> AsyncIterator[Environment]:
    async with Environment(
        *(Greeter, Counter, Mailer),
        *(Checkout, Inventory, Payment, Account, Shipping(pace=timedelta(0)), SignUp),
        replay=request.param == "replay",
    ) as env:
        yield env
