"""Unit and contract tests on each Python that the library supports, in environments of their own: ``nox``.

A session whose Python this machine does not have is skipped; in CI each has a job of its own.
"""

from __future__ import annotations

import nox

nox.options.error_on_missing_interpreters = False
nox.options.reuse_existing_virtualenvs = True


@nox.session(python=["3.11", "3.12", "3.13", "3.14"])
def tests(session: nox.Session) -> None:
    """What needs no emulator."""
    session.install("--editable", ".[test,lint]")  # the tests of a new project check its types
    paths = session.posargs or ("tests/unit", "tests/handlers", "tests/ingress", "tests/testing", "tests/contract")
    session.run("python", "-m", "pytest", "-q", "-m", "not dynamodb", *paths)
