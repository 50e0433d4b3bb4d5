"""What an endpoint offers: its manifest, read and checked, and its services as a registry holds them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import NoneType
from typing import Annotated, Any, Final, Literal, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from adapter import serde
from adapter.definitions import Category
from adapter.engine.deployment import HandlerSpec
from adapter.engine.types import LONGEST, NAME, Kind, Options, RetryPolicy
from adapter.errors import DefinitionError, TerminalError, check_metadata, explain
from adapter.registry import BoundService
from adapter.restate.conversation import Way
from adapter.restate.messages import VERSIONS
from adapter.restate.player import Player
from adapter.serde import Serde

ACCEPT: Final = ", ".join(f"application/vnd.restate.endpointmanifest.v{version}+json" for version in (4, 3, 2))
"""The versions of the manifest that are read."""

INACTIVITY: Final = timedelta(seconds=60)
"""For how long an endpoint may be silent before a Restate server asks it to suspend, if neither side says otherwise."""

ABORT: Final = timedelta(minutes=10)
"""For how long it may be silent after that, before a Restate server gives the request up."""

Handles = Literal["WORKFLOW", "EXCLUSIVE", "SHARED"]
Serves = Literal["VIRTUAL_OBJECT", "SERVICE", "WORKFLOW"]


def _in_range(milliseconds: int) -> int:
    if not 0 <= milliseconds <= LONGEST:
        raise ValueError("a duration is from 0 to 100 years, in milliseconds")
    return milliseconds


def _printable(content_type: str) -> str:
    if not (content_type.isascii() and content_type.isprintable()):
        raise ValueError("a content type is printable ASCII, as it becomes a header")
    return content_type


def _finite(schema: Any) -> Any:
    json.dumps(schema, allow_nan=False)
    return schema


Milliseconds = Annotated[int, AfterValidator(_in_range)]
ContentType = Annotated[str, AfterValidator(_printable)]
Schema = Annotated[Any, AfterValidator(_finite)]
Metadata = Annotated[dict[str, str] | None, AfterValidator(lambda given: check_metadata(given or {}))]


class _Part(BaseModel):
    model_config = ConfigDict(
        extra="ignore", strict=True, allow_inf_nan=False, alias_generator=to_camel, populate_by_name=True
    )


class Payload(_Part):
    """The input or output of a handler. Without a content type there is none."""

    content_type: ContentType | None = None
    required: bool = False
    json_schema: Schema = None


class Policies(_Part):
    """The options of a service, and of a handler. Durations are in milliseconds."""

    inactivity_timeout: Milliseconds | None = None
    abort_timeout: Milliseconds | None = None
    journal_retention: Milliseconds | None = None
    idempotency_retention: Milliseconds | None = None
    workflow_completion_retention: Milliseconds | None = None
    enable_lazy_state: bool | None = None
    ingress_private: bool | None = None
    retry_policy_initial_interval: Milliseconds | None = None
    retry_policy_max_interval: Milliseconds | None = None
    retry_policy_max_attempts: int | None = Field(None, ge=1)
    retry_policy_exponentiation_factor: float | None = Field(None, ge=1)
    retry_policy_on_max_attempts: Literal["PAUSE", "KILL"] | None = None


class HandlerManifest(Policies):
    """A handler."""

    name: str
    ty: Handles | None = None
    documentation: str | None = None
    metadata: Metadata = None
    input: Payload | None = None
    output: Payload | None = None


class ServiceManifest(Policies):
    """A service, virtual object or workflow."""

    name: str
    ty: Serves
    documentation: str | None = None
    metadata: Metadata = None
    handlers: list[HandlerManifest]


class Manifest(_Part):
    """An endpoint's manifest."""

    min_protocol_version: int
    max_protocol_version: int
    protocol_mode: Literal["BIDI_STREAM", "REQUEST_RESPONSE"] = "REQUEST_RESPONSE"
    lambda_compression: str | None = None
    services: list[ServiceManifest]

    @property
    def version(self) -> int:
        """The highest version of the protocol that both sides speak."""
        return min(self.max_protocol_version, VERSIONS[-1])


