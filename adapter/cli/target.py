"""Which server a command talks to: the development server, any URL, or a deployed stack."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import urlsplit

import typer

from adapter.cli.failures import Exit, Failure

if TYPE_CHECKING:
    import httpx

    from adapter.aws.deployed import DeployedStack

DEV: Final = "http://localhost:8080"
"""Where `adapter dev` listens."""

SERVER: Final = "Server"
"""The heading in help texts of the options that name the server."""

HERE: Final = "."
"""Stands for the stack that samconfig.toml in the working directory names."""

SAMCONFIG: Final = "samconfig.toml"


@dataclass(frozen=True)
class Target:
    """The server, as the options name it.

    Attributes:
        url: Its base URL, if that is given.
        stack: The name of a deployed stack, if that is given. ``.`` stands for the one that samconfig.toml names.
        profile: A profile of the AWS configuration.
        region: An AWS region.
    """

    url: str | None = None
    stack: str | None = None
    profile: str | None = None
    region: str | None = None

    @classmethod
    def from_options(
        cls,
        url: Annotated[
            str | None,
            typer.Option(
                "--url",
                help="The server's URL. The default is the development server, http://localhost:8080.",
                envvar="ADAPTER_URL",
                metavar="URL",
                rich_help_panel=SERVER,
            ),
        ] = None,
        stack: Annotated[
            str | None,
            typer.Option(
                help="A deployed stack, by its name; . for the one that samconfig.toml names. Requests are signed.",
                metavar="NAME",
                rich_help_panel=SERVER,
            ),
        ] = None,
        profile: Annotated[
            str | None, typer.Option(help="A profile of the AWS configuration.", metavar="NAME", rich_help_panel=SERVER)
        ] = None,
        region: Annotated[
            str | None, typer.Option("--region", help="The AWS region.", metavar="REGION", rich_help_panel=SERVER)
        ] = None,
    ) -> Target:
        """Return what the options say. ``--stack`` comes before ``ADAPTER_URL``.

        Raises:
            Failure: If they name two servers.
        """
        if stack is not None and url is not None:
            if url != os.environ.get("ADAPTER_URL"):
                raise Failure("give --url or --stack, not both", Exit.USAGE)
            url = None
        return cls(url, stack, profile, region)

    @cached_property
    def deployed(self) -> DeployedStack | None:
        """The stack; ``None`` if the server is named by its URL."""
        if self.stack is None:
            return None
        from adapter.aws.deployed import StackError, find_stack

        configured: Mapping[str, str] = {}
        if self.stack == HERE:
            configured = samconfig()
            if "stack_name" not in configured:
                raise Failure(f"{SAMCONFIG} in this folder names no stack: give --stack NAME", Exit.USAGE)
        name = configured.get("stack_name", self.stack)
        profile, region = (self.profile or configured.get("profile")), (self.region or configured.get("region"))
        try:
            return find_stack(name, profile=profile, region=region)
        except StackError as error:
            raise Failure(str(error), Exit.MISSING if error.missing else Exit.FAILED) from None

    @cached_property
    def base(self) -> str:
        """The server's base URL, without a slash at the end."""
        if self.deployed is not None:
            return self.deployed.url
        url = (self.url or DEV).rstrip("/")
        try:
            parts = urlsplit(url)
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Failure(f"--url starts with http:// or https:// and a host, as in {DEV}", Exit.USAGE)
        return url.removesuffix("/admin")

    @cached_property
    def auth(self) -> httpx.Auth | None:
        """What signs requests. A server on this machine is asked without a signature, unless a profile is given."""
        if self.deployed is not None:
            return self.deployed.auth
        if _is_loopback(self.base) and not (self.profile or self.region):
            return None
        from adapter.aws.deployed import StackError, core_session, signer

        try:
            return signer(core_session(self.profile), self.region)
        except StackError as error:
            raise Failure(str(error)) from None

    @property
    def options(self) -> str:
        """The options that lead here, for commands that a message suggests; with a space in front."""
        url = None if self.url == os.environ.get("ADAPTER_URL") else self.url
        given = {"--url": url, "--stack": self.stack, "--profile": self.profile, "--region": self.region}
        return "".join(f" {name} {value}" for name, value in given.items() if value)

    @property
    def advice(self) -> str:
        """What to do if nothing answers."""
        if self.url or self.stack:
            return "check the URL and your network"
        named = samconfig().get("stack_name") if Path(SAMCONFIG).exists() else None
        stack = f"--stack . for the deployed stack {named}" if named else "--stack NAME for a deployed stack"
        return f"start `adapter dev`, or give {stack}, or --url URL"


def samconfig(folder: Path | None = None) -> Mapping[str, str]:
    """Return the stack's name, region and profile, as far as samconfig.toml says them.

    Raises:
        Failure: If the file cannot be read.
    """
    file = (folder or Path()) / SAMCONFIG
    try:
        document: dict[str, Any] = tomllib.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise Failure(f"{file} cannot be read: {error}") from None
    found: dict[str, str] = {}
    for section in ("global", "deploy"):
        parameters: dict[str, Any] = document.get("default", {}).get(section, {}).get("parameters", {})
        found |= {name: parameters[name] for name in ("stack_name", "region", "profile") if name in parameters}
    return found


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
