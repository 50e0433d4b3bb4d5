"""Makes the situation of each drill in `docs/guides/operating.md`, for the tests of both tools.

Each function takes the world, brings it into trouble, waits until the trouble is there, and returns the ids that its
drill needs. `tests.drills.app` has the handlers.
"""

from __future__ import annotations

import json
import time
from typing import Any, NamedTuple

from adapter.http.admin.ports import Letter
from tests.drills.app import SECOND, THIRD, Report
from tests.drills.world import World, until


class Crossed(NamedTuple):
    """Two transfers that wait for each other, and the calls by which they do."""

    ann: str
    bob: str


def cross_deadlock(world: World) -> Crossed:
    """``Account/ann`` waits for ``Account/bob``, which waits for ``Account/ann``; it is reported, and nothing fails."""
    ann, bob = (world.send(f"Account/{name}/transfer", to) for name, to in (("ann", "bob"), ("bob", "ann")))
    for id in (ann, bob):
        world.until_status(id, "suspended")
    for id in (ann, bob):
        world.signal(id, "go", "now")

    def waits(key: str) -> bool:
        return bool(world.http.get("/admin/services/Account/state", params={"key": key}).json().get("waiting"))

    until("each waits for the other's key", lambda: waits("ann") and waits("bob"))
    for id in (ann, bob):
        world.until_status(id, "suspended")
    return Crossed(ann, bob)


def failed_since_a_deployment(world: World) -> list[str]:
    """Version 2 paused three messages, while one that version 1 had sent was fine. Version 3 is not deployed yet."""
    world.call("Mailer/send", "Mary")
    world.deploy(SECOND)
    ids = [world.send("Mailer/send", name) for name in ("Ann", "Bob", "Eve")]
    for id in ids:
        world.until_status(id, "paused")
    return ids


def fix(world: World) -> None:
    """Deploy version 3, which has no mistake."""
    world.deploy(THIRD)


class Stuck(NamedTuple):
    """A key that nobody gets.

    Attributes:
        waits: A withdrawal that waits for the key ``Account/carl``.
        owner: The transfer that holds the key.
        cause: What the transfer waits for: a deposit that keeps failing, ``Account/bank``.
    """

    waits: str
    owner: str
    cause: str


def stuck_key(world: World) -> Stuck:
    """``Account/carl`` is held by a transfer to a bank that is down, and a withdrawal waits behind it."""
    owner = world.send("Account/carl/transfer", "bank")
    world.until_status(owner, "suspended")
    world.signal(owner, "go", "now")
    held = until("the deposit has the key", lambda: _key(world, "bank").get("owner"))
    cause = held["id"] if isinstance(held, dict) else str(held)
    world.until_status(cause, "backing-off")
    world.until_status(owner, "suspended")
    waits = world.send("Account/carl/withdraw", 5)
    world.until_status(waits, "queued")
    return Stuck(waits, owner, cause)


def _key(world: World, key: str) -> dict[str, Any]:
    response = world.http.get("/admin/services/Account/state", params={"key": key})
    return dict(response.json())


def wrong_state(world: World) -> None:
    """The total of the cart ``mary`` should be 5, and is 14."""
    for item in ("pear", "fig"):
        world.call("Cart/mary/add", item)


class Waiting(NamedTuple):
    """A workflow that waits for an awakeable."""

    id: str
    awakeable: str


def waiting_awakeable(world: World, key: str = "o1") -> Waiting:
    """``Approval/o1/run`` waits for a person, whose mail never came."""
    id = world.send(f"Approval/{key}/run", 120)
    world.until_status(id, "suspended")
    held = world.http.get("/admin/services/Approval/state", params={"key": key}).json()
    asked = held["state"]["ask"]
    return Waiting(id, asked["json"] if isinstance(asked, dict) else asked)


def failed_at_the_fifth_entry(world: World) -> str:
    """A report failed when it was printed; what it had collected is in its journal. Then paper is filled in."""
    Report.paper = False
    Report.steps.clear()
    id = world.send("Report/make", 2026)
    world.until_status(id, "completed")
    Report.paper = True
    return id


def old_version(world: World) -> str:
    """Version 1 has a reminder that sleeps for a month, version 2 is current."""
    id = world.send("Reminder/remind", "Mary")
    world.until_status(id, "suspended")
    world.deploy(SECOND)
    return id


def dead_letters(world: World) -> str:
    """Two dispatches of a reminder could not be delivered. It is still due: nothing is lost."""
    id = world.send("Reminder/remind", "Eve")
    world.until_status(id, "suspended")
    for number in range(2):
        body = json.dumps({"invocation": id}).encode()
        reason = "the function was throttled for six hours"
        world.dead_letters.append(Letter(f"message-{number}", body, now(), "shop", reason, id))
    return id


def now() -> int:
    """Return the time in milliseconds."""
    return time.time_ns() // 1_000_000
