"""The ids that SDKs make of ours."""

from __future__ import annotations

import base64
import binascii

from adapter.engine.ids import INVOCATION_ID, signal_name
from adapter.engine.records import Ref

PREFIX = "sign_1"


def wire_id(ref: Ref) -> bytes:
    """Return the id by which an SDK knows an invocation. With the generation, it cannot be guessed."""
    return f"{ref.id}/{ref.generation}".encode()


def awakeable_signal(id: str) -> tuple[str, str] | None:
    """Return the invocation, and the name of its signal, that an SDK's awakeable id stands for; ``None`` if it is not
    one.

    >>> ref = Ref("inv_" + "a" * 32, "b" * 16)
    >>> id = PREFIX + base64.urlsafe_b64encode(wire_id(ref) + (17).to_bytes(4, "big")).decode().rstrip("=")
    >>> awakeable_signal(id) == (ref.id, signal_name(ref, 17)), awakeable_signal("awk_1")
    (True, None)
    """
    if not id.startswith(PREFIX):
        return None
    text = id.removeprefix(PREFIX)
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
        invocation, slash, generation = raw[:-4].decode().partition("/")
    except (binascii.Error, ValueError):
        return None
    if not slash or not INVOCATION_ID.fullmatch(invocation):
        return None
    return invocation, signal_name(Ref(invocation, generation), int.from_bytes(raw[-4:], "big"))
