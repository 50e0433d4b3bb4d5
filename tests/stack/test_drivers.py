"""The registrar and drivers of SDKs' functions: a new version of the function needs one of its driver."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.stack.conftest import Lambda, alias, listed

DRIVER = alias("driver")
DRIVEN = DRIVER.removesuffix(":live")


def driving(version: int, sdk: int) -> dict[str, Any]:
    """The properties of a deployment of a driver's version, and a version of the SDK's function."""
    return {"Functions": [{"Alias": DRIVER, "Version": f"{DRIVER[:-4]}{version}", "Endpoint": f"arn:sdk:{sdk}"}]}


def updated(functions: Lambda, sdk: int) -> None:
    """Have CloudFormation set the variable of the driver: SAM publishes no version."""
    functions.endpoints[DRIVEN] = f"arn:sdk:{sdk}"


@pytest.fixture
def driven(registrar: ModuleType, functions: Lambda) -> Lambda:
    """A deployed driver: its version 1 invokes version 1 of the SDK's function."""
    functions.endpoints |= {DRIVEN: "arn:sdk:1", f"{DRIVEN}:1": "arn:sdk:1"}
    functions.services |= {f"{DRIVEN}:{version}": ["Greeter"] for version in range(1, 9)}
    registrar.run("Create", driving(1, 1), {})
    assert functions.calls == [("register", f"{DRIVEN}:1", DRIVER, "")]
    assert functions.aliases == {(DRIVEN, "live"): "1"}
    functions.calls.clear()
    return functions


def test_a_new_version_of_the_sdks_function_publishes_one_of_its_driver(registrar: ModuleType, driven: Lambda) -> None:
    updated(driven, sdk=2)
    registrar.run("Update", driving(1, 2), driving(1, 1))
    assert driven.calls == [("register", f"{DRIVEN}:2", DRIVER, "")]
    assert driven.endpoints[f"{DRIVEN}:2"] == "arn:sdk:2"
    assert driven.awaited == [(DRIVEN, "2")]  # a version that is not active yet cannot be invoked
    assert driven.aliases == {(DRIVEN, "live"): "2"}
    assert (DRIVEN, "2") in driven.configs
    registrar.run("Update", driving(1, 2), driving(1, 2))  # because another function has changed
    assert driven.aliases == {(DRIVEN, "live"): "2"}


def test_a_rollback_leads_back_to_the_former_version_of_both(registrar: ModuleType, driven: Lambda) -> None:
    updated(driven, sdk=2)
    registrar.run("Update", driving(1, 2), driving(1, 1))
    updated(driven, sdk=1)
    registrar.run("Update", driving(1, 1), driving(1, 2))
    assert driven.aliases == {(DRIVEN, "live"): "1"}
    assert driven.calls[-1] == ("register", f"{DRIVEN}:1", DRIVER, "")


def test_a_rollback_after_versions_that_sam_did_not_publish(registrar: ModuleType, driven: Lambda) -> None:
    updated(driven, sdk=2)
    registrar.run("Update", driving(1, 2), driving(1, 1))
    updated(driven, sdk=3)
    registrar.run("Update", driving(1, 3), driving(1, 2))
    updated(driven, sdk=2)
    registrar.run("Update", driving(1, 2), driving(1, 3))
    version = driven.aliases[DRIVEN, "live"]
    assert driven.endpoints[f"{DRIVEN}:{version}"] == "arn:sdk:2"


def test_a_driver_that_is_refused_stays_on_its_former_version(registrar: ModuleType, driven: Lambda) -> None:
    updated(driven, sdk=2)
    driven.broken.add(f"{DRIVEN}:2")
    with pytest.raises(RuntimeError, match="app_driver:2 did not register: no module x"):
        registrar.run("Update", driving(1, 2), driving(1, 1))
    assert driven.aliases == {(DRIVEN, "live"): "1"}


def test_a_driver_that_is_listed_without_its_endpoint(registrar: ModuleType, driven: Lambda) -> None:
    with pytest.raises(ValueError, match="app_driver is listed without an Endpoint: add the value of its variable"):
        registrar.run("Update", listed((DRIVER, 1)), driving(1, 1))


def test_a_driver_that_is_still_updated_is_waited_for(
    registrar: ModuleType, driven: Lambda, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    def sleep(pause: float) -> None:
        pauses.append(pause)
        if len(pauses) == 2:
            updated(driven, sdk=2)

    monkeypatch.setattr(registrar.time, "sleep", sleep)
    driven.updating = 1
    registrar.run("Update", driving(1, 2), driving(1, 1))
    assert pauses == [1, 3]
    assert driven.calls == [("register", f"{DRIVEN}:2", DRIVER, "")]
    driven.updating = 4
    updated(driven, sdk=3)
    with pytest.raises(ClientError):
        registrar.run("Update", driving(1, 3), driving(1, 2))


@pytest.mark.parametrize("variable", ["arn:sdk:1", None])
def test_a_driver_with_another_endpoint_than_is_listed(
    registrar: ModuleType, driven: Lambda, variable: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registrar.time, "sleep", lambda _: None)
    if variable is None:  # it is no driver at all
        driven.endpoints.clear()
        driven.endpoints |= {DRIVEN: "", f"{DRIVEN}:1": ""}
    with pytest.raises(ValueError, match="app_driver has another ADAPTER_ENDPOINT than the Endpoint that is listed"):
        registrar.run("Update", driving(1, 2), driving(1, 1))
    assert not driven.calls
