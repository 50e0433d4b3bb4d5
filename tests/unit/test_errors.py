"""The error catalogue, docs/errors.md, has each public error and each message of the modules that users meet."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import adapter

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "errors.md"
ADAPTER = ROOT / "adapter"
MODULES = (
    "aws/entry",
    "aws/settings",
    "batches",
    "checks",
    "client/handles",
    "client/requests",
    "client/responses",
    "client/retrying",
    "client/sigv4",
    "client/sync",
    "clients",
    "codec",
    "combinators",
    "context",
    "definitions",
    "engine/attempt",
    "engine/issuing",
    "engine/loop",
    "engine/runner",
    "engine/types",
    "errors",
    "handlers",
    "heartbeats",
    "http/delays",
    "http/headers",
    "http/ingress",
    "http/messages",
    "http/services",
    "local/discovery",
    "local/dynamodb",
    "local/server",
    "local/sqlite",
    "operations",
    "registry",
    "serde",
    "steps",
    "testing/environment",
    "values",
)
ROW = re.compile(r"^\| (`+)(?P<text>.+?)\1 \|(?P<cause>[^|]+)\|(?P<remedy>[^|]+)\|$", re.MULTILINE)


class Messages(ast.NodeVisitor):
    """Collects what a module's errors say, with an ellipsis for what is filled in."""

    def __init__(self, tree: ast.Module) -> None:
        self.texts: set[str] = set()
        self.functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        self.function: ast.AST = tree
        self.visit(tree)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        outer, self.function = self.function, node
        self.generic_visit(node)
        self.function = outer

    def visit_Call(self, node: ast.Call) -> None:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        refuses = isinstance(node.func, ast.Attribute) and node.func.attr == "refuse"
        if refuses or name == "_Refusal" or (name.endswith("Error") and name != "AssertionError"):
            for argument in node.args:
                self.texts.update(filter(None, self.said(argument)))
        self.generic_visit(node)

    def said(self, node: ast.expr) -> Iterator[str]:
        match node:
            case ast.Constant(str() as text):
                yield text
            case ast.JoinedStr(values):
                yield "".join(part.value if isinstance(part, ast.Constant) else "…" for part in values)
            case ast.Call(ast.Name(name)) if name in self.functions:
                outer, self.function = self.function, self.functions[name]
                for each in ast.walk(self.function):
                    if isinstance(each, ast.Return) and each.value is not None:
                        yield from self.said(each.value)
                self.function = outer
            case ast.BoolOp(values=values):
                yield from (text for value in values for text in self.said(value))
            case ast.IfExp(_, body, orelse):
                yield from (*self.said(body), *self.said(orelse))
            case ast.Name(name):
                for each in ast.walk(self.function):
                    if (
                        isinstance(each, ast.Assign | ast.AugAssign | ast.NamedExpr)
                        and ast.unparse(each.targets[0] if isinstance(each, ast.Assign) else each.target) == name
                    ):
                        yield from self.said(each.value)
            case _:
                pass


def messages(*files: Path) -> set[str]:
    texts = {text for file in files for text in Messages(ast.parse(file.read_text())).texts}
    # One alone has no words: it passes on what another error says.
    texts = {re.sub(r"\s+", " ", each.replace("{}", "…")).strip() for each in texts}
    return {text for text in texts if re.search(r"\w{3}", text)}


def test_the_page_has_each_message_and_no_other() -> None:
    rows = {row["text"].strip() for row in ROW.finditer(PAGE.read_text())}
    listed = messages(*(ADAPTER / f"{module}.py" for module in MODULES))
    assert listed - rows == set(), "add them to the page"
    others = rows - listed - errors()
    if others:  # messages that have moved to another module
        others -= messages(*ADAPTER.rglob("*.py"))
    assert others == set(), "remove them from the page"


def errors() -> set[str]:
    public = {name: getattr(adapter, name) for name in adapter.__all__ if name[0].isupper() and name != "Client"}
    return {name for name, value in public.items() if isinstance(value, type) and issubclass(value, Exception)}


def test_the_page_has_each_public_error() -> None:
    assert errors() <= {row["text"].strip() for row in ROW.finditer(PAGE.read_text())}


def test_each_row_says_why_and_what_to_do() -> None:
    for row in ROW.finditer(PAGE.read_text()):
        assert len(row["cause"].split()) > 2, row["text"]
        assert len(row["remedy"].split()) > 1, row["text"]
