"""Ids. An invocation's id derives from what determines the invocation, so that a repeated request meets the same
record."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets

from adapter.engine.records import Ref
from adapter.engine.types import ENCODED, Failure, ObjectKey, Outcome, Target

INVOCATION_ID = re.compile(r"inv_[a-z2-7]{32}")
"""160 bits: random for a plain request, otherwise a SHA-256 prefix of what determines the invocation."""

AWAKEABLE_ID = re.compile(r"awk_([a-z2-7]{32})([a-z2-7]{16})(0|[1-9][0-9]{0,8})")

SDK_AWAKEABLE = re.compile(r"([a-z2-7]{16})#(0|[1-9][0-9]{0,8})")
"""The name of a signal that completes an SDK's awakeable: a generation, and the awakeable's index."""

GENERATION = re.compile(r"[a-z2-7]{16}")

SHARDS = 8
"""The number of partitions of each service in the index of invocations."""

DUE_SHARDS = 64
"""The number of partitions of the due index. Every stored invocation writes to it, and a partition takes 1,000 units a
second."""


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
    """Return the id of a request that nothing else determines."""
    return "inv_" + _text(secrets.token_bytes(20))


def idempotent_id(target: Target, idempotency_key: str) -> str:
    """Return the id of the one invocation of this target under this idempotency key.

    >>> from adapter.engine.types import Target
    >>> idempotent_id(Target("Payment", "charge"), "order-7") == idempotent_id(Target("Payment", "charge"), "order-7")
    True
    """
    return _derive("idempotency", target.service, *keyed(target), target.handler, idempotency_key)


def workflow_id(service: str, key: str) -> str:
    """Return the id of a workflow's ``run``."""
    return _derive("workflow", service, key)


def child_id(parent: str, generation: str, command: int) -> str:
    """Return the id of the invocation that a parent's command creates."""
    return _derive("child", parent, generation, str(command))


def keyed(target: Target) -> tuple[str, ...]:
    """Return the key as parts of a derivation. No key and an empty key give different parts."""
    return ("", target.key) if target.key is not None else ()


def promise_id(key: ObjectKey, generation: str, name: str) -> str:
    """Return the id of a durable promise of one run of a workflow."""
    return "prm_" + _derive("promise", key.service, key.key, generation, name)[4:]


def blob_id() -> str:
    """Return a new id for the record under which a large state entry's parts are stored."""
    return "blb_" + _text(secrets.token_bytes(20))


def garbage_id() -> str:
    """Return a new id for a marker: a record of items that are to be deleted."""
    return "gc_" + _text(secrets.token_bytes(20))


def awakeable_id(ref: Ref, n: int) -> str:
    """Return the id that completes command ``n`` of an invocation from outside. The generation makes it unguessable."""
    return f"awk_{ref.id[4:]}{ref.generation}{n}"


def sdk_id(ref: Ref) -> bytes:
    """Return the id by which a Restate SDK knows an invocation. With the generation, it cannot be guessed."""
    return f"{ref.id}/{ref.generation}".encode()


def signal_name(ref: Ref, index: int) -> str:
    """Return the name of the signal that completes an SDK's awakeable of this index. With the generation, it cannot be
    guessed."""
    return f"{ref.generation}#{index}"


def sdk_awakeable(ref: Ref, signal: str) -> str | None:
    """Return an SDK's id of the awakeable that a signal completes; ``None`` if the signal completes none.

    >>> ref = Ref("inv_" + "a" * 32, "b" * 16)
    >>> sdk_awakeable(ref, "go") is None
    True
    >>> parse_awakeable(sdk_awakeable(ref, signal_name(ref, 17))) == (ref, f"s#:{signal_name(ref, 17)}")
    True
    """
    match = SDK_AWAKEABLE.fullmatch(signal)
    if match is None or match[1] != ref.generation:
        return None
    data = sdk_id(ref) + int(match[2]).to_bytes(4, "big")
    return "sign_1" + base64.urlsafe_b64encode(data).decode().rstrip("=")


def heartbeat(awakeable: str) -> str:
    """Return the name of the signal that says that an awakeable is still being worked on."""
    return f"heartbeat {awakeable}"


