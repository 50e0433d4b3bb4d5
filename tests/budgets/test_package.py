"""A function's package stays small."""

from __future__ import annotations

from bench.package import package_size

LARGEST = 7.0
"""MB, zipped, without bytecode. With bytecode, which takes longer to make, it is nearly twice as much."""


def test_a_package_is_small() -> None:
    rows = package_size(bytecode=False)
    assert rows[0]["MB zipped"] <= LARGEST, rows
