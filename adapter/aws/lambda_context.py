"""What Lambda tells an entry point of each request."""

from __future__ import annotations

from typing import Protocol


class LambdaContext(Protocol):
    """What Lambda says of an invocation: https://docs.aws.amazon.com/lambda/latest/dg/python-context.html."""

    @property
    def aws_request_id(self) -> str: ...

    def get_remaining_time_in_millis(self) -> int: ...
