"""A deployed stack as its operators see it: its outputs, where it answers, and what signs requests to it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import boto3
import botocore.session
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError, ProfileNotFound

from adapter.errors import AdapterError

if TYPE_CHECKING:
    import httpx

SHARED: Final = "Settings"
"""The output that only the shared stack has."""


class StackError(AdapterError):
    """The stack cannot be found or read. The message says what to do.

    Attributes:
        missing: True if there is no such stack.
    """

    def __init__(self, message: str, *, missing: bool = False) -> None:
        super().__init__(message)
        self.missing = missing


@dataclass(frozen=True)
class DeployedStack:
    """A stack that contains the shared stack of the library, or is one.

    Attributes:
        name: The stack's name.
        region: Its region.
        outputs: The outputs of the shared stack, and over them the stack's own.
    """

    name: str
    region: str
    outputs: Mapping[str, str]
    _core: botocore.session.Session

    @property
    def url(self) -> str:
        """The services' base URL, without a slash at the end."""
        endpoint = os.environ.get("AWS_ENDPOINT_URL")
        if endpoint:  # an emulator's host name for an API may not resolve, so its gateway is addressed by path
            return f"{endpoint.rstrip('/')}/_aws/execute-api/{self.outputs['ApiId']}/$default"
        return self.outputs["ApiUrl"].rstrip("/")

    @cached_property
    def auth(self) -> httpx.Auth:
        """Signs requests to the stack's API."""
        return signer(self._core, self.region)

    def client(self, service: str) -> Any:
        """Return a boto3 client in the stack's region, with its operator's credentials."""
        return boto3.Session(botocore_session=self._core, region_name=self.region).client(service)  # type: ignore[call-overload]


def core_session(profile: str | None = None) -> botocore.session.Session:
    """Return a session with the credentials that boto3 finds, or with made-up ones for an emulator.

    Args:
        profile: A profile of the AWS configuration, instead of the environment's.

    Raises:
        StackError: If there is no such profile.
    """
    session = botocore.session.Session(profile=profile)
    try:
        session.get_scoped_config()
    except ProfileNotFound as error:
        raise StackError(f"{error}: `aws configure list-profiles` lists those that exist") from None
    if os.environ.get("AWS_ENDPOINT_URL") and not (
        profile or os.environ.get("AWS_ACCESS_KEY_ID") or os.environ.get("AWS_PROFILE")
    ):
        session.set_credentials("test", "test")  # an emulator wants a signature, and accepts any
    return session


def signer(session: botocore.session.Session, region: str | None = None) -> httpx.Auth:
    """Return what signs requests to an API with a session's credentials."""
    from adapter.client.sigv4 import SigV4

    return SigV4(region=region, session=session)


def find_stack(name: str, *, profile: str | None = None, region: str | None = None) -> DeployedStack:
    """Return a deployed stack by its name.

    Args:
        name: The stack's name: the application's, or the shared stack's.
        profile: A profile of the AWS configuration, instead of the environment's.
        region: The region, instead of the configured one.

    Raises:
        StackError: If it cannot be found or read.
    """
    core = core_session(profile)
    chosen = region or core.get_config_variable("region") or os.environ.get("AWS_REGION")
    if chosen is None and os.environ.get("AWS_ENDPOINT_URL"):
        chosen = "us-east-1"
    if chosen is None:
        raise StackError("no AWS region is set: give --region, or set AWS_REGION or a region in your profile")
    stack = DeployedStack(name, chosen, {}, core)
    try:
        outputs = _outputs(stack.client("cloudformation"), name)
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise StackError(
            f"{error}: log in (`aws sso login`), set AWS_PROFILE, or give --profile; `aws sts get-caller-identity` "
            "shows which credentials are used"
        ) from None
    except ClientError as error:
        raise _explained(error, name, chosen) from None
    except BotoCoreError as error:
        raise StackError(f"cannot read the stack {name} in {chosen}: {error}") from None
    if SHARED not in outputs:
        raise StackError(
            f"the stack {name} in {chosen} does not contain the shared stack of this library: it has no nested stack "
            f"with the output {SHARED}. Give --stack the name of the stack that does",
            missing=True,
        )
    return DeployedStack(name, chosen, outputs, core)


def _outputs(cloudformation: Any, name: str) -> dict[str, str]:
    """Return the stack's outputs, over those of the nested stack that is shared."""
    own = _own_outputs(cloudformation, name)
    if SHARED in own:
        return own
    for page in cloudformation.get_paginator("list_stack_resources").paginate(StackName=name):
        for resource in page["StackResourceSummaries"]:
            if resource["ResourceType"] == "AWS::CloudFormation::Stack":
                nested = _own_outputs(cloudformation, resource["PhysicalResourceId"])
                if SHARED in nested:
                    return nested | own
    return own


def _own_outputs(cloudformation: Any, name: str) -> dict[str, str]:
    description = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    return {output["OutputKey"]: output["OutputValue"] for output in description.get("Outputs", [])}


def _explained(error: ClientError, name: str, region: str) -> StackError:
    answer: Mapping[str, str] = error.response.get("Error", {})  # type: ignore[assignment]
    code, message = answer.get("Code", ""), answer.get("Message", "")
    if code == "ValidationError" and "does not exist" in message:
        return StackError(
            f"there is no stack {name} in {region}: check --stack, --region and the account of your credentials",
            missing=True,
        )
    if "AccessDenied" in code or code == "AccessDenied":
        return StackError(
            f"the credentials may not read the stack {name} in {region} ({message}). Allow them "
            "cloudformation:DescribeStacks and cloudformation:ListStackResources"
        )
    return StackError(f"cannot read the stack {name} in {region} ({code}): {message}")
