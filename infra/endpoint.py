"""The local AWS that AWS_ENDPOINT_URL names: LocalStack, ministack, or another emulator that speaks AWS's APIs."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from contextlib import suppress
from typing import Final, Literal

Kind = Literal["localstack", "ministack", "other"]

HEALTH: Final[dict[Kind, str]] = {"ministack": "/_ministack/health", "localstack": "/_localstack/health"}
"""`LocalStack's internal endpoints
<https://docs.localstack.cloud/aws/configuration/networking/internal-endpoints/>`_ have a path of their own, and so
have ministack's."""

NEEDED: Final = ("apigatewayv2", "cloudformation", "dynamodb", "iam", "lambda", "logs", "s3", "scheduler", "sqs", "sts")
"""The services that a stack uses, as LocalStack calls them. Some need a plan: its answer says which are there."""


def kind(url: str) -> Kind:
    """Return what answers at a URL; ``"other"`` if it has no health check that is known."""
    for name, path in HEALTH.items():
        if _get(url + path) is not None:
            return name
    return "other"


def wait_until_ready(url: str, seconds: float = 120) -> Kind:
    """Wait until the emulator answers, and has what a stack needs. Return what it is.

    Raises:
        SystemExit: If it does not answer in time, or lacks a service.
    """
    deadline = time.monotonic() + seconds
    while not _answers(url):
        if time.monotonic() > deadline:
            raise SystemExit(
                f"nothing answers at AWS_ENDPOINT_URL={url}: start the emulator, e.g. `docker compose up --wait`"
            )
        time.sleep(0.5)
    found = kind(url)
    if found == "localstack":
        services = (_get(url + HEALTH["localstack"]) or {}).get("services", {})
        lacking = [name for name in NEEDED if services.get(name) not in ("available", "running")]
        if lacking:
            missing = ", ".join(lacking)
            raise SystemExit(f"LocalStack at {url} lacks {missing}: its plan does not have them")
    return found


def _get(url: str) -> dict[str, dict[str, str]] | None:
    with suppress(OSError, urllib.error.URLError, ValueError), urllib.request.urlopen(url, timeout=5) as response:
        found = json.load(response)
        return found if isinstance(found, dict) else None
    return None


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except (OSError, urllib.error.URLError):
        return False
    return True
