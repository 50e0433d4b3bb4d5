"""The call of an invocation that waits for nothing else is put after the write that suspends its caller."""

from __future__ import annotations

from typing import Any

import pytest

from adapter.engine.records import Meta, Ref, Status
from adapter.engine.requests import Request
from adapter.engine.transitions import GRACE, SOON
from adapter.frozen import replace
from tests.unit.stage import Stage
from tests.unit.world import pack, settle, target, value


async def suspended(stage: Stage, path: str = "Near/call") -> tuple[str, Meta]:
    """Return a caller that is suspended, and its call's record. The dispatch of that is lost."""
    stage.delivers = False
    caller = await stage.engines["Near"].send(Request(target(path), pack(7)))
    await settle()
    stage.dispatched.clear()
    stage.engines["Near"].process.deadline = stage.clock.now() + stage.timeout
    await stage.engines["Near"].resume(caller.id, fresh=True)
    await settle()
    assert (await stage.meta(caller.id)).status is Status.SUSPENDED
    call = await stage.call_of(caller.id, 0 if path == "Near/call" else 1)
    assert call is not None
    assert stage.dispatched == [call.id]
    stage.delivers = True
    return caller.id, call


async def torn(stage: Stage) -> str:
    """Return a caller that is suspended, and whose process ended before it put the call's record."""
    stage.delivers = False
    caller = await stage.engines["Near"].send(Request(target("Near/call"), pack(7)))
    await settle()
    stage.dispatched.clear()
    stage.delivers, stage.fails = True, 0
    stage.engines["Near"].process.deadline = stage.clock.now() + 1000
    await stage.engines["Near"].resume(caller.id, fresh=True)
    await stage.clock.advance(3)
    stage.fails = None
    stage.engines["Near"].process.deadline = stage.clock.now() + stage.timeout
    assert (await stage.meta(caller.id)).status is Status.SUSPENDED
    assert await stage.call_of(caller.id) is None
    assert stage.dispatched == []
    return caller.id


async def test_both_writes_are_plain_and_the_call_has_no_due_time() -> None:
    stage = Stage()
    caller, call = await suspended(stage)
    assert (call.status, call.due, call.epoch) == (Status.READY, None, 0)
    found = await stage.meta(caller)
    assert found.due is not None
    assert found.due <= stage.clock.now() + SOON


async def test_its_result_reaches_its_caller() -> None:
    stage = Stage()
    id = await stage.send("Near/call")
    assert value((await stage.meta(id)).outcome) == 7
    assert stage.ran == [7]
    assert (await stage.meta(id)).calling is None


async def test_the_sweeper_repeats_a_lost_dispatch() -> None:
    stage = Stage()
    id, call = await suspended(stage)
    await stage.clock.advance(GRACE / 1000 + 1)
    await stage.sweep()
    assert stage.dispatched[1] == call.id
    assert value((await stage.meta(id)).outcome) == 7
    assert stage.ran == [7]


async def test_the_sweeper_puts_what_a_process_did_not() -> None:
    stage = Stage()
    id = await torn(stage)
    await stage.clock.advance(GRACE / 1000 + 1)
    await stage.sweep()
    assert value((await stage.meta(id)).outcome) == 7
    assert stage.ran == [7]


@pytest.mark.parametrize("end", [suspended, torn], ids=["not dispatched", "not put"])
@pytest.mark.parametrize("what", ["kill", "pause", "cancel", "a further attempt", "restart"])
async def test_whatever_acts_on_the_caller_looks_after_its_call(end: Any, what: str) -> None:
    stage = Stage()
    found = await end(stage)
    id = found if isinstance(found, str) else found[0]
    control = stage.engines["Near"].control
    match what:
        case "kill":
            assert await control.kill(id) == "accepted"
        case "pause":
            assert await control.pause(id) == "accepted"
        case "cancel":
            assert await control.cancel(id) == "accepted"
        case "restart":
            assert await control.restart(id, first=1) is not None
        case _:
            meta = await stage.meta(id)
            await stage.engines["Near"].runtime.notifier.wake(meta)
            await stage.engines["Near"].resume(id)
    await settle()
    call = await stage.call_of(id)
    assert call is not None
    assert call.due is not None or not call.live
    if what == "kill":
        assert value(call.outcome) == (409, "killed") or stage.ran == [7]


