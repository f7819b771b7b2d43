"""Typed reading of a parsed JSON object: every value has the type asked for, or is refused by name.

Knows nothing about what the fields mean; `bundle.py` says which ones there are.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamae.errors import BundleError

MAX_NUMBER = 1e300  # room for arithmetic on what was read
MAX_DEPTH = 6  # of plain content, lists and objects inside each other


class Fields:
    """A JSON object whose fields are read with a type; all methods raise `BundleError` naming the field."""

    def __init__(self, content: Any, name: str = "") -> None:
        """Wrap `content`; `name` is the dotted path of the object, empty for the whole file."""
        self._content, self._name = _object(content, name or "the whole"), name

    def _get(self, name: str) -> tuple[str, Any]:
        path = f"{self._name}.{name}" if self._name else name
        if name not in self._content:
            raise BundleError(f"{path} is missing")
        return path, self._content[name]

    def has(self, name: str) -> bool:
        """Tell whether the object has a field of that name."""
        return name in self._content

    def section(self, name: str) -> Fields:
        """Return an object inside this one."""
        path, value = self._get(name)
        return Fields(value, path)

    def text(self, name: str) -> str:
        """Return a string that can be encoded as UTF-8."""
        path, value = self._get(name)
        return _text(value, path)

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of strings."""
        path, value = self._get(name)
        if not isinstance(value, list):
            raise BundleError(f"{path} is not a list")
        return tuple(_text(entry, f"{path}[{i}]") for i, entry in enumerate(value))

    def integer(self, name: str) -> int:
        """Return an integer; true and 1.0 are none."""
        path, value = self._get(name)
        if type(value) is not int:
            raise BundleError(f"{path} is not an integer")
        return value

    def integers(self, name: str) -> list[int]:
        """Return a list of integers; true and 1.0 are none."""
        path, value = self._get(name)
        if not isinstance(value, list) or any(type(entry) is not int for entry in value):
            raise BundleError(f"{path} is not a list of integers")
        return list(value)

    def number(self, name: str, above: float = -math.inf) -> float:
        """Return a finite number > `above`."""
        path, value = self._get(name)
        return _number(value, path, above)

    def numbers(self, name: str, count: int, above: float = -math.inf) -> NDArray[np.float64]:
        """Return (count,) float64 of finite numbers > `above`."""
        path, value = self._get(name)
        if not isinstance(value, list):
            raise BundleError(f"{path} is not a list")
        if len(value) != count:
            raise BundleError(f"{path} has {len(value)} numbers, there are {count} features")
        return np.array([_number(entry, f"{path}[{i}]", above) for i, entry in enumerate(value)], dtype=np.float64)

    def floats(self, name: str) -> dict[str, float]:
        """Return an object of finite numbers."""
        path, value = self._get(name)
        return {key: _number(entry, f"{path}.{key}") for key, entry in _object(value, path).items()}

    def scalars(self, name: str) -> dict[str, str | int | float | bool | None]:
        """Return an object of strings, numbers, booleans and nulls."""
        path, value = self._get(name)
        content = _object(value, path)
        for key, entry in content.items():
            if isinstance(entry, list | dict):
                raise BundleError(f"{path}.{key} is not a plain value")
        return dict(content)

    def plain(self) -> dict[str, Any]:
        """Return the object itself: valid text, finite numbers, truth values, nulls, and lists and objects of them."""
        _check(self._content, self._name, MAX_DEPTH)
        return dict(self._content)


def _check(value: Any, path: str, depth: int) -> None:
    if depth == 0:
        raise BundleError(f"{path} is nested too deeply")
    if isinstance(value, dict):
        for name, entry in value.items():
            _check(entry, f"{path}.{_text(name, f'a name in {path}')}", depth - 1)
    elif isinstance(value, list):
        for i, entry in enumerate(value):
            _check(entry, f"{path}[{i}]", depth - 1)
    elif isinstance(value, str):
        _text(value, path)
    elif value is not None and not isinstance(value, bool):
        _number(value, path)


def _object(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BundleError(f"{path} is not an object")
    return value


def _text(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise BundleError(f"{path} is not text")
    if any(0xD800 <= ord(letter) <= 0xDFFF for letter in value):
        raise BundleError(f"{path} is not valid text")
    return value


def _number(value: Any, path: str, above: float = -math.inf) -> float:
    if type(value) not in {int, float} or not abs(value) <= MAX_NUMBER:  # also refuses NaN
        raise BundleError(f"{path} is not a finite number")
    if value <= above:
        raise BundleError(f"{path} is {value}, must be above {above}")
    return float(value)
