"""The fixture for tests against a deployed stack sweeps it while the tests run, and no longer."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, cast

from adapter.aws.deployed import DeployedStack
from adapter.testing.deployed import swept


def test_a_stack_is_swept_while_the_tests_run() -> None:
    enough, invoked = threading.Event(), list[dict[str, Any]]()

    def invoke(**request: Any) -> None:
        invoked.append(request)
        if len(invoked) == 2:
            enough.set()

    stack = SimpleNamespace(outputs={"Courier": "courier"}, client=lambda service: SimpleNamespace(invoke=invoke))
    with swept(cast("DeployedStack", stack), interval=0.001):
        assert enough.wait(60)
    count = len(invoked)
    assert invoked[0] == {"FunctionName": "courier", "InvocationType": "Event", "Payload": b'{"adapter": "sweep"}'}
    assert not [thread for thread in threading.enumerate() if thread.name == "sweeps"]
    assert len(invoked) == count
