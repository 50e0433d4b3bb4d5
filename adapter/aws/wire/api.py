"""Requests to AWS's services: signed, sent, and answered with plain data or an error.

DynamoDB and SQS speak `AWS's JSON protocol <https://smithy.io/2.0/aws/protocols/aws-json-1_0-protocol.html>`_: an
operation's name in a header, its input and output as JSON. Lambda and Scheduler have paths of their own.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import time
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from adapter.aws.wire import credentials, tls
from adapter.aws.wire.http import ANSWER_SECONDS, Answer, NoAnswerError, Pool, Request, Transport, WireError
from adapter.aws.wire.signing import Credentials, Signer
from adapter.frozen import frozen

TARGETS: Final = {"dynamodb": "DynamoDB_20120810", "sqs": "AmazonSQS"}
"""What the JSON protocol has before an operation's name, by services."""

PASSING: Final = frozenset({
    "InternalServerError",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "ServiceUnavailable",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
})  # fmt: skip
"""The codes of errors that pass by themselves."""

SKEWED: Final = frozenset({
    "AuthFailure",
    "InvalidSignatureException",
    "RequestExpired",
    "RequestInTheFuture",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
})  # fmt: skip
"""The codes that a request may get whose time is wrong. Clocks of processes that stood still may be."""

SKEW_SECONDS: Final = 240.0
"""How wrong a clock may be; AWS allows five minutes."""

REFUSED: Final = frozenset({
    "ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException",
})  # fmt: skip
"""The codes for credentials that are not, or no longer, valid."""

PAUSE_SECONDS: Final = 0.1
"""The longest pause before the first retry; it doubles with each."""

log = logging.getLogger("adapter")


class NoRegionError(Exception):
    """The environment names no region."""


