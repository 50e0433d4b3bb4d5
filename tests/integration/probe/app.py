"""Two functions made to be tested, in several versions; `tests.integration.probes` packs them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from adapter import (
    Context,
    ObjectContext,
    ObjectSharedContext,
    RetryPolicy,
    Serde,
    Service,
    TerminalError,
    VirtualObject,
    Workflow,
    WorkflowContext,
    WorkflowSharedContext,
    gather,
    handler,
    lambda_handler,
    select,
)

FUNCTION, VERSION = "first", 1
"""Each package has its own."""


class Board(VirtualObject):
    """What handlers leave for the tests to read."""

    @handler
    async def pin(self, ctx: ObjectContext, note: str) -> None:
        ctx.set("notes", [*(await ctx.get("notes", list[str]) or []), note])

    @handler
    async def notes(self, ctx: ObjectSharedContext) -> list[str]:
        return await ctx.get("notes", list[str]) or []


class Clerk(Service):
    """Waits for others in all ways."""

    @handler
    async def wait(self, ctx: Context, name: str) -> str:
        """For a signal; then it gives the name, or fails."""
        await ctx.signal("go")
        if name == "nobody":
            raise TerminalError("nobody is gone", code=410)
        return name

    @handler
    async def confirm(self, ctx: Context, board: str) -> Any:
        """For an awakeable."""
        awakeable = ctx.awakeable()
        ctx.object_send_client(Board, board).pin(awakeable.id)
        return await awakeable

    @handler
    async def collect(self, ctx: Context, times: int) -> list[str]:
        """For signals."""
        return [await ctx.signal("note", str) for _ in range(times)]

    @handler
    async def sleep(self, ctx: Context, board: str) -> None:
        """For an hour; it pins what it was told when that was cut short."""
        try:
            await ctx.sleep(timedelta(hours=1))
        except TerminalError as error:
            await ctx.object_client(Board, board).pin(error.message)
            raise

    @handler(retry=RetryPolicy(initial=timedelta(hours=1), maximum=timedelta(hours=1)))
    async def fail(self, ctx: Context) -> None:
        """For its next attempt."""
        raise OSError("try again")

    @handler
    async def follow(self, ctx: Context, id: str) -> str:
        """For an invocation that somebody else made."""
        return f"followed {await ctx.attach(id, str)}"

    @handler
    async def stop(self, ctx: Context, id: str) -> list[bool]:
        """For nothing: it cancels, twice."""
        return [await ctx.cancel(id), await ctx.cancel(id)]

    @handler(private=True)
    async def whisper(self, ctx: Context) -> str:
        return "psst"

    @handler
    async def ask(self, ctx: Context) -> str:
        """Leave a message to a private handler; gives its id."""
        return ctx.service_send_client(Clerk).whisper().id


class Csv(Serde[list[str]]):
    content_type = "text/csv"

    def serialize(self, value: list[str], /) -> bytes:
        return ",".join(value).encode()

    def deserialize(self, data: bytes, /) -> list[str]:
        return data.decode().split(",")


class Copier(Service):
    """Gives back what it gets."""

    @handler(input_serde=Csv(), output_serde=Csv())
    async def table(self, ctx: Context, cells: list[str]) -> list[str]:
        return cells[::-1]

    @handler
    async def echo(self, ctx: Context, data: bytes) -> bytes:
        return data

    @handler
    async def text(self, ctx: Context, text: str) -> str:
        return text

    @handler
    async def quotes(self, ctx: Context, count: int) -> str:
        return '"' * count

    @handler
    async def grow(self, ctx: Context, size: int) -> bytes:
        return bytes(size)

    @handler
    async def headers(self, ctx: Context) -> dict[str, str]:
        return dict(ctx.request.headers)

    @handler
    async def count(self, ctx: Context, key: str) -> Any:
        """Call a handler of an SDK in this function."""
        return await ctx.generic_call(service="BesideCounter", method="add", key=key, parameter=1)


class Relay(Service):
    """Has what it gets copied in the other function."""

    @handler
    async def echo(self, ctx: Context, data: bytes) -> bytes:
        return await ctx.service_client(Copier).echo(data)

    @handler
    async def headers(self, ctx: Context) -> dict[str, str]:
        return await ctx.service_client(Copier).headers(headers=ctx.request.headers)

    @handler
    async def count(self, ctx: Context, key: str) -> Any:
        """Call an SDK's handler."""
        return await ctx.generic_call(service="SdkCounter", method="add", key=key, parameter=1)


