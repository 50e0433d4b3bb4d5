"""The root certificates that connections to AWS are checked against."""

from __future__ import annotations

import re
import ssl
from pathlib import Path

import botocore
import pytest

from adapter.aws.wire import tls
from adapter.aws.wire.tls import ROOTS

CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\n.*?-----END CERTIFICATE-----", re.DOTALL)


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


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


def trusted(host: str) -> int:
    return len(tls.context(host).get_ca_certs())


@pytest.mark.parametrize("host", ["dynamodb.eu-central-1.amazonaws.com", "lambda.us-east-1.api.aws"])
def test_they_apply_to_awss_own_endpoints(host: str) -> None:
    assert trusted(host) == 5
    assert tls.context(host) is tls.context("sqs.eu-west-1.amazonaws.com")


@pytest.mark.parametrize(
    "host", ["dynamodb.cn-north-1.amazonaws.com.cn", "localhost.localstack.cloud", "evilamazonaws.com"]
)
def test_elsewhere_the_systems_apply(host: str) -> None:
    assert trusted(host) == len(ssl.create_default_context().get_ca_certs())


@pytest.mark.parametrize("name", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
def test_the_configured_ones_apply_everywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    (tmp_path / "company.pem").write_text(CERTIFICATE.findall(ROOTS.read_text())[0])
    monkeypatch.setenv(name, str(tmp_path / "company.pem"))
    for host in ("dynamodb.eu-central-1.amazonaws.com", "localhost"):
        assert trusted(host) == 1
