"""The Lambda entry that runs the handlers of a Restate SDK's Lambda function: ``Handler: adapter.aws.driver.entry``.

The SDK's function is packaged as the SDK's documentation has it. A driver stands before it: its own version is
registered, serves requests, dispatches and timers, and invokes the version of the SDK's function that
``ADAPTER_ENDPOINT`` names. For each version of the SDK's function the registrar publishes one of the driver, so an
invocation stays on the code that it began on.

The SDK's function is asked for its manifest when a version is first used. The table of objects keeps it, so a cold
start of the driver does not start the SDK's function as well.
"""

from __future__ import annotations

import asyncio
import logging
import os
import zlib
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from adapter.aws.entry import LambdaEntry
from adapter.aws.settings import ConfigurationError, Settings, variable
from adapter.aws.tables import FORMAT
from adapter.aws.wire import Api, WireError
from adapter.errors import DefinitionError
from adapter.registry import Registry
from adapter.restate.answers import EndpointError
from adapter.restate.lambdas import LambdaEndpoint

if TYPE_CHECKING:
    from adapter.restate.identity import Identity

VARIABLE: Final = "ADAPTER_ENDPOINT"
"""The environment variable with the ARN of a version of the SDK's function."""

IDENTITY: Final = "ADAPTER_IDENTITY_KEY"
"""The environment variable with the name or ARN of a secret in Secrets Manager: the private key, in PEM, that signs
requests to the SDK's function. Without it they are not signed."""

PARTITION: Final = "manifest"
"""The partition key of manifests in the table of objects. An object's has a slash in it."""

LONGEST: Final = 15 * 60.0
"""Seconds that an invocation of the SDK's function may take: Lambda's own limit."""

EXCHANGES: Final = 64
"""How many exchanges are under way at a time in a process; more wait."""

TOO_LARGE: Final = b"Function.ResponseSizeTooLarge"
"""What Lambda says of an answer that is larger than
`its limit <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>`_."""

log = logging.getLogger("adapter")


class Function:
    """Invokes a version of a function, waits for it, and returns its payload."""

    def __init__(self, version: str) -> None:
        self._version = version
        self._apis: dict[asyncio.AbstractEventLoop, Api] = {}

    async def __call__(self, payload: bytes) -> bytes:
        """`Invoke <https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html>`_ the version.

        Raises:
            EndpointError: If it cannot be invoked, or fails. If its answer is too large for Lambda, which another try
                would not change, the invocation is paused.
        """
        path = f"/2015-03-31/functions/{quote(self._version, safe='')}/invocations"
        headers = {"x-amz-invocation-type": "RequestResponse"}
        try:
            answer = await self._api().send("Invoke", "POST", path, headers=headers, body=payload)
        except WireError as error:
            raise EndpointError(f"the function {self._version} cannot be invoked: {error}") from error
        if "x-amz-function-error" in answer.headers:
            said = answer.body[:300].decode(errors="replace")
            too_large = TOO_LARGE in answer.body
            if too_large:
                said = f"{said}: let the handler do less between two results that it awaits, then resume it"
            raise EndpointError(f"the function {self._version} failed: {said}", pause=too_large)
        return answer.body

    def _api(self) -> Api:
        loop = asyncio.get_running_loop()
        if loop not in self._apis:
            # The engine tries a failed exchange again.
            self._apis = {loop: Api("lambda", connections=EXCHANGES, attempts=1, patience=LONGEST)}
        return self._apis[loop]


class Manifests:
    """The manifests of versions, in the table of objects."""

    def __init__(self, table: str, api: Api) -> None:
        self._table = table
        self._api = api

    async def load(self, version: str) -> bytes | None:
        """Return a version's manifest; ``None`` if it was not kept."""
        answer = await self._api.call("GetItem", {"TableName": self._table, "Key": self._key(version)})
        item: dict[str, Any] | None = answer.get("Item")
        return None if item is None else zlib.decompress(item["manifest"]["B"])

    async def keep(self, version: str, manifest: bytes) -> None:
        """Keep a version's manifest."""
        item = {**self._key(version), "v": {"N": str(FORMAT)}, "manifest": {"B": zlib.compress(manifest)}}
        await self._api.call("PutItem", {"TableName": self._table, "Item": item})

    def _key(self, version: str) -> dict[str, Any]:
        return {"pk": {"S": PARTITION}, "sk": {"S": version}}


async def discover(endpoint: LambdaEndpoint, manifests: Manifests) -> Registry:
    """Return the services of a version of the SDK's function.

    Raises:
        UnreachableError: If it has to be asked, and does not answer.
        DefinitionError: If it offers what cannot be served here.
    """
    kept = None
    try:
        kept = await manifests.load(endpoint.name)
    except (WireError, KeyError, zlib.error) as error:
        log.warning("the manifest is asked for: %s", error)
    manifest = await endpoint.manifest() if kept is None else kept
    services = endpoint.services(manifest)
    if kept is None:  # only what can be served is kept
        try:
            await manifests.keep(endpoint.name, manifest)
        except WireError as error:
            log.warning("the manifest is not kept: %s", error)
    registry = Registry()
    registry.services.update(services)
    return registry


def identity() -> Identity | None:
    """Return what signs requests to the SDK's function, if the environment names a key.

    Raises:
        ConfigurationError: If the key cannot be read, or is none.
    """
    secret = os.environ.get(IDENTITY)
    if not secret:
        return None
    from botocore.exceptions import BotoCoreError, ClientError

    from adapter.aws.clients import make_client  # botocore takes a while to import

    try:
        from adapter.restate.identity import Identity

        client: Any = make_client("secretsmanager", connections=1, attempts=3)
        value: str | None = client.get_secret_value(SecretId=secret).get("SecretString")
        return Identity((value or "").encode())
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{error.name} is not installed: add serverless-adapter[identity] to the driver's requirements"
        ) from None
    except (BotoCoreError, ClientError) as error:
        raise ConfigurationError(f"the secret that {IDENTITY} names cannot be read: {error}") from None
    except DefinitionError as error:
        raise ConfigurationError(f"the secret that {IDENTITY} names: {error}") from None


def drive() -> LambdaEntry:
    """Return the entry of the function that the environment describes.

    Raises:
        ConfigurationError: If it does not.
    """
    version = variable(VARIABLE)
    endpoint = LambdaEndpoint(version, Function(version), identity=identity())

    async def begin() -> Registry:
        return await discover(endpoint, Manifests(Settings.from_environment().objects, Api("dynamodb", attempts=3)))

    return LambdaEntry(asyncio.run(begin()))


def __getattr__(name: str) -> LambdaEntry:
    if name != "entry":
        raise AttributeError(f"module {__name__} has no attribute {name}", name=name, obj=__name__)
    entry = drive()
    globals()["entry"] = entry
    return entry
