"""The root certificates that connections to AWS are checked against."""

from __future__ import annotations

import re
import ssl
from pathlib import Path

import botocore
import pytest

from adapter.aws.clients import trusted_roots
from adapter.aws.wire.tls import ROOTS

CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\n.*?-----END CERTIFICATE-----", re.DOTALL)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "AWS_ENDPOINT_URL", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)


def test_they_are_amazons() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(ROOTS)
    names = {dict(part[0] for part in found["subject"])["commonName"] for found in context.get_ca_certs()}
    assert names == {
        *(f"Amazon Root CA {n}" for n in (1, 2, 3, 4)),
        "Starfield Services Root Certificate Authority - G2",
    }
    every = (Path(botocore.__file__).parent / "cacert.pem").read_text()
    assert set(CERTIFICATE.findall(ROOTS.read_text())) < set(CERTIFICATE.findall(every))


def test_they_apply_to_awss_own_endpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    assert trusted_roots() == str(ROOTS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_CA_BUNDLE", "/opt/company.pem"),
        ("REQUESTS_CA_BUNDLE", "/opt/company.pem"),
        ("AWS_ENDPOINT_URL", "https://localhost.localstack.cloud:4566"),
        ("AWS_ENDPOINT_URL_DYNAMODB", "https://dynamodb.example.com"),
        ("AWS_REGION", "cn-north-1"),
    ],
)
def test_elsewhere_the_configuration_or_the_default_applies(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert trusted_roots() is None
