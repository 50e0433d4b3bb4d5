"""Registers a deployment: the custom resource in template.yaml, which CloudFormation has run with each new version.

It is answered whatever happens, or the stack would hang until the resource's timeout
(https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref-requesttypes.html).
"""

from __future__ import annotations

import json
import logging
import time
import urllib.request
from collections.abc import Mapping
from typing import Any, Final

from adapter.aws.directory import Directory
from adapter.engine.ports import Unavailable
from adapter.registry import Registry

PAUSES: Final = (0.1, 0.5, 2.0)
"""Seconds between the tries to register."""

TIMEOUT: Final = 10
"""Seconds to deliver the answer."""

log = logging.getLogger("adapter")


def run(event: Mapping[str, Any], registry: Registry, directory: Directory, deployment: str) -> None:
    """Do what CloudFormation asks for, and answer it."""
    status, reason = "FAILED", "not done"
    try:
        _carry_out(event, registry, directory, deployment)
        status, reason = "SUCCESS", ""
    except Exception as error:
        log.exception("registration failed")
        reason = f"{type(error).__name__}: {error}"[:1000]
        if event["RequestType"] == "Delete":  # a stack can always be deleted, its tables gone or not
            status = "SUCCESS"
    finally:
        _answer(event, status, reason)


def _carry_out(event: Mapping[str, Any], registry: Registry, directory: Directory, deployment: str) -> None:
    function = event["ResourceProperties"]["ServiceToken"]  # the alias that was invoked; dispatches go there too
    if event["RequestType"] == "Delete":
        directory.withdraw(function)
        log.info("withdrawn: %s", function)
    else:
        _register(registry, directory, function, deployment)
        log.info("registered: %s on %s", ", ".join(registry.services), deployment)


def _register(registry: Registry, directory: Directory, function: str, deployment: str) -> None:
    """Do it again if DynamoDB does not answer: the whole deployment would be rolled back for that."""
    for pause in PAUSES:
        try:
            directory.register(registry, function, deployment)
        except Unavailable as error:
            log.warning("registration is tried again: %s", error)
            time.sleep(pause)
        else:
            return
    directory.register(registry, function, deployment)


def _answer(event: Mapping[str, Any], status: str, reason: str) -> None:
    answer = {
        "Status": status,
        "Reason": reason or "see the function's log",
        # It stays the same, or CloudFormation would have the former resource deleted after an update.
        "PhysicalResourceId": event.get("PhysicalResourceId") or f"adapter-{event['LogicalResourceId']}",
        "StackId": event["StackId"],
        "RequestId": event["RequestId"],
        "LogicalResourceId": event["LogicalResourceId"],
    }
    request = urllib.request.Request(
        event["ResponseURL"],
        data=json.dumps(answer).encode(),
        method="PUT",
        headers={"content-type": ""},  # the URL is signed without one
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT):
        pass
