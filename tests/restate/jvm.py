"""Runs the Java test services, where the SDK's jars can be had.

The environment variable `JAVA_SDK_CLASSPATH` has their files: those of `dev.restate:sdk-java-lambda` and of what it
needs, as `mvn dependency:build-classpath` prints them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from tests.restate.building import built, run
from tests.restate.sandbox import LambdaSandbox, running

SOURCES: Final = Path(__file__).parent / "java"

CLASSPATH: Final = os.environ.get("JAVA_SDK_CLASSPATH", "")

SDK: Final = "2.9.3"
"""The version of the SDK that the services were tried with."""

VERSIONS: Final = (5, 6)
"""The versions of the protocol that the SDK speaks without its native library, which Java 23 and later load."""


@cache
def build() -> Path:
    """Build a jar, and return it. The tests are skipped where there is no SDK."""
    if not CLASSPATH:
        pytest.skip("the variable JAVA_SDK_CLASSPATH is not set, which has the jars of Restate's Java SDK")
    return built(SOURCES, _compile_to)


def _compile_to(jar: Path) -> None:
    with tempfile.TemporaryDirectory() as classes:
        sources = [str(each) for each in SOURCES.glob("*.java")]
        run(["javac", "-parameters", "-proc:none", "-cp", CLASSPATH, "-d", classes, *sources], SOURCES, pytest.fail)
        run(["jar", "--create", "--file", str(jar), "-C", classes, "."], SOURCES, pytest.fail)


@contextmanager
def sandboxed(program: str = "services") -> Iterator[LambdaSandbox]:
    """Run the SDK's Lambda handler in a process of its own."""
    classpath = os.pathsep.join([str(build()), CLASSPATH])
    with running(["java", "-XX:TieredStopAtLevel=1", "-cp", classpath, "Host", program], SOURCES) as sandbox:
        yield sandbox
