"""Requests that are signed, so that an endpoint accepts those of one runtime only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import restate
from botocore.exceptions import NoCredentialsError
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from adapter.aws import clients, driver
from adapter.aws.settings import ConfigurationError
from adapter.errors import DefinitionError
from adapter.local.endpoints import Endpoints
from adapter.local.options import UnservableError
from adapter.registry import Registry
from adapter.restate.apps import AppEndpoint
from adapter.restate.endpoints import Endpoint, UnreachableError
from adapter.restate.http import HttpEndpoint
from adapter.restate.identity import Identity
from adapter.restate.lambdas import LambdaEndpoint
from tests.restate import golang, node
from tests.restate.hosting import hosted
from tests.restate.restarting import counter
from tests.restate.sandbox import sandboxed_python
from tests.restate.serving import served_python


def pem(key: Any) -> bytes:
    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def new_identity(file: Path) -> str:
    """Write a new key to a file, and return its public part."""
    file.write_bytes(pem(Ed25519PrivateKey.generate()))
    return Identity(file.read_bytes()).public


Reach = Callable[[Identity | None, bool], Endpoint]
"""Makes an endpoint whose requests are signed, or not; and whether they are streams where it takes some."""


@contextmanager
def python_app(key: str) -> Iterator[Reach]:
    app = restate.app(services=[counter], identity_keys=[key])
    yield lambda signer, duplex: AppEndpoint(app, identity=signer, duplex=duplex)


@contextmanager
def python_over_http(key: str) -> Iterator[Reach]:
    with served_python("tests.restate.restarting:app", IDENTITY_KEY=key) as served:
        yield lambda signer, duplex: HttpEndpoint(served.url, identity=signer, duplex=duplex)


@contextmanager
def python_over_http1(key: str) -> Iterator[Reach]:
    with served_python("tests.restate.restarting:app", server="uvicorn", IDENTITY_KEY=key) as served:
        yield lambda signer, _: HttpEndpoint(served.url, identity=signer)


@contextmanager
def typescript_over_http(key: str) -> Iterator[Reach]:
    with node.served("restarting.ts", identity=key) as served:
        yield lambda signer, duplex: HttpEndpoint(served.url, identity=signer, duplex=duplex)


@contextmanager
def typescript_on_lambda(key: str) -> Iterator[Reach]:
    with node.sandboxed("restarting.ts", identity=key) as sandbox:
        yield lambda signer, _: LambdaEndpoint("sandbox", sandbox, identity=signer)


@contextmanager
def python_on_lambda(key: str) -> Iterator[Reach]:
    with sandboxed_python("tests.restate.restarting:app", IDENTITY_KEY=key) as sandbox:
        yield lambda signer, _: LambdaEndpoint("sandbox", sandbox, identity=signer)


@contextmanager
def go_over_http(key: str) -> Iterator[Reach]:
    with golang.served("restarting", identity=key) as served:
        yield lambda signer, duplex: HttpEndpoint(served.url, identity=signer, duplex=duplex)


@contextmanager
def go_over_http1(key: str) -> Iterator[Reach]:
    with golang.served("restarting", port="http1", identity=key) as served:
        yield lambda signer, _: HttpEndpoint(served.url, identity=signer)


@contextmanager
def go_on_lambda(key: str) -> Iterator[Reach]:
    with golang.sandboxed("restarting", identity=key) as sandbox:
        yield lambda signer, _: LambdaEndpoint("sandbox", sandbox, identity=signer)


SERVES = [python_app, python_over_http, python_over_http1, typescript_over_http, typescript_on_lambda, python_on_lambda]

if golang.GO:
    SERVES += [go_over_http, go_over_http1, go_on_lambda]


@asynccontextmanager
async def closing(endpoint: Endpoint) -> AsyncIterator[Endpoint]:
    try:
        yield endpoint
    finally:
        if isinstance(endpoint, HttpEndpoint):
            await endpoint.close()


@pytest.mark.parametrize("serve", SERVES)
async def test_an_endpoint_accepts_only_what_its_key_has_signed(
    serve: Callable[[str], AbstractContextManager[Reach]],
) -> None:
    ours, other = (Identity(pem(Ed25519PrivateKey.generate())) for _ in range(2))
    with serve(ours.public) as reach:
        for duplex in (False, True):
            async with closing(reach(ours, duplex)) as endpoint, hosted(endpoint) as host:
                assert await host.call(f"Counter/{duplex}/add") == 1
        for signer in (None, other):
            async with closing(reach(signer, True)) as endpoint:
                with pytest.raises(UnreachableError, match="another identity key"):
                    await endpoint.discover()


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (b"no key", "no private key in PEM"),
        (pem(generate_private_key(65537, 1024)), "no ed25519 key: make one with `openssl"),
    ],
)
def test_a_key_that_cannot_be_used_is_refused(key: bytes, said: str, tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(key)
    with pytest.raises(DefinitionError, match=said):
        Identity(key)
    with pytest.raises(UnservableError, match=f"key.pem: the identity key is {said}"):
        Endpoints((), Registry(), print, key=file)
    with pytest.raises(UnservableError, match="cannot be read: No such file"):
        Endpoints((), Registry(), print, key=tmp_path / "none.pem")


class Secrets:
    """Secrets Manager, with one secret."""

    def __init__(self, secret: bytes | Exception) -> None:
        self._secret = secret

    def client(self, service: str, **_: int) -> Secrets:
        assert service == "secretsmanager"
        return self

    def get_secret_value(self, SecretId: str) -> dict[str, str]:  # noqa: N803
        assert SecretId == "restate/identity"
        if isinstance(self._secret, Exception):
            raise self._secret
        return {"SecretString": self._secret.decode()}


def test_a_driver_signs_with_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    assert driver.identity() is None
    monkeypatch.setenv("ADAPTER_IDENTITY_KEY", "restate/identity")
    key = pem(Ed25519PrivateKey.generate())
    for secret, said in ((b"", "no private key in PEM"), (NoCredentialsError(), "cannot be read: Unable to locate")):
        monkeypatch.setattr(clients, "make_client", Secrets(secret).client)
        with pytest.raises(ConfigurationError, match=f"the secret that ADAPTER_IDENTITY_KEY names.*{said}"):
            driver.identity()
    monkeypatch.setattr(clients, "make_client", Secrets(key).client)
    identity = driver.identity()
    assert identity is not None
    assert identity.public == Identity(key).public
