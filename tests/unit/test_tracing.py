"""Traces: an invocation's id is annotated where tracing is asked for and the request is sampled, and nowhere else."""

from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import json
from aws_xray_sdk.core import xray_recorder
from adapter.aws.observability import Observed
sent = []
xray_recorder.emitter.send_entity = lambda entity: sent.append(json.loads(entity.serialize()))
Observed().annotate("inv_1")
print(json.dumps(sent))
"""


def sent(**environment: str) -> list[dict[str, object]]:
    """What goes to X-Ray's daemon from a process of its own: the SDK's recorder is the process's."""
    lambdas = {"LAMBDA_TASK_ROOT": "/var/task", "POWERTOOLS_SERVICE_NAME": "test", "PATH": ""}
    program = [sys.executable, "-c", PROGRAM]
    finished = subprocess.run(program, env={**lambdas, **environment}, capture_output=True, text=True, check=True)
    return list(json.loads(finished.stdout.splitlines()[-1]))


def trace(sampled: int) -> str:
    return f"Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled={sampled}"


def test_a_sampled_request_is_annotated() -> None:
    (segment,) = sent(POWERTOOLS_TRACE_DISABLED="false", _X_AMZN_TRACE_ID=trace(1))
    assert segment["annotations"] == {"invocation_id": "inv_1"}
    assert segment["trace_id"] == "1-5759e988-bd862e3fe1be46a994272793"


def test_nothing_is_sent_unasked() -> None:
    assert sent(POWERTOOLS_TRACE_DISABLED="false", _X_AMZN_TRACE_ID=trace(0)) == []
    assert sent(_X_AMZN_TRACE_ID=trace(1)) == []