async def test_a_late_put_changes_nothing() -> None:
    stage = Stage()
    id, _ = await suspended(stage)
    caller = await stage.meta(id)
    await stage.clock.advance(GRACE / 1000 + 1)
    await stage.sweep()
    assert stage.ran == [7]
    await stage.clock.advance(3600)
    assert caller.calling is not None
    await stage.engines["Near"].runtime.calls.make(caller, caller.calling, 1)
    await settle()
    assert stage.ran == [7]


@pytest.mark.parametrize("resumed", [True, False], ids=["its caller went on", "its caller was not resumed"])
async def test_one_that_has_completed_and_is_deleted_is_not_put_again(resumed: bool) -> None:
    stage = Stage()
    id, call = await suspended(stage)
    before = await stage.meta(id)
    stage.delivers = resumed
    await stage.engines["Far"].resume(call.id, fresh=True)
    await settle()
    assert (await stage.meta(id)).live is not resumed
    await stage.clock.advance(3600)
    await stage.store.forget(call.ref, stage.clock.now())
    assert await stage.call_of(id) is None
    stage.delivers = True
    await stage.engines["Near"].runtime.calls.ensure(before)
    await settle()
    assert await stage.call_of(id) is None
    assert stage.ran == [7]


async def test_a_caller_can_be_paused_whose_call_cannot_be_read() -> None:
    stage = Stage()
    id, call = await suspended(stage)
    stage.damaged = call.id
    assert await stage.engines["Near"].control.pause(id) == "accepted"
    assert (await stage.meta(id)).status is Status.PAUSED


async def test_one_whose_put_got_no_answer_is_dispatched() -> None:
    stage = Stage()
    stage.unheard = 1
    id = await stage.send("Near/call")
    await stage.clock.advance(3)
    await settle()
    assert value((await stage.meta(id)).outcome) == 7
    assert stage.ran == [7]


async def test_one_whose_caller_is_checked_late_is_created_with_it() -> None:
    stage = Stage(timeout=15 * 60_000)
    id, call = await suspended(stage, "Near/stepped")
    assert call.due is not None
    assert (await stage.meta(id)).calling is None


async def test_its_record_is_the_same_either_way() -> None:
    _, apart = await suspended(Stage(), "Near/stepped")
    _, together = await suspended(Stage(timeout=15 * 60_000), "Near/stepped")
    assert apart.due is None
    assert together.due is not None
    assert _compared(apart) == _compared(together)


def _compared(call: Meta) -> Meta:
    """A call's record without what differs between two calls, and without its due time."""
    assert call.parent is not None
    parent = replace(call.parent, ref=Ref("", ""))
    return replace(call, id="", generation="", created=0, parent=parent, due=None, commit_id="")


async def test_a_step_before_a_call_makes_no_difference_in_a_short_function() -> None:
    stage = Stage()
    id, call = await suspended(stage, "Near/stepped")
    caller = await stage.meta(id)
    assert call.due is None
    assert caller.calling is not None
    assert caller.epoch == 2, "what acts on the record as it was has to fail"


async def test_two_calls_are_created_with_their_caller() -> None:
    stage = Stage()
    stage.delivers = False
    sent = (await stage.engines["Near"].send(Request(target("Near/two"), pack(7)))).id
    await stage.engines["Near"].resume(sent, fresh=True)
    await settle()
    assert (await stage.meta(sent)).calling is None
    for n in (0, 1):
        call = await stage.call_of(sent, n)
        assert call is not None
        assert call.due is not None
