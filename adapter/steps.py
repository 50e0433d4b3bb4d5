"""What `Context.run` makes of its arguments."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Coroutine
from functools import partial
from typing import Any, cast

from adapter.checks import check_text
from adapter.engine.types import MAX_KEY, RetryPolicy
from adapter.serde import type_name

HINT = "pass the step's type=, or annotate what its function returns"


def check_step(name: object, fn: object, args: tuple[Any, ...], kwargs: dict[str, Any], retry: object) -> None:
    """Raise what is wrong with the arguments of `Context.run`."""
    if callable(name):
        called = getattr(name, "__name__", "fn")
        raise TypeError(f"run takes the step's name first: run({called!r}, {called}, …)")
    check_text("name", cast("str", name), MAX_KEY)
    if fn is None:
        raise TypeError(f"run({name!r}) is given no function: pass it second, as in run({name!r}, fn, …)")
    if inspect.iscoroutine(fn):
        fn.close()
        called = fn.__name__
        raise TypeError(f"run({name!r}, {called}(…)) calls the function itself: pass run({name!r}, {called}, …)")
    if not callable(fn):
        raise TypeError(
            f"run({name!r}, …) takes a function and its arguments, not a value of type {type_name(type(fn))}"
        )
    if retry is not None and not isinstance(retry, RetryPolicy):
        raise TypeError(f"retry is of type RetryPolicy, not {type_name(type(retry))}")
    if kwargs:
        try:
            inspect.signature(fn).bind(*args, **kwargs)
        except TypeError as error:
            called = getattr(fn, "__name__", type_name(type(fn)))
            raise TypeError(f"run({name!r}, {called}, …): {error}; the step's own keywords are retry, type") from None
        except ValueError:
            pass  # a builtin that does not say what it takes


def returned(fn: Any) -> Any:
    """Return the return annotation of a function; `Any` if it has none."""
    while isinstance(fn, partial):
        fn = cast("Any", fn.func)
    if isinstance(fn, type):
        return cast("Any", fn)
    if not inspect.isroutine(fn):
        fn = type(fn).__call__
    try:
        returned = typing.get_type_hints(fn, include_extras=True).get("return", Any)
    except (NameError, AttributeError) as error:
        raise TypeError(
            f"the return annotation of {fn.__qualname__} cannot be resolved: {error}. Pass the result's type as type="
        ) from error
    return typing.get_args(returned)[-1] if typing.get_origin(returned) in (Awaitable, Coroutine) else returned
