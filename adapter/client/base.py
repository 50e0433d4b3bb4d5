"""What both clients share: every command becomes a flow of requests, and every flow an operation."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import httpx

from adapter.client import flows, requests
from adapter.client.flows import Flow
from adapter.client.handles import Pending, Remote, RemoteInvocation, answered_id
from adapter.client.retrying import seconds
from adapter.clients import Clients
from adapter.engine.commands import Asked, Attach, Call, Complete, Output, Send, SendSignal, accepted
from adapter.engine.types import Outcome
from adapter.operations import Invocation, Operation

T = TypeVar("T")


class BaseClient(Clients):
    """The six typed clients over HTTP, without the waiting.

    Args:
        url: Where the services are.
        timeout: How long all requests of one operation may take.
    """

    def __init__(self, url: str, timeout: float | timedelta) -> None:
        self._url = requests.check_url(url)
        self._timeout = seconds(timeout, "timeout")

    def cancel(self, id: str, /) -> Operation[bool]:
        """Ask an invocation to end: a terminal error surfaces at its next await, so that it can clean up.

        The result is False if the invocation has ended, or does not exist. Cancelling it again interrupts its clean-up.
        On AWS the request is signed, so the client needs ``auth=SigV4()``.

        Args:
            id: The invocation's id, ``inv_…``.
        """
        return Remote(self._start(flows.cancelling(id)), accepted)

    @abstractmethod
    def _start(self, flow: Flow[T], after: Pending[object] | None = None) -> Pending[T]:
        """Run a flow in the background, once what it comes after has ended, in whatever way."""

    @abstractmethod
    def _sending(self, response: Pending[httpx.Response]) -> None:
        """A message is on its way."""

    def _issue(self, command: Call | Send, content_type: str, decode: Callable[[bytes | None], T]) -> Invocation[T]:
        ask = requests.for_handler(command, content_type)
        target = command.target
        may_be_a_workflow = command.kind is None and target.handler == "run" and target.key is not None
        own_key = may_be_a_workflow and command.idempotency_key is None
        if isinstance(command, Call):
            response = self._start(flows.calling(ask, own_key=own_key))

            def cancel_call(call: RemoteInvocation[T]) -> Operation[bool]:
                return Remote(self._start(flows.cancelling(call.id, response)), accepted)

            return RemoteInvocation(ask.id, response, decode, cancel_call, None)
        sent = self._start(flows.sending(ask, own_key=own_key))
        self._sending(sent)

        def cancel_sent(_: RemoteInvocation[T]) -> Operation[bool]:
            return Remote(self._start(_then(sent, flows.cancelling), after=sent), accepted)

        return RemoteInvocation(
            ask.id, sent, decode, cancel_sent, lambda: self._start(_then(sent, flows.attaching), after=sent)
        )

    def _ask(self, command: Asked, decode: Callable[[bytes | None], T]) -> Operation[T]:
        match command:
            case Attach(id):
                return Remote(self._start(flows.attaching(id)), lambda response: decode(response.content))
            case Output(id):
                return Remote(self._start(flows.looking(id)), decode)
            case Complete(id, Outcome(value, None)):
                ask = requests.for_awakeable(id, "resolve", value or b"")
            case Complete(id, Outcome(_, failure)):
                assert failure is not None
                ask = requests.for_rejection(requests.for_awakeable(id, "reject", b""), failure)
            case SendSignal(id, name, Outcome(value, None)):
                ask = requests.for_signal(id, name, value or b"")
            case SendSignal(id, name, Outcome(_, failure)):
                assert failure is not None
                ask = requests.for_rejection(requests.for_signal(id, name, b"", "reject"), failure)
        return Remote(self._start(flows.telling(ask)), decode)


def _then(sent: Pending[httpx.Response], flow: Callable[[str], Flow[T]]) -> Flow[T]:
    """Go on with the invocation that was sent. Raises what the sending failed with."""
    return (yield from flow(answered_id(sent)))
