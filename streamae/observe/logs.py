"""Log lines: one event name a line, as JSON for machines or in columns for people.

`configure` is called once by the process that owns standard output; everyone else asks for `get_logger()`.
Lines of the standard library's loggers (our connectors, the Kafka and Redis clients) take the same way, but the
same line comes at most once in `REPEAT_INTERVAL_S`.
This module must not know what is logged.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Literal, TextIO, cast

import structlog
from structlog.typing import FilteringBoundLogger, Processor

Logger = FilteringBoundLogger

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
REPEAT_INTERVAL_S = 30.0  # a client that retries ten times a second says the same ten times a second
_MOST_REMEMBERED = 256

# C0 and C1 control characters: a key from a topic must not move the cursor of whoever reads the log.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_CONTROL_IN_TRACEBACK = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class _StandardHandler(logging.Handler):
    """Takes lines of the standard library's loggers over into ours; what is repeated, once an interval."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, int, str], float] = {}  # wall-clock seconds of the last time it was let through

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level = max((known for known in LEVELS.values() if known <= record.levelno), default=logging.DEBUG)
            message = record.getMessage()
            if self._is_repeated((record.name, record.levelno, message), record.created):
                return
            get_logger().log(level, "log", logger=record.name, message=message, exc_info=record.exc_info)
        except Exception:  # noqa: BLE001 - logging never stops who logs
            self.handleError(record)

    def _is_repeated(self, line: tuple[str, int, str], now_s: float) -> bool:
        """Tell whether this very line was let through less than an interval ago; a clock set back lets it through."""
        if 0 <= now_s - self._said.get(line, float("-inf")) < REPEAT_INTERVAL_S:
            return True
        self._said.pop(line, None)  # the oldest stands first
        self._said[line] = now_s
        if len(self._said) > _MOST_REMEMBERED:
            del self._said[next(iter(self._said))]
        return False


def configure(level: str, form: Literal["auto", "json", "pretty"] = "auto", stream: TextIO | None = None) -> None:
    """Send all log lines of the process to `stream`; calling again replaces the previous set-up.

    Args:
        level: one of `LEVELS`; the clients' loggers (kafka, redis, ...) stay at warning or above.
        form: `auto` is pretty on a terminal and JSON elsewhere.
        stream: standard output by default.
    """
    stream = stream or sys.stdout
    is_pretty = form == "pretty" or (form == "auto" and stream.isatty())
    processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        structlog.processors.format_exc_info,
    ]
    if is_pretty:
        columns = structlog.dev.ConsoleRenderer(
            colors=stream.isatty(), timestamp_key="ts", exception_formatter=structlog.dev.plain_traceback
        )
        processors += [_without_controls, columns]
    else:
        processors += [structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=processors,
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers = [other for other in root.handlers if not isinstance(other, _StandardHandler)]
    root.addHandler(_StandardHandler())
    set_level(level)


def set_level(level: str) -> None:
    """Log from this level on, also through loggers handed out before; see `configure`."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]))
    logging.getLogger().setLevel(max(LEVELS[level], logging.WARNING))
    logging.getLogger("streamae").setLevel(LEVELS[level])


def get_logger(**values: Any) -> Logger:
    """Return a logger that adds `values` to each of its lines."""
    return cast(Logger, structlog.get_logger(**values))


def shown(key: bytes) -> str:
    """Return a key as log lines show it: text, cut to 64 bytes, with bytes that are not UTF-8 escaped."""
    return key[:64].decode(errors="backslashreplace")


def _without_controls(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Write control characters as escapes; a traceback keeps its line breaks."""
    return {name: _escape(value, name == "exception") for name, value in event.items()}


def _escape(value: Any, is_traceback: bool) -> Any:
    if isinstance(value, bool | int | float | None):
        return value
    pattern = _CONTROL_IN_TRACEBACK if is_traceback else _CONTROL
    return pattern.sub(lambda found: f"\\x{ord(found.group()):02x}", value if isinstance(value, str) else repr(value))
