"""Identity is derivation: what determines an invocation determines its id, so that a repeat meets the same record."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets

from adapter.engine.records import Ref
from adapter.engine.types import ObjectKey, Outcome, Target

INVOCATION_ID = re.compile(r"inv_[a-z2-7]{32}")
"""160 bits: random for a plain request, else a SHA-256 prefix of what determines the invocation."""

AWAKEABLE_ID = re.compile(r"awk_([a-z2-7]{32})([a-z2-7]{16})(0|[1-9][0-9]{0,8})")

SHARDS = 8
"""How many partitions the due index spreads over."""


def _text(data: bytes) -> str:
    return base64.b32encode(data).decode().lower().rstrip("=")


def _derive(*parts: str) -> str:
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(4, "big"))
        digest.update(encoded)
    return "inv_" + _text(digest.digest()[:20])


def random_id() -> str:
    """The id of a request that nothing else determines."""
    return "inv_" + _text(secrets.token_bytes(20))


def idempotent_id(target: Target, idempotency_key: str) -> str:
    """The id of the one invocation of this target under this idempotency key.

    >>> from adapter.engine.types import Target
    >>> idempotent_id(Target("Payment", "charge"), "order-7") == idempotent_id(Target("Payment", "charge"), "order-7")
    True
    """
    return _derive("idempotency", target.service, *keyed(target), target.handler, idempotency_key)


def workflow_id(service: str, key: str) -> str:
    """The id of a workflow's ``run``."""
    return _derive("workflow", service, key)


def child_id(parent: str, generation: str, command: int) -> str:
    """The id of the invocation that the parent's command makes."""
    return _derive("child", parent, generation, str(command))


def keyed(target: Target) -> tuple[str, ...]:
    """The key as parts of a derivation, so that no key and an empty one differ."""
    return ("", target.key) if target.key is not None else ()


def promise_id(key: ObjectKey, generation: str, name: str) -> str:
    """The id of a durable promise of one run of a workflow."""
    return "prm_" + _derive("promise", key.service, key.key, generation, name)[4:]


def blob_id() -> str:
    """The id of the record under which a large state entry's parts lie."""
    return "blb_" + _text(secrets.token_bytes(20))


def garbage_id() -> str:
    """The id of a note that state entries of a generation that is over are to be deleted."""
    return "gc_" + _text(secrets.token_bytes(20))


def awakeable_id(ref: Ref, n: int) -> str:
    """What completes command ``n`` of an invocation from outside; the generation in it makes it unguessable."""
    return f"awk_{ref.id[4:]}{ref.generation}{n}"


def parse_awakeable(id: str) -> tuple[Ref, int] | None:
    """What `awakeable_id` made; ``None`` for anything else.

    >>> parse_awakeable(awakeable_id(Ref("inv_" + "a" * 32, "b" * 16), 7))
    (Ref(id='inv_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', generation='bbbbbbbbbbbbbbbb'), 7)
    """
    match = AWAKEABLE_ID.fullmatch(id)
    return None if match is None else (Ref("inv_" + match[1], match[2]), int(match[3]))


def new_generation() -> str:
    """A nonce for a record: what hangs on the record carries it."""
    return _text(secrets.token_bytes(10))


def new_commit_id() -> str:
    """A nonce for a commit."""
    return secrets.token_bytes(12).hex()


def derived_commit_id(what: str, idempotency_key: str) -> str:
    """The nonce of a change that is asked for under an idempotency key."""
    return _derive("nonce", what, idempotency_key)[4:]


def outcome_commit_id(commit_id: str, outcome: Outcome) -> str:
    """The nonce of a change that gives somebody a result: it tells who says the same again from who says another."""
    digest = hashlib.blake2b(commit_id.encode(), digest_size=12)
    if outcome.failure is not None:
        digest.update(repr((outcome.failure.code, outcome.failure.message)).encode())
    elif outcome.value is not None:
        digest.update(b"=" + outcome.value)
    return digest.hexdigest()


def ticket(moment: int, id: str) -> str:
    """Return an invocation's place in an inbox: tickets compare by moment, and no two invocations share one.

    Args:
        moment: When the invocation came to the key, in microseconds; see `adapter.engine.storage.Storage.moment`.
        id: The invocation's id.

    >>> ticket(1_700_000_000_000_000, "inv_" + "a" * 32)
    '1700000000000000aaaaaaaaaaaa'
    """
    return f"{moment:016}{id[4:16]}"


def restarted_id(ref: Ref, idempotency_key: str) -> str:
    """The id of the one invocation that restarts another under an idempotency key."""
    return _derive("restart", *ref, idempotency_key)


def shard(id: str) -> int:
    """The partition of the due index that the invocation belongs to."""
    return int.from_bytes(hashlib.blake2b(id.encode(), digest_size=2).digest(), "big") % SHARDS
