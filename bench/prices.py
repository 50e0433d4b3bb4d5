"""List prices of us-east-1, on demand, in dollars; looked up on 2026-11-26.

- https://aws.amazon.com/dynamodb/pricing/on-demand/
- https://aws.amazon.com/lambda/pricing/ (durable functions among them)
- https://aws.amazon.com/eventbridge/pricing/
- https://aws.amazon.com/sqs/pricing/
- https://aws.amazon.com/step-functions/pricing/ (standard workflows)
"""

from __future__ import annotations

from typing import Final

MILLION: Final = 1_000_000

WRITE_UNIT: Final = 0.625 / MILLION
READ_UNIT: Final = 0.125 / MILLION

INVOCATION: Final = 0.20 / MILLION
GB_SECOND: Final = 16.6667 / MILLION
"""On x86_64; on arm64 a fifth less."""

SCHEDULE: Final = 1.00 / MILLION
"""One invocation by EventBridge Scheduler."""

QUEUE_REQUEST: Final = 0.40 / MILLION
"""One request to a standard queue of SQS."""

DURABLE_OPERATION: Final = 8.00 / MILLION
DURABLE_GB_WRITTEN: Final = 0.25
DURABLE_GB_MONTH: Final = 0.15

TRANSITION: Final = 25.00 / MILLION
"""One state transition of Step Functions."""