def parse_awakeable(id: str) -> tuple[Ref, str] | None:
    """Return the invocation that an awakeable belongs to, and the id of the notification that completes it; ``None`` if
    the text is not an awakeable's id.

    The id is one of `awakeable_id`, or one that a Restate SDK made: ``sign_1``, then the SDK's id of the invocation and
    the awakeable's index in base64.

    >>> ref = Ref("inv_" + "a" * 32, "b" * 16)
    >>> parse_awakeable(awakeable_id(ref, 7)) == (ref, "w7")
    True
    >>> made_by_sdk = "sign_1" + base64.urlsafe_b64encode(sdk_id(ref) + (17).to_bytes(4, "big")).decode()
    >>> parse_awakeable(made_by_sdk) == (ref, f"s#:{signal_name(ref, 17)}")
    True
    """
    match = AWAKEABLE_ID.fullmatch(id)
    if match is not None:
        return Ref("inv_" + match[1], match[2]), f"w{int(match[3])}"
    if not id.startswith("sign_1"):
        return None
    text = id.removeprefix("sign_1").rstrip("=")
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
        invocation, _, generation = data[:-4].decode().partition("/")
    except ValueError:
        return None
    if not (INVOCATION_ID.fullmatch(invocation) and GENERATION.fullmatch(generation)):
        return None
    ref = Ref(invocation, generation)
    return ref, f"s#:{signal_name(ref, int.from_bytes(data[-4:], 'big'))}"


def new_generation() -> str:
    """Return a random generation for a record. The items that belong to the record carry it."""
    return _text(secrets.token_bytes(10))


def new_commit_id() -> str:
    """Return a random id for a commit."""
    return secrets.token_bytes(12).hex()


def derived_commit_id(what: str, idempotency_key: str) -> str:
    """Return the id of the commit of a change under an idempotency key."""
    return _derive("nonce", what, idempotency_key)[4:]


def outcome_commit_id(commit_id: str, outcome: Outcome) -> str:
    """Return a commit id that depends on the outcome as well, so that a repeat with another outcome is recognised."""
    digest = hashlib.blake2b(commit_id.encode(), digest_size=12)
    if outcome.failure is not None:
        digest.update(repr(_identity(outcome.failure)).encode())
    elif outcome.value is not None and not outcome.value.startswith(ENCODED):  # which differs in each repeat
        digest.update(b"=" + outcome.value)
    return digest.hexdigest()


def _identity(failure: Failure) -> tuple[object, ...]:
    more = (sorted(failure.metadata.items()),) if failure.metadata else ()
    return failure.code, failure.message, *more


def ticket(moment: int, id: str) -> str:
    """Return an invocation's place in an inbox. Tickets compare by moment, and no two invocations share one.

    Args:
        moment: When the invocation requested the key, in microseconds; see `adapter.engine.storage.Storage.moment`.
        id: The invocation's id.

    >>> ticket(1_700_000_000_000_000, "inv_" + "a" * 32)
    '1700000000000000aaaaaaaaaaaa'
    """
    return f"{moment:016}{id[4:16]}"


def restarted_id(ref: Ref, idempotency_key: str) -> str:
    """Return the id of the one invocation that restarts another under an idempotency key."""
    return _derive("restart", *ref, idempotency_key)


def partition(id: str, target: Target) -> str | None:
    """Return the partition of the index of invocations that a record is listed in; ``None`` if it is in none.

    A service's invocations are spread over `SHARDS` partitions, so that no partition takes all writes of a busy
    service. The promises of a workflow id have a partition of their own.

    >>> partition("inv_" + "a" * 32, Target("Counter", "add", "Mary"))
    'Counter#3'
    >>> partition("prm_" + "a" * 32, Target("SignUp", "code", "Mary"))
    'SignUp/Mary'
    """
    match id[:4]:
        case "inv_":
            return f"{target.service}#{shard(id)}"
        case "prm_":
            return str(target.object)
        case _:
            return None


def shard(id: str) -> int:
    """Return the partition of its service that an id belongs to in the index of invocations."""
    return due_shard(id) % SHARDS


def due_shard(id: str) -> int:
    """Return the partition of the due index that an id belongs to."""
    return int.from_bytes(hashlib.blake2b(id.encode(), digest_size=2).digest(), "big") % DUE_SHARDS
