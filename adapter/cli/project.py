"""``adapter init``, ``adapter template`` and ``adapter pack``: a project of one's own."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any


def add_commands(commands: argparse._SubParsersAction[Any]) -> None:  # pyright: ignore[reportPrivateUsage]
    """Add the commands to the command line."""
    init = commands.add_parser(
        "init",
        help="create a project",
        description="Creates a project in a folder of its name: handlers, tests, and the templates to deploy them.",
    )
    init.add_argument("name", metavar="NAME", help="what the project and its stack are called")
    init.add_argument("--here", action="store_true", help="create it in the working directory")
    init.set_defaults(run=_init)
    template = commands.add_parser(
        "template",
        help="write the template of the shared stack",
        description="Writes adapter.yaml, the template of what an application's functions share, as this version of "
        "the library has it. Run it after an upgrade.",
    )
    template.add_argument("-o", "--output", metavar="FILE", default="adapter.yaml", help="where to (%(default)s)")
    template.set_defaults(run=_template)
    pack = commands.add_parser(
        "pack",
        help="make the packages of `sam build` smaller",
        description="Deletes what botocore knows of AWS services that are not used from the packages that `sam build` "
        "made, and compiles them for this version of Python. Optional, between `sam build` and `sam deploy`.",
    )
    pack.add_argument("--keep", action="append", default=[], metavar="SERVICE", help="an AWS service to keep, like s3")
    pack.add_argument("--build", default=".aws-sam/build", metavar="DIR", help="where they are (%(default)s)")
    pack.set_defaults(run=_pack)


def _init(options: argparse.Namespace) -> int:
    from adapter.project.new import ProjectError, create

    directory = Path() if options.here else Path(options.name)
    try:
        files = create(options.name, directory)
    except (OSError, ProjectError) as error:
        print(f"adapter init: {error}", file=sys.stderr)
        return 1
    for file in files:
        print(directory / file)
    print(f"\nNext: {'' if options.here else f'cd {options.name}, and '}see README.md")
    return 0


def _template(options: argparse.Namespace) -> int:
    from adapter.project.new import SHARED

    try:
        Path(options.output).write_text(SHARED.read_text())
    except OSError as error:
        print(f"adapter template: {error}", file=sys.stderr)
        return 1
    return 0


def _pack(options: argparse.Namespace) -> int:
    from adapter.project.packages import packages, precompile, prune

    try:
        for package in packages(Path(options.build)):
            prune(package, options.keep)
            precompile(package)
            print(package)
    except (OSError, ValueError) as error:
        print(f"adapter pack: {error}", file=sys.stderr)
        return 1
    return 0
