"""How a log is committed, where a process ends in the middle."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from adapter.engine.commit_log import CommitLog
from adapter.engine.committer import Committer
from adapter.engine.preparation import Preparation
from adapter.engine.types import ObjectKey
from tests.unit.world import World


async def test_a_commit_that_is_cut_off_by_the_end_of_its_process_awaits_nothing_more() -> None:
    runtime = World().engine.runtime
    log = CommitLog(runtime.process, {})
    absent = cast("Any", None)
    preparation = Preparation(runtime, log)
    committer = cast("Any", Committer(runtime, absent, absent, absent, absent, log, preparation, "", None))

    async def commit(**options: Any) -> None:
        await asyncio.sleep(0)

    committer._commit = commit
    committer._unsettled = {ObjectKey("Counter", "Mary"): set()}
    coroutine = committer.commit()
    coroutine.send(None)

    coroutine.close()  # a RuntimeError, if it awaited anything after that