class Teller(Service):
    """Has to do with others in the other function."""

    @handler
    async def give(self, ctx: Context, id: str) -> list[bool]:
        """Complete an awakeable, more than once."""
        first = await ctx.resolve_awakeable(id, "paid")
        return [first, await ctx.resolve_awakeable(id, "again"), await ctx.reject_awakeable(id, "late")]

    @handler
    async def tell(self, ctx: Context, id: str) -> list[bool]:
        return [await ctx.send_signal(id, "note", note) for note in "ab"]

    @handler
    async def later(self, ctx: Context, text: str) -> str:
        """Await what was sent a while ago."""
        sent = ctx.service_send_client(Copier).text(text)
        await ctx.sleep(timedelta(seconds=2))
        return await sent

    @handler
    async def gather(self, ctx: Context, times: int) -> list[str]:
        return [*await gather(*(ctx.service_client(Copier).text(str(n)) for n in range(times)))]

    @handler
    async def choose(self, ctx: Context) -> list[Any]:
        """Lose patience with a call, and cancel it."""
        call, patience = ctx.service_client(Clerk).wait("Mary"), ctx.sleep(timedelta(seconds=1))
        lost = await select(call, patience) is patience
        said = await call.cancel()
        try:
            await call
        except TerminalError as error:
            return [lost, said, error.code]
        return []


class Box(VirtualObject):
    """Is held until its holder gets a signal."""

    @handler
    async def hold(self, ctx: ObjectContext) -> None:
        await ctx.signal("go")

    @handler
    async def count(self, ctx: ObjectContext) -> int:
        count = (await ctx.get("count", int) or 0) + 1
        ctx.set("count", count)
        return count

    @handler
    async def keep(self, ctx: ObjectContext, size: int) -> int:
        """The result of a step, as an entry."""
        data = await ctx.run("make", lambda: bytes(size), type=bytes)
        ctx.set("data", data)
        return len(data)

    @handler
    async def kept(self, ctx: ObjectSharedContext) -> bytes:
        return await ctx.get("data", bytes) or b""


class Rite(Workflow):
    """Waits for a word."""

    @handler
    async def run(self, ctx: WorkflowContext, name: str) -> str:
        ctx.set("name", name)
        return f"{name}: {await ctx.promise('word', str)}"

    @handler
    async def say(self, ctx: WorkflowSharedContext, word: str) -> bool:
        return await ctx.promise("word", str).resolve(word)

    @handler
    async def status(self, ctx: WorkflowSharedContext) -> list[str | None]:
        return [await ctx.get("name", str), await ctx.promise("word", str).peek()]


class Ping(Service):
    @handler
    async def down(self, ctx: Context, depth: int) -> int:
        return 1 + await ctx.service_client(Pong).down(depth - 1) if depth else 0


class Pong(Service):
    @handler
    async def down(self, ctx: Context, depth: int) -> int:
        return 1 + await ctx.service_client(Ping).down(depth - 1) if depth else 0


class Left(VirtualObject):
    @handler
    async def lock(self, ctx: ObjectContext, right: str) -> str:
        return await ctx.object_client(Right, right).lock(ctx.key)


class Right(VirtualObject):
    @handler
    async def lock(self, ctx: ObjectContext, left: str) -> str:
        return await ctx.object_client(Left, left).lock(ctx.key)


class Till(Service):
    @handler
    async def pay(self, ctx: Context, amount: int) -> None:
        raise TerminalError("declined")


# --- what differs by version -----------------------------------------------------------------------------------------


class Changing(Service):
    @handler
    async def wait(self, ctx: Context) -> list[int]:
        begun = VERSION
        await ctx.signal("go")
        return [begun, VERSION]

    @handler
    async def version(self, ctx: Context) -> int:
        return VERSION

    @handler
    async def buy(self, ctx: Context) -> str:
        if VERSION == 1:
            await ctx.run("charge", lambda: None)
        else:
            await ctx.sleep(timedelta(milliseconds=1), name="think")
        await ctx.signal("go")
        return f"bought on {VERSION}"

    if VERSION == 1:

        @handler
        async def gone(self, ctx: Context) -> list[int]:
            return await self.wait.fn(ctx)


class Moving(Service):
    """Is in the second function from version 2 on."""

    @handler
    async def place(self, ctx: Context) -> str:
        await ctx.signal("go")
        return f"{FUNCTION} {VERSION}"


FUNCTIONS = {
    "first": [Board, Ping, Left, Relay, Teller, Changing, *([Moving] if VERSION == 1 else [])],
    "second": [Clerk, Copier, Box, Rite, Pong, Right, Till, *([Moving] if VERSION == 2 else [])],
}

BESIDE: list[Any] = []
if (FUNCTION, VERSION) == ("second", 2):
    from beside import app

    BESIDE.append(app)

entry = lambda_handler(*FUNCTIONS[FUNCTION], *BESIDE)
