"""A codec encodes whatever handlers store, and nothing that it encodes is seen in the store, the admin or HTTP."""

from __future__ import annotations

import secrets
from typing import Any

import httpx
import pytest

from adapter import (
    Context,
    ObjectContext,
    Service,
    TerminalError,
    VirtualObject,
    Workflow,
    WorkflowContext,
    WorkflowSharedContext,
    handler,
    lambda_handler,
)
from adapter.local.memory import MemoryStore
from adapter.local.server import running
from adapter.registry import Registry
from adapter.testing import Environment, StuckError


class Xor:
    """Hides bytes from a test that looks for them, in another way each time."""

    def __init__(self, *keys: int) -> None:
        self.keys = keys

    def encode(self, data: bytes) -> bytes:
        nonce = secrets.randbelow(256)
        return bytes([self.keys[-1], nonce, *(byte ^ self.keys[-1] ^ nonce for byte in data)])

    def decode(self, data: bytes) -> bytes:
        if data[0] not in self.keys:
            raise LookupError("no such key")
        return bytes(byte ^ data[0] ^ data[1] for byte in data[2:])


class Patient(VirtualObject):
    @handler
    async def note(self, ctx: ObjectContext, text: str) -> int:
        notes = await ctx.get("notes", list[str]) or []
        ctx.set("notes", [*notes, text])
        return len(notes) + 1

    @handler
    async def notes(self, ctx: ObjectContext) -> list[str]:
        return [*await ctx.state_keys(), *(await ctx.get("notes", list[str]) or [])]


class Doctor(Service):
    def __init__(self) -> None:
        self.ids: list[str] = []

    @handler
    async def examine(self, ctx: Context, secret: str) -> str:
        seen = await ctx.run("look", lambda: f"seen {secret}", type=str)
        count = await ctx.object_client(Patient, "Mary").note(seen)
        asked = ctx.awakeable(str)
        await ctx.run("ask", self.ids.append, asked.id)
        answer = await asked
        heard = await ctx.signal("more", str)
        report = await ctx.workflow_client(Report, secret[:3]).run(heard)
        return f"{count}: {seen}, {answer}, {heard}, {report}"

    @handler
    async def tell(self, ctx: Context, about: tuple[str, str]) -> list[bool]:
        id, secret = about
        return [await ctx.resolve_awakeable(self.ids[-1], secret), await ctx.send_signal(id, "more", secret)]


class Report(Workflow):
    @handler
    async def run(self, ctx: WorkflowContext, text: str) -> str:
        await ctx.promise("text", str).resolve(text)
        return await ctx.promise("text", str)

    @handler
    async def text(self, ctx: WorkflowSharedContext) -> str | None:
        return await ctx.promise("text", str).peek()


SECRET = "swordfish"


@pytest.mark.parametrize("replay", [False, True])
async def test_nothing_that_is_encoded_is_in_the_store(replay: bool) -> None:
    async with Environment(Patient, Doctor, Report, codec=Xor(7), replay=replay) as env:
        examined = env.service_client(Doctor).examine(SECRET)
        await env.settle()
        assert await env.service_client(Doctor).tell((examined.id, SECRET)) == [True, True]
        assert await examined == f"1: seen {SECRET}, {SECRET}, {SECRET}, {SECRET}"
        assert await env.attach(examined.id, str) == await examined
        assert await env.object_client(Patient, "Mary").notes() == ["notes", f"seen {SECRET}"]
        assert await env.state(Patient, "Mary") == {"notes": [f"seen {SECRET}"]}
        assert await env.workflow_client(Report, "swo").text() == SECRET
        assert SECRET not in repr(env._store.records())


async def test_keys_can_be_changed_while_old_values_are_stored() -> None:
    codec = Xor(7)
    async with Environment(Patient, codec=codec) as env:
        patient = env.object_client(Patient, "Mary")
        await patient.note("one")
        codec.keys = (7, 9)
        await patient.note("two")
        assert await patient.notes() == ["notes", "one", "two"]
        codec.keys = (11,)
        with pytest.raises(StuckError, match="a stored value cannot be decoded: LookupError"):
            await patient.notes()


async def test_values_from_before_the_codec_stay_readable() -> None:
    async with Environment(Patient) as env:
        await env.object_client(Patient, "Mary").note("plain")
        env._codec = Xor(7)
        env.redeploy(Patient)
        assert await env.object_client(Patient, "Mary").notes() == ["notes", "plain"]
        env._codec = None
        await env.object_client(Patient, "Mary").note("coded")
        env.redeploy(Patient)
        with pytest.raises(StuckError, match="pass the codec that encoded it, as codec="):
            await env.object_client(Patient, "Mary").notes()


class Vault(Service):
    @handler
    async def keep(self, ctx: Context, secret: str) -> str:
        return await ctx.signal("open", str) + secret

    @handler
    async def fail(self, ctx: Context, secret: str) -> str:
        raise TerminalError("no")


async def test_http_has_plain_values_and_the_admin_has_none() -> None:
    registry = Registry(Vault)
    registry.codec = Xor(7)
    async with (
        running(registry, MemoryStore()) as app,
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8080") as http,
    ):
        sent: Any = (await http.post("/Vault/keep/send", json=SECRET)).json()
        id = sent["invocationId"]
        for _ in range(2):
            key = {"idempotency-key": "k"}
            signal = await http.post(f"/restate/invocation/{id}/signals/open", json="open ", headers=key)
            assert signal.status_code == 202
        assert (await http.get(f"/restate/invocation/{id}/attach")).json() == f"open {SECRET}"
        assert (await http.get(f"/restate/invocation/{id}/output")).json() == f"open {SECRET}"
        assert (await http.post("/Vault/fail", json=SECRET)).json()["message"] == "no"
        assert (await http.post("/Vault/keep", json=7)).status_code == 400
        for path in (f"/invocations/{id}", f"/invocations/{id}/journal"):
            shown = await http.get(f"/admin{path}")
            assert shown.status_code == 200
            assert SECRET not in shown.text


def test_the_entry_has_the_codec() -> None:
    codec = Xor(7)
    assert lambda_handler(Vault, codec=codec).registry.codec is codec
    assert lambda_handler(Vault).registry.codec is None
