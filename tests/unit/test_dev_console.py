"""The log of the development server, as a person reads it."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from pathlib import Path

import pytest

from adapter.local.console import ConsoleFormatter
from adapter.local.frames import OwnTraceback, blamed


def record(message: str, error: BaseException | None = None, **fields: object) -> logging.LogRecord:
    exc_info = (type(error), error, error.__traceback__) if error is not None else None
    made = logging.LogRecord("adapter", logging.WARNING, __file__, 1, message, (), exc_info)
    vars(made).update(fields)
    return made


def raised(text: str = "{") -> json.JSONDecodeError:
    """An exception that a library raises when it is called here."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return error
    raise AssertionError


def functions(text: str) -> list[str]:
    return [line.rpartition(" in ")[2] for line in text.splitlines() if line.startswith("  File ")]


def test_a_line_names_the_target_and_the_invocation() -> None:
    formatter = ConsoleFormatter()
    line = formatter.format(record("it went well", target="Shop/order", invocation_id="inv_1"))
    assert line[8:] == " WARNING Shop/order: it went well (inv_1)"
    assert formatter.format(record("ready"))[8:] == " WARNING ready"
    other = record("ready")
    other.name = "shop.mail"
    assert formatter.format(other)[8:] == " WARNING shop.mail: ready"


def test_a_terminal_does_not_obey_a_key_or_an_error() -> None:
    error = ValueError("\x1b[2J\nand more")
    given = record("failed: \x1b[2J\x00", error, target="Cart/a\n\x1b]0;b/add", invocation_id="inv_1")
    line = ConsoleFormatter().format(given)
    assert line.splitlines()[0][8:] == r" WARNING Cart/a\n\x1b]0;b/add: failed: \x1b[2J\x00 (inv_1)"
    assert line.endswith("ValueError: \\x1b[2J\nand more")
    assert "\x1b" not in ConsoleFormatter(whole=True).format(given)


def test_a_traceback_is_told_once_for_each_invocation_and_place() -> None:
    formatter = ConsoleFormatter()
    lines = [
        formatter.format(record("failed", raised(), invocation_id=id)).splitlines()
        for id in ("inv_1", "inv_1", "inv_2", "inv_1")
    ]
    assert [len(each) > 1 for each in lines] == [True, False, True, False]
    assert all(" WARNING failed (tests/unit/test_dev_console.py:" in each[0] for each in lines)
    elsewhere = record("failed", ValueError("elsewhere"), invocation_id="inv_1")
    assert formatter.format(elsewhere).endswith("ValueError: elsewhere")


def test_what_a_handler_logs_itself_is_told_each_time() -> None:
    formatter = ConsoleFormatter()
    for _ in range(2):
        own = record("mine\nin two lines", raised(), invocation_id="inv_1")
        own.name = "shop"
        assert "shop: mine\nin two lines (inv_1)\nTraceback" in formatter.format(own)


def test_only_the_developers_frames_are_shown() -> None:
    shown = str(OwnTraceback(raised()))
    assert functions(shown) == ["raised"]
    assert shown.splitlines()[-1].startswith("json.decoder.JSONDecodeError: ")
    assert functions("".join(traceback.format_exception(raised()))) == ["raised", "loads", "decode", "raw_decode"]


def test_causes_and_groups_are_shown_likewise() -> None:
    error = ExceptionGroup("both", [raised(), raised("[")])
    error.__cause__ = raised()
    own = OwnTraceback(error)
    shown = str(own)
    assert shown.count("in raised") == 3
    assert "json/decoder.py" not in shown
    assert own.place is not None
    assert own.place.startswith("tests/unit/test_dev_console.py:")


def test_an_exception_that_passed_none_of_the_developers_code_is_shown_whole() -> None:
    error = raised()
    assert error.__traceback__ is not None
    own = OwnTraceback(error.with_traceback(error.__traceback__.tb_next))
    assert own.place is None
    assert functions(str(own)) == ["loads", "decode", "raw_decode"]


def test_every_frame_is_shown_each_time_if_debug_is_on() -> None:
    formatter = ConsoleFormatter(whole=True)
    for _ in range(2):
        line = formatter.format(record("failed", raised(), invocation_id="inv_1"))
        assert functions(line) == ["raised", "loads", "decode", "raw_decode"]


def test_a_replayed_line_is_marked() -> None:
    line = ConsoleFormatter().format(record("again", target="Shop/order", replaying=True))
    assert line[8:] == " WARNING (replay) Shop/order: again"


@pytest.mark.parametrize("text", ["def f(:\n", "def f():\nx\n", "if x:\n\tx\n        y\n"])
def test_a_syntax_error_names_its_own_place_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    source = tmp_path / "wrong_x.py"
    source.write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "wrong_x", raising=False)
    with pytest.raises(SyntaxError) as caught:
        __import__("wrong_x")
    assert str(source) in blamed(caught.value)
    error = caught.value
    assert error.__traceback__ is not None
    shown = str(OwnTraceback(error.with_traceback(error.__traceback__.tb_next)))
    assert shown.splitlines()[0].startswith(f'  File "{source}", line ')
