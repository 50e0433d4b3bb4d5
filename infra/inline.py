"""Copies the code of the shared stack's functions into its template.

    python -m infra.inline

The template has to be one file that anybody can deploy, and the code has to be checked and tested: so the code lies in
files of its own, and `tests/template` compares the copies.
"""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import indent

PROJECT = Path(__file__).resolve().parent.parent / "adapter" / "project"
TEMPLATE = PROJECT / "stack.yaml"
COPY = re.compile(r"^( +)(ZipFile: \|\n +# )(\w+\.py)\n(?:\1 .*\n|\n(?=\n*\1 ))*", re.MULTILINE)


def inlined(template: str) -> str:
    """Return the template with each function's code as its file has it."""

    def code(found: re.Match[str]) -> str:
        space = found[1]
        source = (PROJECT / found[3]).read_text()
        return f"{space}{found[2]}{found[3]}\n{indent(source, space + '  ')}"

    return COPY.sub(code, template)


if __name__ == "__main__":
    TEMPLATE.write_text(inlined(TEMPLATE.read_text()))
