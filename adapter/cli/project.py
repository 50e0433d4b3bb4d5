"""``adapter init``, ``dev``, ``stubs``, ``openapi``, ``template`` and ``pack``: commands for developers."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import typer

from adapter.cli.api import Api
from adapter.cli.failures import Exit, Failure
from adapter.cli.options import remote
from adapter.cli.target import Target

DESCRIPTION: Final = "/restate/openapi.json"


def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the project and its stack are called.")],
    here: Annotated[bool, typer.Option("--here", help="Create it in the working directory.")] = False,
) -> None:
    """Create a project in a folder of its name: handlers, tests, and the templates to deploy them."""
    from adapter.project.new import ProjectError, create

    directory = Path() if here else Path(name)
    try:
        files = create(name, directory)
    except (OSError, ProjectError) as error:
        raise Failure(str(error)) from None
    for file in files:
        print(directory / file)
    print(f"\nNext: {'' if here else f'cd {name}, and '}see README.md")


def template(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write it.")] = Path(
        "adapter.yaml"
    ),
) -> None:
    """Write the template of the shared stack, as this version of the library has it. Run it after an upgrade."""
    from adapter.project.new import SHARED

    try:
        output.write_text(SHARED.read_text())
    except OSError as error:
        raise Failure(str(error)) from None


def pack(
    keep: Annotated[
        list[str] | None, typer.Option(metavar="SERVICE", help="An AWS service to keep, such as s3. Repeat it.")
    ] = None,
    build: Annotated[Path, typer.Option(metavar="DIR", help="The folder that `sam build` made.")] = Path(
        ".aws-sam/build"
    ),
) -> None:
    """Make the packages of `sam build` smaller and faster to start. Optional, before `sam deploy`."""
    from adapter.project.packages import packages, precompile, prune

    try:
        for package in packages(build):
            prune(package, keep or ())
            precompile(package)
            print(package)
    except (OSError, ValueError) as error:
        raise Failure(str(error)) from None


@remote
def stubs(
    target: Target,
    source: Annotated[
        str | None, typer.Argument(metavar="[URL|FILE]", help="Where the services are, or their OpenAPI document.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it to a file.")] = None,
) -> None:
    """Print a module of typed contracts for callers, made of the services' OpenAPI document."""
    from adapter.cli.stubs import generate

    server = replace(target, url=source) if source else target
    try:
        document = json.loads(Path(source).read_text()) if source and Path(source).is_file() else description(server)
        write(generate(document, source or server.base), output)
    except ValueError as error:
        raise Failure(f"{source or server.base}: {error}") from None


@remote
def openapi(
    target: Target,
    admin: Annotated[bool, typer.Option("--admin", help="Of the admin API, in place of the services'.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it to a file.")] = None,
) -> None:
    """Print the OpenAPI document of the services, or of the admin."""
    document = description(target, "/admin/openapi.json" if admin else DESCRIPTION)
    write(json.dumps(document, indent=2, ensure_ascii=False) + "\n", output)


def description(target: Target, place: str = DESCRIPTION) -> Any:
    """Return an OpenAPI document of a server. Its URL may also be the document's own.

    Raises:
        Failure: If there is none.
    """
    api = Api(target)
    try:
        return api.document("GET", target.base if target.base.endswith(".json") else place)
    finally:
        api.close()


def write(text: str, file: Path | None) -> None:
    """Print a text, or write it to a file."""
    if file is None:
        print(text, end="")
        return
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Failure(f"{file} cannot be written: {error.strerror}") from None


def dev(
    modules: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODULE[:NAME]...", help="What to import, and perhaps one name in it."),
    ] = None,
    endpoint: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="The endpoint of a Restate SDK to serve as well. Repeat it for more."),
    ] = None,
    identity_key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The private key that signs requests to endpoints: ed25519, in PEM."),
    ] = None,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 for a free one.")] = 8080,
    allow_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Another name to be called by. Repeat it for more.")
    ] = None,
    cors: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN",
            help="An origin whose pages may call handlers, such as https://app.example, or * for all. Repeat it.",
        ),
    ] = None,
    persist: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep state in a file, so that it survives a restart.")
    ] = None,
    console: Annotated[bool, typer.Option("--console", help="Open the console in the browser.")] = False,
    show_replays: Annotated[
        bool, typer.Option("--show-replays", help="Show log lines again when a replay writes them.")
    ] = False,
    no_reload: Annotated[bool, typer.Option("--no-reload", help="Do not restart when source changes.")] = False,
) -> None:
    """Serve the definitions in modules on this machine, again after each change of their source.

    State is in memory and lost at a restart, unless --persist names a file, or AWS_ENDPOINT_URL a DynamoDB.
    """
    try:
        import uvicorn  # noqa: F401  # pyright: ignore[reportUnusedImport]
        import watchfiles  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ModuleNotFoundError as error:
        raise Failure(f"{error.name} is not installed: pip install 'serverless-adapter[cli]'") from None
    from adapter.cli.dev import run
    from adapter.local.options import Options

    if not modules and not endpoint:
        raise Failure("give a module to serve, or an --endpoint", Exit.USAGE)
    options = Options(
        modules=tuple(modules or ()),
        endpoints=tuple(map(_url, endpoint or ())),
        hosts=(host, *(allow_host or ())),
        cors=tuple(map(_origin, cors or ())),
        replays=show_replays,
        identity=identity_key.absolute() if identity_key else None,
        persist=persist.absolute() if persist else None,
    )
    sys.stdout.flush()
    raise typer.Exit(run(options, host, port, reload=not no_reload, console=console))


def _url(text: str) -> str:
    """Return the URL of an endpoint."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise Failure(f"--endpoint {text!r} is not a URL such as http://localhost:9080", Exit.USAGE)
    return text.rstrip("/")


def _origin(text: str) -> str:
    """Return an origin as browsers send it: `RFC 6454 <https://www.rfc-editor.org/rfc/rfc6454>`_."""
    parts = urlsplit(text)
    if text != "*" and (parts.scheme not in ("http", "https") or text != f"{parts.scheme}://{parts.netloc}"):
        raise Failure(f"--cors {text!r} is not an origin: give scheme, host and port only, or *", Exit.USAGE)
    return text
