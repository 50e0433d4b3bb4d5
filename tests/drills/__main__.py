"""Serve an application that is in every trouble that `docs/guides/operating.md` has a drill for: ``make drills``."""

from __future__ import annotations

import logging
from typing import Final

from tests.drills import situations
from tests.drills.world import World, world

PORT: Final = 8080
"""The port of the development server, where the command line looks for a server."""


def make(server: World) -> list[str]:
    """Bring the server into trouble. Return a line for each drill."""
    situations.cross_deadlock(server)
    stuck = situations.stuck_key(server)
    situations.wrong_state(server)
    waiting = situations.waiting_awakeable(server)
    failed = situations.failed_at_the_fifth_entry(server)
    asleep = situations.dead_letters(server)
    situations.failed_since_a_deployment(server)
    return [
        "Unblock a deadlock: Account/ann and Account/bob",
        "Resume what failed, on a fixed version: Mailer/send, paused on shop:2",
        f"Find out why a key is stuck: Account/carl, for which {stuck.waits} waits",
        "Correct state: the total of Cart/mary should be 5",
        f"Complete an awakeable by hand: Approval/o1 waits, {waiting.id}",
        f"Restart from an entry of the journal: Report/make failed, {failed}",
        "Empty the dead letters: there are two",
        f"Remove an old version: shop:1, on which {asleep} sleeps",
    ]


def main() -> None:
    """Serve until interrupted."""
    logging.disable(logging.CRITICAL)  # the handlers fail on purpose
    with world(port=PORT) as server:
        print("==> an application in trouble: see the drills of docs/guides/operating.md")
        for line in make(server):
            print(f"    {line}")
        print(f"    console: {server.url}/console")
        print("==> Enter deploys the fixed version, shop:3. Ctrl-C ends")
        try:
            input()
            situations.fix(server)
            input("==> shop:3 is deployed. Enter ends\n")
        except (EOFError, KeyboardInterrupt):
            print()


if __name__ == "__main__":
    main()
