"""The tree of commands, and how a command ends."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Annotated, Any

import typer
from typer.main import get_command

from adapter.cli import acting, calls, doctor, invocations, keys, logs, outside, project, stack
from adapter.cli.failures import Exit, Failure
from adapter.cli.text import visible

DEVELOP, CALL, INVOCATIONS, STACK = "Develop", "Call", "Invocations and keys", "Stack"

NAME = "adapter"

app = typer.Typer(
    name=NAME,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 conflict.",
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(version("serverless-adapter"))
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Durable handlers: develop them, call them, operate them."""


for command in (project.init, project.dev, project.pack, project.template, project.stubs, project.openapi):
    app.command(rich_help_panel=DEVELOP)(command)
for command in (calls.call, calls.send, outside.signal):
    app.command(rich_help_panel=CALL)(command)
app.add_typer(outside.awakeable, name="awakeable", rich_help_panel=CALL)
app.add_typer(outside.promise, name="promise", rich_help_panel=CALL)
invocations.app.command()(logs.logs)
for command in (acting.cancel, acting.kill, acting.pause, acting.resume, acting.restart, acting.purge):
    invocations.app.command()(command)
app.add_typer(invocations.app, name="invocations", rich_help_panel=INVOCATIONS)
app.add_typer(invocations.app, name="inv", hidden=True)
app.add_typer(keys.keys, name="keys", rich_help_panel=INVOCATIONS)
app.add_typer(keys.state, name="state", rich_help_panel=INVOCATIONS)
app.command(rich_help_panel=INVOCATIONS)(stack.deadlocks)
app.add_typer(stack.services, name="services", rich_help_panel=STACK)
app.add_typer(stack.deployments, name="deployments", rich_help_panel=STACK)
app.add_typer(stack.dead_letters, name="dead-letters", rich_help_panel=STACK)
for command in (doctor.doctor, stack.console):
    app.command(rich_help_panel=STACK)(command)


@cache
def tree() -> Any:
    """Return the commands as the parser has them."""
    return get_command(app)


def run(arguments: Sequence[str]) -> int:
    """Run a command, print its error if there is one, and return its exit code."""
    try:
        code = tree().main(list(arguments), prog_name=NAME, standalone_mode=False)
    except Failure as failure:
        return _tell(arguments, failure)
    except typer.TyperException as error:  # what the command line itself refuses
        if not error.format_message():  # a group without a command: its help is printed
            return Exit.USAGE
        return _tell(arguments, Failure(_usage(error), Exit.USAGE))
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:  # what reads the output has ended, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FAILED
    return code if isinstance(code, int) else Exit.DONE


def _tell(arguments: Sequence[str], failure: Failure) -> int:
    if _asks_for_json(arguments):
        told = {"error": {"message": failure.message, "exit_code": int(failure.code), **failure.details}}
        print(json.dumps(told, ensure_ascii=False), file=sys.stderr)
    else:
        print(f"{_called(arguments)}: {visible(failure.message)}", file=sys.stderr)
    return failure.code


def _called(arguments: Sequence[str]) -> str:
    """Return the name of the command, as it was called."""
    words, command = [NAME], tree()
    for word in arguments:
        known: Mapping[str, Any] = getattr(command, "commands", {})
        if word not in known:
            break
        words.append(word)
        command = known[word]
    return " ".join(words)


def _usage(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    advice = f"See {context.command_path} --help" if context is not None else ""
    message = error.format_message().replace("is not a valid int range", "is not a whole number")
    if message and not message.endswith("."):
        message += "."
    return f"{message} {advice}".strip()


def _asks_for_json(arguments: Sequence[str]) -> bool:
    """Return True if errors are to be JSON. Read from the arguments, as their own errors have to be told as well."""
    text = " ".join(arguments)
    return any(f"{option}{form}" in text for option in ("-o ", "-o", "--output ", "--output=") for form in ("json",))
