"""What a function knows of its stack: one environment variable, ``ADAPTER_STACK``, that the shared template fills."""

from __future__ import annotations

import json
import os
from dataclasses import MISSING, dataclass, fields
from typing import Any, Final

from adapter.errors import AdapterError

VARIABLE: Final = "ADAPTER_STACK"


class ConfigurationError(AdapterError):
    """The function's environment lacks something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The stack's resources.

    Attributes:
        name: The application's name.
        invocations: The name of the table of invocations.
        objects: The name of the table of objects.
        schedules: The name of the schedule group for timers.
        schedule_role: The ARN of the role that schedules invoke functions with.
        dead_letters: The ARN of the queue for what could not be delivered.
        delays: The URL of the queue for short delays.
        longest_delay: The longest delay that goes to that queue, in seconds.
        handler_metrics: True to have metrics of each handler, which cost.
    """

    name: str
    invocations: str
    objects: str
    schedules: str
    schedule_role: str
    dead_letters: str
    delays: str
    longest_delay: int
    handler_metrics: bool = False

    @classmethod
    def from_environment(cls) -> Settings:
        """Read ``ADAPTER_STACK``.

        Raises:
            ConfigurationError: If it is not set, or not what the shared template makes of it.
        """
        told = variable(VARIABLE)
        names = [field.name for field in fields(cls) if field.default is MISSING]
        try:
            values: dict[str, Any] = json.loads(told)
            known = {field.name for field in fields(cls)} & set(values)
            return cls(**{name: values[name] for name in {*names, *known}})
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigurationError(
                f"the environment variable {VARIABLE} is not a JSON object with {', '.join(names)} ({error!r}): "
                "set it to the output Settings of the shared stack, from the same version of this library"
            ) from None


def variable(name: str) -> str:
    """Return an environment variable.

    Raises:
        ConfigurationError: If it is not set.
    """
    try:
        return os.environ[name]
    except KeyError:
        raise ConfigurationError(f"the environment variable {name} is not set: see docs/deploying.md") from None
