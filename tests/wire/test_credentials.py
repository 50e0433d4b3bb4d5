"""Credentials: of the environment, of a container's endpoint, of botocore; refreshed, rotated, refused."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from adapter.aws.wire import credentials
from adapter.aws.wire.credentials import Botocore, Container, Environment, NoCredentialsError, find
from adapter.aws.wire.signing import Credentials
from tests.wire.loopback import Behaviour, Loopback, Visit, loopback, saying


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (
        "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", credentials.FULL_URI,
        credentials.RELATIVE_URI, credentials.TOKEN, credentials.TOKEN_FILE,
    ):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def told(key: str, lasts: float) -> Behaviour:
    expires = datetime.fromtimestamp(time.time() + lasts, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    answer = {"AccessKeyId": key, "SecretAccessKey": "s", "Token": "t", "Expiration": expires}
    return saying(json.dumps(answer).encode())


def contained(monkeypatch: pytest.MonkeyPatch, server: Loopback) -> Container:
    monkeypatch.setenv(credentials.FULL_URI, f"http://127.0.0.1:{server.port}/v1/credentials?id=a")
    source = find()
    assert isinstance(source, Container)
    return source


async def test_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    monkeypatch.setenv(credentials.FULL_URI, "http://127.0.0.1/")
    source = find()
    assert isinstance(source, Environment)
    assert await source.get() == Credentials("k", "s")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "t")
    assert await source.get() == Credentials("k", "s", "t")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(NoCredentialsError, match="AWS_SECRET_ACCESS_KEY"):
        await source.get()


def test_the_environments_need_no_botocore() -> None:
    code = "import sys, adapter.aws.wire; print('botocore' in sys.modules, 'urllib3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False False\n"


class TestContainer:
    async def test_it_is_asked_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(credentials.TOKEN, "pass")
        async with loopback(told("k", 3600)) as server:
            source = contained(monkeypatch, server)
            found = await asyncio.gather(*(source.get() for _ in range(5)))
        assert found == [Credentials("k", "s", "t")] * 5
        (visit,) = server.visits
        assert visit.head == "GET /v1/credentials?id=a HTTP/1.1"
        assert visit.headers["authorization"] == "pass"

    async def test_the_token_may_be_in_a_file(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "token").write_text("one\n")
        monkeypatch.setenv(credentials.TOKEN_FILE, str(tmp_path / "token"))
        async with loopback(told("k", 0)) as server:
            source = contained(monkeypatch, server)
            await source.get()
            (tmp_path / "token").write_text("two\n")
            await source.get()
        assert [visit.headers["authorization"] for visit in server.visits] == ["one", "two"]

    async def test_what_expires_soon_is_refreshed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with loopback(told("old", credentials.REFRESH_SECONDS - 1), told("new", 3600)) as server:
            source = contained(monkeypatch, server)
            assert [(await source.get()).access_key for _ in range(3)] == ["old", "new", "new"]

    async def test_what_lasts_is_kept_if_there_is_nothing_newer(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with loopback(told("old", 100), saying(status=500)) as server:
            source = contained(monkeypatch, server)
            assert [(await source.get()).access_key for _ in range(3)] == ["old"] * 3
            assert len(server.visits) == 2
        assert "are kept" in caplog.text

    async def test_what_has_expired_is_not_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with loopback(told("old", -1), saying(status=500)) as server:
            source = contained(monkeypatch, server)
            await source.get()
            with pytest.raises(NoCredentialsError, match="answered 500"):
                await source.get()

    async def test_what_aws_refuses_is_refreshed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with loopback(told("old", 3600), told("new", 3600)) as server:
            source = contained(monkeypatch, server)
            old = await source.get()
            found = await asyncio.gather(source.get(refused=old), source.get(refused=old))
            assert {each.access_key for each in found} == {"new"}
            assert len(server.visits) == 2

    @pytest.mark.parametrize("body", [b"no", b"{}", b"[]", b'{"AccessKeyId": "k", "SecretAccessKey": "hidden"}'])
    async def test_another_answer(self, monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
        async with loopback(saying(body)) as server:
            with pytest.raises(NoCredentialsError, match="something else") as raised:
                await contained(monkeypatch, server).get()
        assert "hidden" not in str(raised.value)

    async def test_no_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def hang_up(visit: Visit) -> None:
            visit.hang_up()

        async with loopback(hang_up) as server:
            with pytest.raises(NoCredentialsError, match="closed the connection"):
                await contained(monkeypatch, server).get()

    async def test_other_hosts_are_not_asked_in_plain_http(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(credentials.FULL_URI, "http://example.com/credentials")
        with pytest.raises(NoCredentialsError, match=r"example\.com.*loopback"):
            await Container().get()

    async def test_a_relative_uri(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with loopback(told("k", 3600)) as server:
            monkeypatch.setattr(credentials, "CONTAINER_HOST", f"http://127.0.0.1:{server.port}")
            monkeypatch.setenv(credentials.RELATIVE_URI, "/v2/x")
            assert (await find().get()).access_key == "k"
        assert server.visits[0].head.startswith("GET /v2/x ")


class TestBotocore:
    async def test_a_profile(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "credentials").write_text("[work]\naws_access_key_id=k\naws_secret_access_key=s\n")
        monkeypatch.setenv("AWS_PROFILE", "work")
        source = find()
        assert isinstance(source, Botocore)
        assert await source.get() == Credentials("k", "s")

    async def test_none(self) -> None:
        with pytest.raises(NoCredentialsError, match="set AWS_PROFILE"):
            await find().get()

    async def test_no_such_profile(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_PROFILE", "work")
        with pytest.raises(NoCredentialsError, match="work"):
            await find().get()
