"""The outside world of the steps: a ledger, kept by the test, of every time that one runs."""

from __future__ import annotations

import json
import os
import time
import urllib.request


def perform(invocation: str, step: str, seconds: float = 0.05) -> int:
    """A step that takes a while. It is in the ledger before it does anything."""
    entry = json.dumps({"invocation": invocation, "step": step, "pid": os.getpid()}).encode()
    urllib.request.urlopen(urllib.request.Request(os.environ["CHAOS_LEDGER"], entry), timeout=5).close()
    time.sleep(seconds)
    return os.getpid()