class AwsError(WireError):
    """A service answered with an error.

    Attributes:
        code: Such as ``ResourceNotFoundException``.
        status: The HTTP status.
        details: What the answer says beside the code and the message.
    """

    def __init__(self, operation: str, code: str, message: str, status: int, details: Mapping[str, Any]) -> None:
        super().__init__(f"{operation}: {code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.details = details

    def passes(self) -> bool:
        """Return True if the same request may succeed later."""
        return self.status >= 500 or self.code in PASSING


@frozen
class Place:
    """Where a service is.

    Attributes:
        region: Its region, which signatures name.
        url: Its endpoint.
    """

    region: str
    url: str


def locate(service: str, *, region: str | None = None, endpoint: str | None = None) -> Place:
    """Return where the environment says that a service is.

    Args:
        service: Such as ``dynamodb``.
        region: Its region, instead of the environment's.
        endpoint: Its URL, instead of the environment's.

    Raises:
        NoRegionError: If there is no region.

    >>> locate("dynamodb", region="eu-central-1", endpoint="http://127.0.0.1:4566")
    Place(region='eu-central-1', url='http://127.0.0.1:4566')
    """
    region = region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or _configured_region()
    if region is None:
        raise NoRegionError(f"no AWS region for {service}: set AWS_REGION, or a region in the profile")
    if endpoint is None and not _is_on("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"):
        endpoint = os.environ.get(f"AWS_ENDPOINT_URL_{service.upper()}") or os.environ.get("AWS_ENDPOINT_URL")
    return Place(region, endpoint or _url(service, region))


def _url(service: str, region: str) -> str:
    name = f"{service}-fips" if _is_on("AWS_USE_FIPS_ENDPOINT") else service
    china = region.startswith("cn-")
    if _is_on("AWS_USE_DUALSTACK_ENDPOINT"):
        return f"https://{name}.{region}.api.{'amazonwebservices.com.cn' if china else 'aws'}"
    return f"https://{name}.{region}.amazonaws.com{'.cn' if china else ''}"


def _is_on(variable: str) -> bool:
    return os.environ.get(variable, "").lower() == "true"


def _configured_region() -> str | None:
    import botocore.session  # only where the environment says nothing, which Lambda's does

    region: str | None = botocore.session.get_session().get_config_variable("region")
    return region


class Api:
    """A service's API, from one event loop.

    Args:
        service: ``dynamodb``, ``sqs``, ``lambda`` or ``scheduler``.
        connections: How many requests are under way at a time; more wait.
        attempts: How often a request is sent that meets what passes, or no answer.
        patience: How many seconds an answer may take.
        place: Where it is; by default where the environment says.
        source: Gives credentials; by default what the environment has.
        transport: Sends the requests.
    """

    def __init__(
        self,
        service: str,
        *,
        connections: int = 32,
        attempts: int = 1,
        patience: float = ANSWER_SECONDS,
        place: Place | None = None,
        source: credentials.Source | None = None,
        transport: Transport | None = None,
    ) -> None:
        self.service = service
        self.place = place or locate(service)
        self._connections = connections
        self._attempts = attempts
        self._patience = patience
        self._source = source or credentials.find()
        self._signer = Signer(service, self.place.region)
        url = urlsplit(self.place.url)
        host, secure = url.hostname or "", url.scheme == "https"
        self._host = url.netloc.rpartition("@")[2].lower()
        self._base = url.path.rstrip("/")
        self.transport = transport or Pool(
            host,
            url.port or (443 if secure else 80),
            partial(tls.context, host) if secure else None,
            connections=connections,
            patience=patience,
        )
        self._skew = 0.0

    async def call(self, operation: str, input: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request in the JSON protocol and return its output. Binary attribute values are ``bytes``.

        Args:
            operation: Such as ``PutItem``.
            input: What the operation takes.

        Raises:
            AwsError: If the service answers with an error.
            NoAnswerError: If it does not answer.
            NoCredentialsError: If there are no credentials.
        """
        headers = {"content-type": "application/x-amz-json-1.0", "x-amz-target": f"{TARGETS[self.service]}.{operation}"}
        answer = await self.send(operation, "POST", "/", headers=headers, body=_encode(input).encode())
        return _decode(answer)

    async def send(
        self,
        operation: str,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        """Send a request and return its answer.

        Args:
            operation: What errors call it.
            method: Such as ``POST``.
            path: The path, encoded.
            query: The query's parameters.
            headers: Headers beside those that every request has, their names in lower case.
            body: The content.

        Raises:
            AwsError: If the service answers with an error.
            NoAnswerError: If it does not answer.
            NoCredentialsError: If there are no credentials.
        """
        encoded = urlencode(sorted((query or {}).items()), quote_via=quote, safe="")
        for attempt in range(1, self._attempts + 1):
            try:
                return await self._send(operation, method, self._base + path, encoded, headers or {}, body)
            except (AwsError, NoAnswerError) as error:
                final = isinstance(error, AwsError) and not error.passes()
                if final or attempt == self._attempts:
                    raise
            await asyncio.sleep(random.uniform(0, PAUSE_SECONDS * 2**attempt))
        raise AssertionError("no attempt")

    async def open(self) -> None:
        """Make a connection for the first request, which then need not wait for it.

        Raises:
            NoAnswerError: If there is none.
        """
        await self.transport.open()

    def copy(self) -> Api:
        """Return the same for another event loop, with connections and credentials of its own."""
        source = self._source.copy()
        return Api(
            self.service,
            connections=self._connections,
            attempts=self._attempts,
            patience=self._patience,
            place=self.place,
            source=source,
        )

    def close(self) -> None:
        """Close the connections."""
        self.transport.close()

    async def _send(
        self, operation: str, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes
    ) -> Answer:
        """Send a request once; again only if it was refused for its time or its credentials, and has others then."""
        signed_by = await self._source.get()
        target = f"{path}?{query}" if query else path
        corrected = renewed = False
        while True:
            request = Request(method, target, self._sign(signed_by, method, path, query, headers, body), body)
            answer = await self.transport.send(request)
            if answer.status < 300:
                return answer
            error = _error(operation, answer)
            if error.code in SKEWED and not corrected and self._correct_skew(answer):
                corrected = True
            elif error.code in REFUSED and not renewed:
                renewed, refused = True, signed_by
                signed_by = await self._source.get(refused=refused)
                if signed_by == refused:
                    raise error
            else:
                raise error

    def _sign(
        self, by: Credentials, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes
    ) -> dict[str, str]:
        at = time.time() + self._skew
        added = self._signer.sign(by, method, path, query, {"host": self._host, **headers}, body, at)
        return {**headers, **added}

    def _correct_skew(self, answer: Answer) -> bool:
        """Take over the service's time if this process's differs. Return True if it does."""
        try:
            theirs = parsedate_to_datetime(answer.headers["date"]).timestamp()
        except (KeyError, ValueError):
            return False
        if abs(theirs - time.time() - self._skew) < SKEW_SECONDS:
            return False
        self._skew = theirs - time.time()
        log.warning("the clock of this process is wrong by %.0f s: requests are signed for AWS's time", -self._skew)
        return True


def _encode_binary(value: object) -> str:
    if isinstance(value, bytes):
        return b64encode(value).decode()
    raise TypeError(f"{type(value).__name__} is no attribute value")


_encode = json.JSONEncoder(separators=(",", ":"), default=_encode_binary, check_circular=False).encode


def _decode_binary(value: dict[str, Any]) -> dict[str, Any]:
    """Read a binary attribute value. An item's own attribute may be called ``B`` too, and is a map then."""
    data = value.get("B")
    if isinstance(data, str) and len(value) == 1:
        value["B"] = b64decode(data)
    return value


_read = json.JSONDecoder(object_hook=_decode_binary).decode


def _decode(answer: Answer) -> dict[str, Any]:
    stated = answer.headers.get("x-amz-crc32")
    if stated is not None and stated != str(zlib.crc32(answer.body)):
        raise NoAnswerError("the answer is damaged: its checksum is another")
    try:
        output: dict[str, Any] = _read(answer.body.decode())
    except ValueError as error:
        raise NoAnswerError(f"the answer is not JSON: {error}") from error
    return output


def _error(operation: str, answer: Answer) -> AwsError:
    try:
        said = _decode(answer)
    except NoAnswerError:
        if answer.status < 500:
            raise
        said = {}  # by something in between
    told = said.get("__type") or answer.headers.get("x-amzn-errortype") or said.get("code") or f"HTTP {answer.status}"
    code = str(told).rpartition("#")[2].partition(":")[0]
    message = said.get("message") or said.get("Message") or ""
    return AwsError(operation, code, str(message), answer.status, said)
