"""The deployed stack, as its outputs and resources describe it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import boto3
from botocore.config import Config

NAME = "adapter"
"""The stack's name in samconfig.toml."""

LOCAL_REGION = "us-east-1"
"""Where a local AWS is, unless something else is asked for."""


@dataclass(frozen=True)
class Stack:
    """A stack that was deployed from `template.yaml`, on the local AWS at `endpoint` or, without one, on AWS."""

    name: str = NAME
    endpoint: str | None = None
    region: str = LOCAL_REGION

    @classmethod
    def from_environment(cls, name: str = NAME) -> Stack:
        """The one that AWS_ENDPOINT_URL leads to or, without it, the AWS configuration: environment or profile."""
        endpoint = os.environ.get("AWS_ENDPOINT_URL") or None
        named = os.environ.get("AWS_DEFAULT_REGION") or os.environ.get("AWS_REGION")
        region = named or boto3.Session().region_name or (LOCAL_REGION if endpoint else None)
        if region is None:
            raise SystemExit("no region: set AWS_DEFAULT_REGION, or one in the profile")
        return cls(name, endpoint, region)

    def client(self, service: str, **config: Any) -> Any:
        """A boto3 client for where the stack runs; `config` goes to botocore's Config."""
        return boto3.client(
            service,  # type: ignore[call-overload]  # the stubs have an overload per service name
            region_name=self.region,
            endpoint_url=self.endpoint,
            config=Config(**config),
            **(LOCAL_CREDENTIALS if self.endpoint else {}),
        )

    @cached_property
    def outputs(self) -> dict[str, str]:
        """The outputs of the stack and of the shared stack in it."""
        resource = self.client("cloudformation").describe_stack_resource(
            StackName=self.name, LogicalResourceId="Adapter"
        )
        return self._outputs(resource["StackResourceDetail"]["PhysicalResourceId"]) | self._outputs(self.name)

    def _outputs(self, name: str) -> dict[str, str]:
        description = self.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
        return {output["OutputKey"]: output["OutputValue"] for output in description.get("Outputs", [])}

    @cached_property
    def url(self) -> str:
        """The services' base URL, without a slash at the end."""
        if self.endpoint is None:
            return self.outputs["ApiUrl"]
        # Nothing resolves {api}.execute-api.localhost, so the local gateway is addressed by path.
        return f"{self.endpoint}/_aws/execute-api/{self.outputs['ApiId']}/$default"

    @property
    def tables(self) -> tuple[str, str]:
        """The names of the tables Invocations and Objects."""
        return self.outputs["InvocationsTable"], self.outputs["ObjectsTable"]

    @cached_property
    def functions(self) -> list[str]:
        """The names of the stack's functions."""
        pages = self.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=self.name)
        return sorted(
            resource["PhysicalResourceId"]
            for page in pages
            for resource in page["StackResourceSummaries"]
            if resource["ResourceType"] == "AWS::Lambda::Function"
        )


LOCAL_CREDENTIALS = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
"""What a local AWS is signed to with: it wants a signature and does not check whose."""
