"""The command line of `tests/cli`, for the drills."""

from __future__ import annotations

from tests.cli.conftest import bare, cli

__all__ = ["bare", "cli"]
