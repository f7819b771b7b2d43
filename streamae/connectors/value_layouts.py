"""The three shapes in which records carry feature values, each turned into one (N, F) column block per batch.

Wide: a field per feature. Array: one field holding all features in order. Long: one feature a record, with its name.
This module knows neither bytes nor JSON: it is given what was parsed, and says which fields it wants parsed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple, Protocol

import numpy as np

from streamae.batches import Doubles
from streamae.errors import ConfigError
from streamae.reasons import Reason
from streamae.settings.data import InputSettings

NAN = float("nan")  # stands for an absent field, None for an explicit null; both become NaN


class Leaf(NamedTuple):
    """One field to parse: dotted path in the record, the attribute it becomes, its type, its value when absent."""

    path: str
    attribute: str
    type: Any
    default: Any


class Fault(NamedTuple):
    """Why one record is refused."""

    reason: Reason
    detail: str


class Findings:
    """What was found about the parsed records of one batch, by index; of several faults the first one stays."""

    def __init__(self) -> None:
        self.faults: dict[int, Fault] = {}
        self.ignored: set[int] = set()

    def refuse(self, index: int, reason: Reason, detail: str) -> None:
        """Note a fault, unless the record already has one."""
        self.faults.setdefault(index, Fault(reason, detail))


class ValueLayout(Protocol):
    """Where the values of a record are."""

    leaves: list[Leaf]

    def read(self, cells: Iterable[Any], count: int, findings: Findings) -> Doubles:
        """Return (N, F) float64, NaN = missing. `cells`: N parsed values, tuples where there are several leaves."""
        ...


class WideValues:
    """A field per feature, in any place of the record."""

    def __init__(self, fields: Sequence[str]) -> None:
        self.leaves = [Leaf(path, f"value_{i}", float | None, NAN) for i, path in enumerate(fields)]
        self._width = len(fields)

    def read(self, cells: Iterable[Any], count: int, findings: Findings) -> Doubles:
        """See `ValueLayout`. A record without any of the fields is refused: it is of another kind."""
        rows = list(cells)
        numbers = chain.from_iterable(rows) if self._width > 1 else rows
        values = np.fromiter(numbers, np.float64, count * self._width).reshape(count, self._width)
        empty = np.flatnonzero(np.isnan(values[:, 0]))
        for i in empty[np.isnan(values[empty]).all(axis=1)].tolist():
            if None not in (rows[i] if self._width > 1 else (rows[i],)):
                findings.refuse(i, Reason.MISSING_FEATURE, "none of the feature fields is in the record")
        return values


class ArrayValues:
    """One array holding the features in order; single elements may be null."""

    def __init__(self, field: str, width: int) -> None:
        self.leaves = [Leaf(field, "values", tuple[(float | None,) * width] | None, None)]  # type: ignore[misc]
        self._missing = (NAN,) * width

    def read(self, cells: Iterable[Any], count: int, findings: Findings) -> Doubles:
        """See `ValueLayout`. A record without the array is refused whatever the policy of its features."""
        rows = list(cells)
        for i in [i for i, row in enumerate(rows) if row is None]:
            findings.refuse(i, Reason.MISSING_FEATURE, f"the array `{self.leaves[0].path}` is absent or null")
            rows[i] = self._missing
        width = len(self._missing)
        return np.fromiter(chain.from_iterable(rows), np.float64, count * width).reshape(count, width)


class Vocabulary(Protocol):
    """Words to numbers: `core.categories.Vocabulary`."""

    field: str

    def codes(self, values: Sequence[str | int | bool | None]) -> Doubles:
        """Return (N,) float64, NaN = missing."""
        ...


class CategoryValues:
    """A field per category, in any place of the record: text, or an integer or truth value, which count as text."""

    def __init__(self, vocabularies: Sequence[Vocabulary], fields: Sequence[str]) -> None:
        """Take vocabularies and the fields to read, empty = the vocabularies' own.

        Raises:
            ConfigError: another number of fields than vocabularies.
        """
        paths = tuple(fields) or tuple(vocabulary.field for vocabulary in vocabularies)
        if len(paths) != len(vocabularies):
            known = ", ".join(vocabulary.field for vocabulary in vocabularies) or "none"
            raise ConfigError(
                [f"features.category_fields: {len(paths)} fields where the bundle has {len(vocabularies)}: {known}"]
            )
        self.leaves = [Leaf(path, f"category_{i}", str | int | bool | None, None) for i, path in enumerate(paths)]
        self.names = tuple(vocabulary.field for vocabulary in vocabularies)
        self._vocabularies = tuple(vocabularies)

    def read(self, columns: Sequence[Sequence[Any]]) -> Doubles:
        """Return (N, C) float64 codes of C >= 1 columns of N parsed values; NaN = missing."""
        found = [vocabulary.codes(column) for vocabulary, column in zip(self._vocabularies, columns, strict=True)]
        return np.stack(found, axis=1)


class LongValues:
    """One feature a record: its name and its value; the other features of the row stay NaN."""

    def __init__(self, name_field: str, value_field: str, names: Sequence[str], *, ignores_unknown: bool) -> None:
        self.leaves = [Leaf(name_field, "name", str | None, None), Leaf(value_field, "value", float | None, NAN)]
        self._columns = {name: i for i, name in enumerate(names)}
        self._ignores_unknown = ignores_unknown

    def read(self, cells: Iterable[Any], count: int, findings: Findings) -> Doubles:
        """See `ValueLayout`. Records of unknown names are refused or ignored before their value is looked at."""
        rows = list(cells)
        values = np.full((count, len(self._columns)), np.nan)
        columns = np.fromiter((self._columns.get(name, -1) for name, _ in rows), np.int64, count)
        numbers = np.fromiter((value for _, value in rows), np.float64, count)
        known = np.flatnonzero(columns >= 0)
        values[known, columns[known]] = numbers[known]
        for i in np.flatnonzero(columns < 0).tolist():
            self._refuse_name(i, rows[i][0], findings)
        for i in known[np.isnan(numbers[known])].tolist():
            if rows[i][1] is not None:
                findings.refuse(i, Reason.MISSING_FEATURE, f"the value field `{self.leaves[1].path}` is absent")
        return values

    def _refuse_name(self, index: int, name: str | None, findings: Findings) -> None:
        field = self.leaves[0].path
        if name is None:
            findings.refuse(index, Reason.MISSING_FEATURE, f"the name field `{field}` is absent or null")
        elif self._ignores_unknown:
            findings.ignored.add(index)
        else:
            detail = f"`{field}` names none of the {len(self._columns)} features of the bundle"
            findings.refuse(index, Reason.UNKNOWN_FEATURE, detail)


def value_layout(settings: InputSettings, features: Sequence[str]) -> ValueLayout:
    """Choose the shape for F features; arguments as in `connectors.codec.Codec`.

    Raises:
        ConfigError: the number of value fields does not fit F.
    """
    layout, fields, width = settings.layout, tuple(settings.value_fields or features), len(features)
    if layout == "long" and len(fields) == width:
        ignores_unknown = settings.unknown_features == "ignore"
        return LongValues(settings.name_field, settings.value_field, fields, ignores_unknown=ignores_unknown)
    if layout == "wide" and len(fields) == width:
        return WideValues(fields)
    if layout == "wide" and len(fields) == 1:
        return ArrayValues(fields[0], width)
    one_array = ", or one name for an array" if layout == "wide" else ""
    raise ConfigError([f"input.value_fields: {len(fields)} names for {width} features; give {width}{one_array}"])
