"""Pages of what lies in a sharded index, in one order."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import Awaitable, Callable
from typing import Any

from adapter.engine.ids import SHARDS
from adapter.engine.ports import Listed, Place

Query = Callable[[int, int, Place | None], Awaitable[tuple[list[Listed], Place | None]]]
"""Lists a shard, up to a limit, from behind a place on; with where to go on, if there is more."""

ROUNDS = 8
"""How often the shards are asked for one page, where little of what they have fits."""


async def page(query: Query, limit: int, cursor: str | None, *, latest_first: bool) -> tuple[list[Listed], str | None]:
    """A page of all shards together, and the cursor of the next; ``None`` at the end.

    Raises:
        ValueError: If the cursor is none.
    """
    places: dict[int, Place | None] = dict.fromkeys(range(SHARDS)) if cursor is None else _read(cursor)
    listed: list[Listed] = []
    for _ in range(ROUNDS):
        taken, places = await _round(query, limit - len(listed), places, latest_first)
        listed += taken
        if not places or len(listed) == limit:
            break
    return listed, _write(places) if places else None


async def _round(
    query: Query, limit: int, places: dict[int, Place | None], latest_first: bool
) -> tuple[list[Listed], dict[int, Place | None]]:
    """Ask every shard once. What comes back is taken up to where a shard may have more in between."""

    def order(place: Place) -> tuple[int, str]:
        return (-place.at if latest_first else place.at, place.id)

    answers = await asyncio.gather(*(query(shard, limit, place) for shard, place in places.items()))
    found = dict(zip(places, answers, strict=True))
    known = min((order(end)[0] for _, end in found.values() if end is not None), default=None)
    listed = sorted((each for entries, _ in found.values() for each in entries), key=lambda each: order(each.place))
    taken = [each for each in listed if known is None or order(each.place)[0] <= known][:limit]
    ids = {each.id for each in taken}
    left: dict[int, Place | None] = {}
    for shard, (entries, end) in found.items():
        mine = [each for each in entries if each.id in ids]
        if len(mine) < len(entries):
            left[shard] = mine[-1].place if mine else places[shard]
        elif end is not None:
            left[shard] = end
    return taken, left


def _write(places: dict[int, Place | None]) -> str:
    data = json.dumps([[shard, *(place or ())] for shard, place in places.items()], separators=(",", ":"))
    return base64.urlsafe_b64encode(data.encode()).decode().rstrip("=")


def _read(cursor: str) -> dict[int, Place | None]:
    try:
        data: Any = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        return {range(SHARDS)[shard]: Place(int(place[0]), str(place[1])) if place else None for shard, *place in data}
    except (ValueError, TypeError, IndexError, binascii.Error):
        raise ValueError(f"{cursor!r} is no cursor") from None
