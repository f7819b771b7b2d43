"""Log lines: their shape for machines, their safety for people, and the clients' lines among them."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any, Literal

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from streamae.observe import logs

Form = Literal["auto", "json", "pretty"]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restore() -> Iterator[None]:
    """Leave the process's logging as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def written(level: str = "info", form: Form = "json") -> io.StringIO:
    """Configure logging into a string."""
    stream = io.StringIO()
    logs.configure(level, form, stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """Read JSON lines back."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object() -> None:
    """Event name, level and UTC time stand beside the values."""
    stream = written()
    logs.get_logger(partition=3).info("rebalanced", revoked=["a-0"], key=b"\xff")
    (line,) = lines(stream)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line.pop("ts"))
    assert line == {"event": "rebalanced", "level": "info", "partition": 3, "revoked": ["a-0"], "key": "b'\\xff'"}


@pytest.mark.parametrize(
    ("level", "events"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_less_severe_lines_are_left_out(level: str, events: list[str]) -> None:
    """service.log_level is the least severe level written."""
    stream = written(level)
    logger = logs.get_logger()
    for event in ("debug", "info", "warning", "error"):
        getattr(logger, event)(event)
    assert [line["event"] for line in lines(stream)] == events


def test_a_traceback_stays_in_one_line() -> None:
    """An exception is a value of its event, so that a log shipper does not cut it to pieces."""
    stream = written()
    try:
        raise OSError("the reason")
    except OSError:
        logs.get_logger().exception("crashed")
    (line,) = lines(stream)
    assert line["level"] == "error"
    assert "OSError: the reason" in line["exception"]


@given(st.text())
def test_any_text_survives_as_json(text: str) -> None:
    """A key from a topic, whatever it holds, comes back out of the line unchanged, and the line stays one line."""
    stream = written()
    logs.get_logger().info("seen", key=text)
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().isascii()
    assert lines(stream)[0]["key"] == text


@given(st.text(st.characters(max_codepoint=0x2FF)))
def test_pretty_lines_hold_no_control_character(text: str) -> None:
    """Text from outside cannot move the cursor, ring the bell or fake a second line on somebody's terminal."""
    stream = written(form="pretty")
    logs.get_logger().info("seen", key=text, raw=text.encode(), many=[text])
    line = stream.getvalue()
    assert line.endswith("\n")
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", line[:-1])


def test_pretty_lines_show_what_was_escaped() -> None:
    """The reader sees that something was there."""
    stream = written(form="pretty")
    logs.get_logger().info("seen", key="a\x1b[2Jb\n")
    assert r"a\x1b[2Jb\x0a" in stream.getvalue()


def test_a_pretty_traceback_keeps_its_lines() -> None:
    """People read tracebacks with line breaks; other control characters in them are still escaped."""
    stream = written(form="pretty")
    try:
        raise OSError("bell \x07")
    except OSError:
        logs.get_logger().exception("crashed")
    assert "Traceback (most recent call last):\n" in stream.getvalue()
    assert "\\x07" in stream.getvalue()
    assert "\x07" not in stream.getvalue()


@pytest.mark.parametrize(
    ("form", "stream", "is_json"),
    [
        ("auto", io.StringIO, True),
        ("auto", Terminal, False),
        ("json", Terminal, True),
        ("pretty", io.StringIO, False),
    ],
)
def test_auto_is_pretty_on_a_terminal_only(form: Form, stream: type[io.StringIO], is_json: bool) -> None:
    """A pipe or journal gets JSON unless asked otherwise."""
    target = stream()
    logs.configure("info", form, target)
    logs.get_logger().info("started")
    assert target.getvalue().startswith("{") is is_json


def test_standard_output_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    """Lines go where containers and systemd collect them."""
    logs.configure("info", "json")
    logs.get_logger().info("started")
    assert json.loads(capsys.readouterr().out)["event"] == "started"


def test_lines_of_the_clients_take_the_same_way() -> None:
    """What the Kafka and Redis clients say through the standard library is JSON too, from warning on."""
    stream = written("debug")
    logging.getLogger("kafka.conn").info("connecting")
    logging.getLogger("kafka.conn").warning("lost %s", "broker-1")
    logging.getLogger("redis").critical("down")
    found = [(line["level"], line["event"], line["logger"], line["message"]) for line in lines(stream)]
    assert found == [("warning", "log", "kafka.conn", "lost broker-1"), ("error", "log", "redis", "down")]


def test_our_own_standard_loggers_follow_the_level() -> None:
    """A connector that logs through the standard library is heard at service.log_level."""
    stream = written("debug")
    logging.getLogger("streamae.connectors.kafka").debug("poll")
    assert [line["logger"] for line in lines(stream)] == ["streamae.connectors.kafka"]
    stream = written("error")
    logging.getLogger("streamae.connectors.kafka").warning("poll")
    logging.getLogger("kafka").warning("poll")
    assert lines(stream) == []


def said(message: str, at_s: float, level: int = logging.ERROR, name: str = "kafka.cluster") -> logging.LogRecord:
    """A client's log record with a time of its own."""
    record = logging.LogRecord(name, level, __file__, 1, "%s", (message,), None)
    record.created = at_s
    return record


def test_a_client_that_repeats_itself_is_heard_once_an_interval() -> None:
    """A missing topic is reported ten times a second by the client: that must not fill a disk or hide other lines."""
    stream = written()
    later = logs.REPEAT_INTERVAL_S
    for moment in (0.0, 0.1, later - 0.1, later, later + 0.1, 2 * later + 0.1):
        logging.getLogger("kafka.cluster").handle(said("topic missing", moment))
    assert len(lines(stream)) == 3


@pytest.mark.parametrize(
    "other",
    [
        said("another topic missing", 1.0),
        said("topic missing", 1.0, level=logging.WARNING),
        said("topic missing", 1.0, name="kafka.net"),
        said("topic missing", -5.0),
    ],
    ids=["text", "level", "logger", "clock set back"],
)
def test_what_differs_is_no_repetition(other: logging.LogRecord) -> None:
    """Only the very same line of the same logger is held back, and never because the clock was set."""
    stream = written()
    for record in (said("topic missing", 0.0), other):
        logging.getLogger(record.name).handle(record)
    assert len(lines(stream)) == 2


def test_remembered_lines_are_bounded() -> None:
    """Lines with an ever new text do not grow the process; the oldest is forgotten first."""
    stream = written()
    logger = logging.getLogger("kafka")
    for number in range(1_000):
        logger.handle(said(str(number), 0.0))
    (handler,) = [found for found in logging.getLogger().handlers if isinstance(found, logs._StandardHandler)]
    assert len(handler._said) == 256
    for text in ("999", "0"):
        logger.handle(said(text, 0.0))
    assert len(lines(stream)) == 1_001


def test_a_client_exception_is_kept() -> None:
    """A client's traceback is in the line."""
    stream = written()
    try:
        raise OSError("reset by peer")
    except OSError:
        logging.getLogger("kafka").exception("failed")
    assert "OSError: reset by peer" in lines(stream)[0]["exception"]


def test_a_broken_client_line_stops_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong arguments in somebody else's log call are reported and swallowed."""
    written()
    root = logging.getLogger()
    root.handlers[:] = [handler for handler in root.handlers if type(handler).__module__ == logs.__name__]  # ours alone
    root.warning("%d", "no number")
    assert "Logging error" in capsys.readouterr().err


def test_unusual_levels_are_rounded_down() -> None:
    """A library with levels of its own does not break ours."""
    stream = written()
    logging.getLogger("kafka").log(35, "odd")
    assert lines(stream)[0]["level"] == "warning"


def test_configuring_again_replaces_the_first() -> None:
    """No line is written twice."""
    first, second = written(), written()
    logging.getLogger("kafka").warning("once")
    logs.get_logger().info("once")
    assert first.getvalue() == ""
    assert len(lines(second)) == 2


def test_a_logger_made_before_configuring_follows() -> None:
    """Modules may ask for their logger before the process has set up logging."""
    logger = logs.get_logger()
    stream = written()
    logger.info("seen")
    assert [line["event"] for line in lines(stream)] == ["seen"]


def test_keys_are_shown_short_and_as_text() -> None:
    """A key from a topic is neither long nor unreadable in the log."""
    assert logs.shown(b"pump-1") == "pump-1"
    assert logs.shown(b"\xffpump") == "\\xffpump"
    assert logs.shown(b"x" * 500) == "x" * 64


def test_the_level_can_be_changed_while_logging() -> None:
    """Loggers handed out before follow, the clients' among them; where lines go and how they look stays."""
    stream = written("info")
    ours = logs.get_logger()
    logs.set_level("error")
    ours.warning("too little")
    logging.getLogger("kafka").warning("too little")
    logs.set_level("debug")
    ours.debug("seen")
    logging.getLogger("streamae.connectors").debug("seen too")
    assert [line.get("message", line["event"]) for line in lines(stream)] == ["seen", "seen too"]
