"""Tells a developer's own code from that of libraries."""

from __future__ import annotations

import os
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from functools import cache
from types import FrameType
from typing import Any, Final

_LIBRARIES: Final = tuple(
    os.path.realpath(path) + os.sep
    for path in (
        os.path.dirname(os.path.dirname(__file__)),
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
    )
)


@cache
def is_own(filename: str) -> bool:
    """Return True if a source file is neither a library's nor made up, as ``<string>`` is.

    >>> is_own(os.__file__), is_own("<string>"), is_own("shop.py")
    (False, False, True)
    """
    return not filename.startswith("<") and not os.path.realpath(filename).startswith(_LIBRARIES)


def imported() -> frozenset[str]:
    """Return the developer's source files that this process has imported."""
    return frozenset(
        os.path.abspath(file)
        for name, module in list(sys.modules.items())
        # Not `getattr`: a lazy module would begin to import.
        if name not in ("__main__", "__mp_main__")
        and isinstance(file := getattr(module, "__dict__", {}).get("__file__"), str)
        and is_own(file)
    )


def blamed(error: BaseException) -> frozenset[str]:
    """Return the developer's source files that an exception at import may come from."""
    files = {frame.filename for frame in traceback.extract_tb(error.__traceback__)}
    if isinstance(error, SyntaxError) and error.filename:
        files.add(error.filename)
    return frozenset(os.path.abspath(file) for file in files if is_own(file))


def places(frame: FrameType | None) -> Iterator[str]:
    """Yield the developer's own lines in a running stack as ``file:line in function``, the innermost first."""
    while frame is not None:
        if is_own(frame.f_code.co_filename):
            yield f"{short(frame.f_code.co_filename)}:{frame.f_lineno} in {frame.f_code.co_name}"
        frame = frame.f_back


class OwnTraceback:
    """An exception's traceback with the frames of libraries left out.

    An exception that has passed no code of the developer's keeps all its frames.

    Args:
        error: The exception.
        whole: Whether to keep all frames in any case.
    """

    def __init__(self, error: BaseException, *, whole: bool = False) -> None:
        self._told = traceback.TracebackException.from_exception(error, compact=True)
        for each in () if whole else _related(self._told):
            own = [frame for frame in each.stack if is_own(frame.filename)]
            if own or hasattr(each, "filename"):  # of a syntax error, whose text names its place
                each.stack[:] = own
        self._frame = next((frame for frame in reversed(_innermost(self._told)) if is_own(frame.filename)), None)

    @property
    def place(self) -> str | None:
        """The innermost of the developer's lines, as ``file:line``."""
        return f"{short(self._frame.filename)}:{self._frame.lineno}" if self._frame else None

    def __str__(self) -> str:
        return "".join(self._told.format()).rstrip()


def _related(error: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    """Yield an exception, its causes, and the exceptions that it groups."""
    yield error
    for other in (error.__cause__, error.__context__, *(getattr(error, "exceptions", None) or ())):
        if other is not None:
            yield from _related(other)


def _innermost(error: traceback.TracebackException) -> list[Any]:
    """Return the frames of an exception, or, of a group, of its first exception."""
    grouped = getattr(error, "exceptions", None)
    return _innermost(grouped[0]) if grouped else list(error.stack)


def short(filename: str) -> str:
    """Return a path as seen from the working directory, if it lies below that."""
    try:
        relative = os.path.relpath(filename)
    except ValueError:  # on another drive
        return filename
    return filename if relative.startswith(os.pardir) else relative
