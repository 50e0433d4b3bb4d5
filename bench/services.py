"""The services of the workloads: `adapter dev bench.services` hosts them."""

from __future__ import annotations

from adapter import Context, ObjectContext, Service, VirtualObject, gather, handler


class Counter(VirtualObject):
    """A number per key."""

    @handler
    async def add(self, ctx: ObjectContext, amount: int) -> int:
        """Read and write one state entry of an exclusive key."""
        total = (await ctx.get("total", int) or 0) + amount
        ctx.set("total", total)
        return total


class Bench(Service):
    """One handler per workload."""

    @handler
    async def greet(self, ctx: Context, name: str) -> str:
        """No steps at all."""
        return f"hi {name}"

    @handler
    async def deferred(self, ctx: Context, n: int) -> int:
        """n deferred steps in sequence."""
        for i in range(n):
            await ctx.run("step", _same, i, defer=True)
        return n

    @handler
    async def steps(self, ctx: Context, n: int) -> int:
        """n durable steps in sequence."""
        total = 0
        for i in range(n):
            total += await ctx.run(f"step-{i}", _one)
        return total

    @handler
    async def steps_at_once(self, ctx: Context, n: int) -> int:
        """n durable steps at once."""
        return len(await gather(*(ctx.run(f"step-{i}", _one) for i in range(n))))

    @handler
    async def calls(self, ctx: Context, n: int) -> int:
        """n request-response calls in sequence."""
        total = 0
        for _ in range(n):
            total += len(await ctx.service_client(Bench).greet("x"))
        return total

    @handler
    async def objcalls(self, ctx: Context, n: int) -> int:
        """n request-response calls in sequence to one key of a virtual object."""
        total = 0
        for _ in range(n):
            total = await ctx.object_client(Counter, "bench").add(1)
        return total

    @handler
    async def sends(self, ctx: Context, n: int) -> int:
        """n one-way messages."""
        for _ in range(n):
            ctx.service_send_client(Bench).greet("x")
        return n


async def _one() -> int:
    return 1


async def _same(number: int) -> int:
    return number
