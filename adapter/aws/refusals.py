"""What DynamoDB's errors mean to the engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from adapter.aws.tables import Item
from adapter.aws.wire import AwsError
from adapter.engine.ports import Contended, Misconfigured, TooLarge, Unavailable


class RefusedError(Exception):
    """Conditions do not hold. For each change whose condition failed, by its place, the item as it is."""

    def __init__(self, found: Mapping[int, Item | None]) -> None:
        super().__init__(found)
        self.found = found


TRANSIENT: Final = frozenset({
    "InternalServerError",
    "ProvisionedThroughputExceeded",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ServiceUnavailable",
    "Throttling",
    "ThrottlingError",
    "ThrottlingException",
    "TransactionConflict",
    "TransactionConflictException",
    "TransactionInProgressException",
})  # fmt: skip
"""What passes, among the codes of `errors
<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html>`_ and of a transaction's
cancellation reasons."""


SETUP: Final = {
    "AccessDeniedException": "allow it in the function's role; the template of the shared stack has the policies",
    "ResourceNotFoundException": "check the names of the tables in the function's environment, and its region",
    "UnrecognizedClientException": "check the function's credentials and region",
}
"""What to do about the codes that say that the function is not set up as it has to be."""


def meaning(error: AwsError) -> Exception:
    """Return what DynamoDB's error means to the engine. An error of this code's own stays as it is."""
    details: Mapping[str, Any] = error.details
    if error.code == "ConditionalCheckFailedException":
        return RefusedError({0: details.get("Item")})
    if error.code in SETUP:
        return Misconfigured(f"DynamoDB refuses this function: {error}: {SETUP[error.code]}")
    reasons: list[tuple[str, str]] = [(error.code, error.message)]
    if error.code == "TransactionCanceledException":
        cancelled = details.get("CancellationReasons", [])
        found = {i: each.get("Item") for i, each in enumerate(cancelled) if each["Code"] == "ConditionalCheckFailed"}
        if found:
            return RefusedError(found)
        reasons = [(each["Code"], each.get("Message") or "") for each in cancelled if each["Code"] != "None"]
        if any(code == "TransactionConflict" for code, _ in reasons):
            return Contended(str(error))
    if any(code.startswith("Validation") and "exceed" in message for code, message in reasons):
        return TooLarge(str(error))
    if error.status == 413:
        return TooLarge(str(error))
    if error.passes() or any(code in TRANSIENT for code, _ in reasons):
        return Unavailable(str(error))
    return error
