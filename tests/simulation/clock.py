"""The time in a simulation: when it begins, and how far its clocks are apart."""

from __future__ import annotations

EPOCH = 1_700_000_000_000
"""Milliseconds: when every simulation begins."""

SKEW = 2_000
"""Milliseconds that two clocks differ by at most."""
