"""What messages hold, as the engine's plain data."""

from __future__ import annotations

import pytest

from adapter.engine.ids import idempotent_id, workflow_id
from adapter.engine.types import Target
from adapter.restate import messages as m
from adapter.restate.values import invocation_of

NAMED = {
    "inv_a": m.Attach("inv_a"),
    workflow_id("Flow", "a"): m.GetOutput(workflow=m.WorkflowTarget("Flow", "a")),
    idempotent_id(Target("Shop", "sell", "a"), "1"): m.Attach(
        idempotent=m.IdempotentRequestTarget("Shop", "a", "sell", "1")
    ),
    # In some languages a text that is not given is empty.
    idempotent_id(Target("Greeter", "greet"), "1"): m.Attach(
        idempotent=m.IdempotentRequestTarget("Greeter", "", "greet", "1")
    ),
}


@pytest.mark.parametrize("id", NAMED)
def test_the_invocation_that_a_command_names(id: str) -> None:
    assert invocation_of(NAMED[id]) == id