def read_manifest(body: bytes) -> Manifest:
    """Return an endpoint's manifest.

    Raises:
        DefinitionError: If it is not a manifest, or offers nothing that can be served here. The message says which
            service and why.
    """
    try:
        manifest = Manifest.model_validate_json(body)
    except ValidationError as error:
        raise DefinitionError(f"the endpoint's manifest cannot be read: {explain(error)}") from None
    lowest, highest = manifest.min_protocol_version, manifest.max_protocol_version
    if highest < VERSIONS[0] or lowest > min(highest, VERSIONS[-1]):
        raise DefinitionError(
            f"the endpoint speaks versions {lowest} to {highest} of the service protocol, not one of {VERSIONS[0]} to "
            f"{VERSIONS[-1]}, which are supported: use another version of its SDK"
        )
    names = [service.name for service in manifest.services]
    for service in manifest.services:
        for what, name in [("service", service.name), *(("handler", each.name) for each in service.handlers)]:
            if not NAME.fullmatch(name):
                raise DefinitionError(
                    f"{name!r} cannot be the name of a {what}: names are ASCII, a letter or _, then up to 127 letters, "
                    "digits or any of _ . -"
                )
        if names.count(service.name) > 1:
            raise DefinitionError(f"the endpoint has two services called {service.name}")
        handlers = [handler.name for handler in service.handlers]
        for handler in service.handlers:
            if handlers.count(handler.name) > 1:
                raise DefinitionError(f"{service.name} has two handlers called {handler.name}")
            if handler.ty not in (None, "SHARED", _DEFAULTS[service.ty].upper()) and service.ty != "SERVICE":
                raise DefinitionError(f"{service.name}/{handler.name} is {handler.ty}, and its service is {service.ty}")
    return manifest


# --- as a registry holds them ----------------------------------------------------------------------------------------


class Raw(Serde[bytes]):
    """Bytes that only the endpoint's SDK reads and writes."""

    def __init__(self, content_type: str) -> None:
        self.content_type = content_type

    def serialize(self, value: bytes, /) -> bytes:
        return value

    def deserialize(self, data: bytes, /) -> bytes:
        return data


@dataclass(frozen=True)
class RemoteHandler:
    """A handler of an endpoint, as a registry holds it."""

    service: str
    manifest: HandlerManifest
    kind: Kind
    options: Options
    way: Way

    @property
    def name(self) -> str:
        """The name that callers use."""
        return self.manifest.name

    @property
    def doc(self) -> str:
        """What the SDK's handler is documented with."""
        return self.manifest.documentation or ""

    @property
    def metadata(self) -> Mapping[str, str]:
        """More about the SDK's handler."""
        return self.manifest.metadata or {}

    @property
    def input(self) -> Serde[Any] | None:
        """The serde of the input; ``None`` if the handler takes no input."""
        return _serde(self.manifest.input or Payload(content_type="*/*"))

    @property
    def input_required(self) -> bool:
        """Whether an empty body is refused."""
        return self.manifest.input is not None and self.manifest.input.required

    @property
    def default(self) -> Any:
        """``inspect.Parameter.empty``: only the SDK knows a default."""
        return inspect.Parameter.empty

    @property
    def output(self) -> Serde[Any]:
        """The serde of the output."""
        return _serde(self.manifest.output or Payload(content_type="application/json")) or serde.of(NoneType)

    def schema(self, side: Literal["input", "output"]) -> dict[str, Any] | None:
        """Return the JSON schema of the input or the output; that of anything where the manifest has none for JSON."""
        payload = self.manifest.input if side == "input" else self.manifest.output
        if payload is None or payload.content_type is None:
            return None
        schema = payload.json_schema
        if isinstance(schema, dict):
            return cast("dict[str, Any]", schema)
        return {} if payload.content_type == "application/json" else None

    def validate_input(self, body: bytes) -> None:
        """Refuse a body from outside that the handler cannot be run with.

        Raises:
            TerminalError: With code 400.
        """
        if body and self.input is None:
            raise TerminalError(
                f"invalid input: {self.service}/{self.name} takes none, and the body is not empty", code=400
            )
        if not body and self.input_required:
            raise TerminalError(
                f"invalid input: the body is empty, and {self.service}/{self.name} needs an input", code=400
            )

    @property
    def spec(self) -> HandlerSpec:
        """The handler as the engine runs it."""
        play = Player(self.way, self.service, self.name, lazy=self.options.lazy_state).play
        return HandlerSpec(self.service, self.name, self.kind, play, self.options)


