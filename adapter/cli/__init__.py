"""The command line: ``adapter``, or ``python -m adapter``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from urllib.parse import urlsplit

from adapter.cli import project


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command, and end the process with its exit code."""
    parser = argparse.ArgumentParser(prog="adapter", description="Durable handlers.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    dev = commands.add_parser(
        "dev",
        help="serve handlers on this machine",
        description="Serves the definitions in modules, again after each change of their source. State is in memory, "
        "or, where AWS_ENDPOINT_URL is set, in DynamoDB there.",
    )
    dev.add_argument("modules", nargs="+", metavar="MODULE[:NAME]", help="what to import, and perhaps one name in it")
    dev.add_argument("--host", default="127.0.0.1", help="the address to listen on (%(default)s)")
    dev.add_argument("--port", type=int, default=8080, help="the port; 0 for a free one (%(default)s)")
    dev.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="another name to be called by; may be repeated",
    )
    dev.add_argument(
        "--cors",
        type=_origin,
        action="append",
        default=[],
        metavar="ORIGIN",
        help="an origin whose pages may call handlers, such as https://app.example, or * for all; may be repeated",
    )
    dev.add_argument("--show-replays", action="store_true", help="show log lines again when a replay writes them")
    dev.add_argument("--no-reload", action="store_true", help="leave it as it is when source changes")
    dev.set_defaults(run=_dev)
    stubs = commands.add_parser(
        "stubs",
        help="print a deployed stack's services as typed contracts",
        description="Prints a module of contracts and types for callers, made of the stack's OpenAPI document.",
    )
    stubs.add_argument("url", metavar="URL", help="where the services are")
    stubs.add_argument("-o", "--output", metavar="FILE", help="write it to a file")
    stubs.set_defaults(run=_stubs)
    project.add_commands(commands)
    options = parser.parse_args(arguments)
    sys.exit(options.run(options))


def _dev(options: argparse.Namespace) -> int:
    try:
        import uvicorn  # noqa: F401  # pyright: ignore[reportUnusedImport]
        import watchfiles  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ModuleNotFoundError as error:
        sys.exit(f"adapter dev: {error.name} is not installed: pip install 'serverless-adapter[dev]'")
    from adapter.cli.dev import run
    from adapter.local.options import Options

    asked = Options(
        modules=tuple(options.modules),
        hosts=(options.host, *options.allow_host),
        cors=tuple(options.cors),
        replays=options.show_replays,
    )
    return run(asked, options.host, options.port, reload=not options.no_reload)


def _origin(text: str) -> str:
    """Return an origin as browsers send it: `RFC 6454 <https://www.rfc-editor.org/rfc/rfc6454>`_."""
    parts = urlsplit(text)
    if text != "*" and (parts.scheme not in ("http", "https") or text != f"{parts.scheme}://{parts.netloc}"):
        raise argparse.ArgumentTypeError(f"{text!r} is not an origin: give scheme, host and port only, or *")
    return text


def _stubs(options: argparse.Namespace) -> int:
    from adapter.cli.stubs import run

    return run(options.url, options.output)
