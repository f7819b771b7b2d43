"""Templates of the settings, filled in such a way that a bad one fails alone: sandboxed, bounded in size and loops.

The only module of alerting that imports jinja2 (extra `alerts`). Must not know: what a template is for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

MOST_ROUNDS = 1_000  # of all `range(...)` of one filling together
MOST_DIGITS = 12
# Each makes much out of little: `"x".ljust(10 ** 9)`.
GROWING_METHODS = frozenset({"center", "expandtabs", "format", "format_map", "ljust", "rjust", "zfill"})
GROWING_FILTERS = ("batch", "center", "format", "indent", "slice", "tojson", "urlize", "wordwrap", "xmlattr")
GROWING_GLOBALS = ("cycler", "joiner", "lipsum", "namespace")


class TemplateRefusedError(ValueError):
    """A template cannot be filled in: its own fault. The message says why."""


class _Sandbox(ImmutableSandboxedEnvironment):
    """Templates can read what they are given, and change or grow nothing."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, str) and attr in GROWING_METHODS:
            return False
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Any:
        found = super().wrap_str_format(value)
        if found is not None:
            raise SecurityError("format() is not allowed")
        return found

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        numbers = isinstance(left, int | float) and isinstance(right, int | float)
        is_small = numbers and all(abs(number) < 10**MOST_DIGITS for number in (left, right))
        if operator == "**" or not is_small:
            raise SecurityError(f"{operator} is for numbers of ordinary size")
        return super().call_binop(context, operator, left, right)


def _sandbox() -> _Sandbox:
    sandbox = _Sandbox(autoescape=False, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    for name in GROWING_FILTERS:
        sandbox.filters.pop(name, None)
    for name in GROWING_GLOBALS:
        sandbox.globals.pop(name, None)
    return sandbox


_SANDBOX = _sandbox()


class Template:
    """One template of the settings.

    Args:
        text: Jinja.
        limit: characters of what comes out; more is an error.

    Raises:
        TemplateRefusedError: it is no template.
    """

    def __init__(self, text: str, limit: int) -> None:
        try:
            self._template = _SANDBOX.from_string(text)
        except TemplateSyntaxError as error:
            raise TemplateRefusedError(f"line {error.lineno}: {error.message}") from error
        except (TemplateError, RecursionError, ValueError) as error:
            raise TemplateRefusedError(type(error).__name__) from error
        self._limit = limit

    def fill(self, values: Mapping[str, Any]) -> str:
        """Fill in `values`, which stand for themselves: whatever is hostile in them is made harmless before.

        Raises:
            TemplateRefusedError: it asks for what is not there or not allowed, or becomes too long.
        """
        parts: list[str] = []
        length = 0
        try:
            for part in self._template.generate({**values, "range": _bounded_range()}):
                parts.append(part)
                length += len(part)
                if length > self._limit:
                    raise TemplateRefusedError(f"it becomes longer than {self._limit} characters")
        except TemplateError as error:
            raise TemplateRefusedError(error.message or type(error).__name__) from error
        except TemplateRefusedError:
            raise
        except Exception as error:  # a template is a program: it can fail with anything, and only its own alerts
            raise TemplateRefusedError(f"{type(error).__name__} while it was filled in") from error
        return "".join(parts)


def _bounded_range() -> Any:
    """Return `range` for one filling: all of its loops together have so many rounds."""
    left = MOST_ROUNDS

    def bounded(*limits: int) -> Iterator[int]:
        nonlocal left
        for number in range(*limits):
            left -= 1
            if left < 0:
                raise SecurityError(f"more than {MOST_ROUNDS} rounds of range()")
            yield number

    return bounded