def _serde(payload: Payload) -> Serde[Any] | None:
    return None if payload.content_type is None else Raw(payload.content_type)


_CATEGORIES: Final[Mapping[Serves, Category]] = {
    "SERVICE": "service",
    "VIRTUAL_OBJECT": "object",
    "WORKFLOW": "workflow",
}

_KINDS: Final[Mapping[Handles, Kind]] = {
    "WORKFLOW": Kind.WORKFLOW,
    "EXCLUSIVE": Kind.EXCLUSIVE,
    "SHARED": Kind.SHARED,
}

_DEFAULTS: Final[Mapping[Serves, Kind]] = {
    "SERVICE": Kind.SERVICE,
    "VIRTUAL_OBJECT": Kind.EXCLUSIVE,
    "WORKFLOW": Kind.WORKFLOW,
}


def remote_services(manifest: Manifest, way: Way) -> dict[str, BoundService]:
    """Return an endpoint's services by name, as a registry holds them."""
    return {service.name: _service(service, way) for service in manifest.services}


def _service(service: ServiceManifest, way: Way) -> BoundService:
    handlers = {
        each.name: RemoteHandler(service.name, each, _kind(service, each), _options(service, each), way)
        for each in service.handlers
    }
    category, metadata = _CATEGORIES[service.ty], service.metadata or {}
    return BoundService(service.name, category, service.documentation or "", handlers, metadata)


def _kind(service: ServiceManifest, handler: HandlerManifest) -> Kind:
    if service.ty == "SERVICE" or handler.ty is None:
        return _DEFAULTS[service.ty]
    return _KINDS[handler.ty]


def _options(service: ServiceManifest, handler: HandlerManifest) -> Options:
    def given(name: str) -> Any:
        value = getattr(handler, name)
        return getattr(service, name) if value is None else value

    def span(name: str) -> timedelta | None:
        value = given(name)
        return None if value is None else timedelta(milliseconds=value)

    inactivity, abort = span("inactivity_timeout") or None, span("abort_timeout") or None
    initial, maximum = span("retry_policy_initial_interval"), span("retry_policy_max_interval")
    longest = maximum or RetryPolicy().maximum
    first = initial or min(RetryPolicy().initial, longest)
    retry: dict[str, Any] = {
        "initial": first,
        "maximum": max(first, longest),
        "factor": given("retry_policy_exponentiation_factor"),
        "attempts": given("retry_policy_max_attempts"),
        "exhausted": {"PAUSE": "pause", "KILL": "kill"}.get(given("retry_policy_on_max_attempts") or ""),
    }
    options: dict[str, Any] = {
        "inactivity_timeout": inactivity,
        "abort_timeout": abort and (inactivity or INACTIVITY) + abort,  # the second begins when the first is over
        "journal_retention": span("journal_retention"),
        "idempotency_retention": span("idempotency_retention"),
        "workflow_retention": span("workflow_completion_retention"),
        "lazy_state": bool(given("enable_lazy_state")),
        "private": given("ingress_private"),
        "retry": RetryPolicy(**{name: value for name, value in retry.items() if value is not None}),
    }
    try:
        return Options(**{name: value for name, value in options.items() if value is not None})
    except (ValueError, TypeError) as error:
        raise DefinitionError(f"the options of {service.name}/{handler.name}: {error}") from None
