"""Records what the SDKs and this library say to each other.

    python -m tests.restate.record

writes `recorded.json`: for each SDK and version of the protocol, one frame of each message type and set of fields that
the SDK sent ("said") and of those that it accepted ("heard"). The frames of an SDK
that cannot be had are kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Iterable
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any, Final
from unittest import mock

from adapter.restate import messages as m
from adapter.restate.apps import AppEndpoint
from adapter.restate.conversation import Stream
from adapter.restate.endpoints import Endpoint
from adapter.restate.http import HttpEndpoint
from adapter.restate.lambdas import LambdaEndpoint
from adapter.restate.wire import Frame, FrameReader, Message, write_frame
from infra.node import PACKAGES
from tests.restate import golang, jvm, node
from tests.restate.hosting import CallError, Hosted, hosted, new_key, until
from tests.restate.sandbox import LambdaSandbox
from tests.restate.tour import app

FILE: Final = Path(__file__).with_name("recorded.json")

METADATA_FROM: Final = 6
"""The version of the protocol from which on failures have metadata."""

CONTROL: Final[dict[int, type[Message]]] = {
    m.START: m.Start,
    m.SUSPENSION: m.Suspension,
    m.ERROR: m.Error,
    m.END: m.Void,
    m.PROPOSE_RUN: m.ProposeRun,
    m.AWAITING_ON: m.AwaitingOn,
    m.RUN_ACK: m.RunAck,
}


def kind_of(type: int) -> type[Message]:
    """Return the message of a type of frames."""
    if type in CONTROL:
        return CONTROL[type]
    return m.TYPES[type] if m.is_command(type) else m.Notification


def shape(message: Any) -> Any:
    """Return which fields a message has, and those of the messages in it."""
    if isinstance(message, Message):
        fields = {name: getattr(message, name) for name in message.__dataclass_fields__}
        return tuple((name, shape(value)) for name, value in fields.items() if value not in (None, []))
    if isinstance(message, list):
        return tuple(sorted({shape(each) for each in message}, key=repr))
    return bool(message)


class Recording:
    """The distinct frames of one direction."""

    def __init__(self) -> None:
        self.frames: dict[Any, bytes] = {}

    def add(self, frames: Iterable[Frame]) -> None:
        for frame in frames:
            key = (frame.type, frame.flags, shape(kind_of(frame.type).decode(frame.payload)))
            written = write_frame(frame)
            if len(written) < len(self.frames.get(key, written + b" ")):
                self.frames[key] = written

    def lines(self) -> list[str]:
        return [frame.hex() for _, frame in sorted(self.frames.items(), key=lambda each: repr(each[0]))]


def own(frames: Iterable[Frame]) -> list[Frame]:
    """Return the frames that a runtime writes. The journal that it sends has the SDK's commands as well."""
    return [each for each in frames if not m.is_command(each.type) or m.TYPES[each.type] is m.InputCommand]


class Recorder:
    """Listens to an endpoint."""

    def __init__(self, endpoint: Endpoint, said: Recording, heard: Recording) -> None:
        self._said, self._heard = said, heard
        self._exchange, self._open = endpoint.exchange, endpoint.open
        endpoint.exchange, endpoint.open = self.exchange, self.open  # type: ignore[method-assign]

    async def exchange(self, service: str, handler: str, body: bytes) -> bytes:
        answer = await self._exchange(service, handler, body)
        self._heard.add(own(FrameReader().feed(body)))
        self._said.add(FrameReader().feed(answer))
        return answer

    async def open(self, service: str, handler: str) -> Stream:
        stream = await self._open(service, handler)
        told, answered, write, take = FrameReader(), FrameReader(), stream.write, stream.take

        async def writes(data: bytes) -> None:
            self._heard.add(own(told.feed(data)))
            await write(data)

        def takes() -> bytes:
            data = take()
            self._said.add(answered.feed(data))
            return data

        stream.write, stream.take = writes, takes  # type: ignore[method-assign]
        return stream


async def tour(host: Hosted, version: int, *, pauses: bool) -> None:
    """Have the SDK send each message."""
    for service in ("Eager", "Lazy"):
        key = new_key()
        for handler in ("state", "keep", "read", "read"):
            await host.call(f"{service}/{key}/{handler}")
    for handler in ("calls", "steps", "retries", "awakeables", "signals", "cancels"):
        await host.call(f"Tour/{handler}")
    for handler in ("fail", "failOld") if version >= METADATA_FROM else ("failOld",):
        with contextlib.suppress(CallError):
            await host.call(f"Tour/{handler}", "no")
    if pauses:
        id = await host.send("Tour/pauses")
        await until(host, id, "paused")
    key = new_key()
    id = await host.send(f"Flow/{key}/run")
    await until(host, id, "suspended")
    await host.call(f"Flow/{key}/decide")
    await host.attach(id)


@contextlib.asynccontextmanager
async def endpoints(
    version: int, duplex: bool, urls: dict[str, str], java: LambdaSandbox | None
) -> AsyncIterator[dict[str, Endpoint]]:
    options: Any = {"version": version, "duplex": duplex}
    async with contextlib.AsyncExitStack() as stack:
        over_http = {name: await stack.enter_async_context(HttpEndpoint(url, **options)) for name, url in urls.items()}
        found: dict[str, Endpoint] = {**over_http, f"Python {version_of('restate-sdk')}": AppEndpoint(app, **options)}
        if java is not None and version in jvm.VERSIONS and not duplex:
            found[f"Java {jvm.SDK}"] = LambdaEndpoint("sandbox", java, version=version)
        yield found


async def record(urls: dict[str, str], java: LambdaSandbox | None) -> dict[str, dict[str, list[str]]]:
    """Return what was recorded, of the SDKs with a URL, of the Python SDK, and of the Java SDK if it can be had."""
    recorded = dict[str, dict[str, list[str]]]()
    for version in m.VERSIONS:
        both = dict[str, tuple[Recording, Recording]]()
        for duplex in (False, True):
            async with endpoints(version, duplex, urls, java) as found:
                for name, endpoint in found.items():
                    said, heard = both.setdefault(name, (Recording(), Recording()))
                    Recorder(endpoint, said, heard)
                    async with hosted(endpoint) as host:
                        await tour(host, version, pauses=version == 7 and name.startswith("TypeScript"))
        for name, (said, heard) in both.items():
            recorded[f"{name}, version {version}"] = {"said": said.lines(), "heard": heard.lines()}
    return recorded


def language(name: str) -> str:
    """Return the language of an SDK's name."""
    return name.split()[0]


def main() -> None:
    logging.disable()
    with contextlib.ExitStack() as stack:
        urls = {f"TypeScript {PACKAGES['@restatedev/restate-sdk']}": stack.enter_context(node.served("tour.ts")).url}
        if golang.GO:
            urls[f"Go {golang.version()}"] = stack.enter_context(golang.served("tour")).url
        java = stack.enter_context(jvm.sandboxed("tour")) if jvm.CLASSPATH else None
        # The SDK's stack traces name files of this machine.
        stack.enter_context(mock.patch("traceback.format_exception", return_value=["the stack"]))
        recorded = asyncio.run(record(urls, java))
    languages = {language(name) for name in recorded}
    kept = {name: frames for name, frames in json.loads(FILE.read_text()).items() if language(name) not in languages}
    FILE.write_text(json.dumps(kept | recorded, indent=1) + "\n")


if __name__ == "__main__":
    main()
