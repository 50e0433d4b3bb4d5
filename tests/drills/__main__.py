"""Serve an application that is in every trouble that `docs/guides/operating.md` has a drill for: ``make drills``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final, NamedTuple

from tests.drills import situations
from tests.drills.world import World, world

PORT: Final = 8080
"""The port of the development server, where the command line looks for a server."""


class Drill(NamedTuple):
    """A drill of the guide, and what it is about on the server.

    Attributes:
        title: Its heading in the guide.
        about: What is in trouble.
        words: What the capital words in its commands stand for.
    """

    title: str
    about: str
    words: Mapping[str, str]


def make(server: World) -> list[Drill]:
    """Bring the server into every trouble."""
    crossed = situations.cross_deadlock(server)
    stuck = situations.stuck_key(server)
    situations.wrong_state(server)
    waiting = situations.waiting_awakeable(server)
    failed = situations.failed_at_the_fifth_entry(server)
    asleep = situations.dead_letters(server)
    paused = situations.failed_since_a_deployment(server)
    return [
        Drill("Unblock a deadlock", "Account/ann and Account/bob", {"ID": crossed.bob}),
        Drill("Resume what failed, on a fixed version", "Mailer/send, paused on shop:2", {"ID": paused[0]}),
        Drill("Find out why a key is stuck", "Account/carl", {"ID": stuck.waits}),
        Drill("Correct state", "the total of Cart/mary should be 5", {}),
        Drill("Complete an awakeable by hand", "Approval/o1 waits", {"ID": waiting.id, "AWAKEABLE": waiting.awakeable}),
        Drill("Restart from an entry of the journal", "Report/make failed", {"ID": failed}),
        Drill("Empty the dead letters", "there are two", {"ID": asleep}),
        Drill("Remove an old version", "shop:1", {"ID": asleep}),
    ]


def main() -> None:
    """Serve until interrupted."""
    logging.disable(logging.CRITICAL)  # the handlers fail on purpose
    with world(port=PORT) as server:
        print("==> an application in trouble: see the drills of docs/guides/operating.md")
        for title, about, words in make(server):
            print(f"    {title}: {about} {' '.join(words.values())}")
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
