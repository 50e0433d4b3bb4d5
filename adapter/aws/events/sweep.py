"""The sweeper's schedule: ``{"adapter": "sweep"}``, once a minute; and ``{"adapter": "sweep", "shard": …}``, by which a
sweep has another process clear a backlog."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from aws_lambda_powertools.metrics import MetricUnit

from adapter.aws.host import Host
from adapter.engine.ports import Unavailable


def recognises(event: Mapping[str, Any]) -> bool:
    """Whether it is a sweep."""
    return event.get("adapter") == "sweep"


async def handle(event: Mapping[str, Any], host: Host) -> dict[str, int]:
    """Dispatch what is past due; says how many records that were."""
    sweeper = host.engine.sweeper
    count = await (sweeper.clear(event["shard"]) if "shard" in event else sweeper.sweep(host.share))
    if sweeper.ran_out_of_time:
        host.observed.count("SweepsUnfinished")
    if "shard" not in event:
        host.observed.count("SweepsCompleted")
        host.observed.measure("Overdue", sweeper.overdue, MetricUnit.Count)
        host.observed.measure("OverdueSeconds", sweeper.overdue_for / 1000, MetricUnit.Seconds)
        with suppress(Unavailable):  # the next sweep is a minute away
            await host.directory.note_sweep(host.engine.process.now())
    return {"swept": count}
