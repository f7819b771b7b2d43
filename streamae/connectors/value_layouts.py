"""The three shapes in which records carry feature values, each turned into one (N, F) column block per batch.

Wide: a field per feature. Array: one field holding all features in order. Long: one feature a record, with its name.
This module knows neither bytes nor JSON: it is given what was parsed, and says which fields it wants parsed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, Protocol

import numpy as np

from streamae.batches import Doubles
from streamae.connectors.cell_values import Fault, NumberRules, read_numbers
from streamae.connectors.field_names import map_fields
from streamae.connectors.record_type import Leaf
from streamae.errors import ConfigError
from streamae.reasons import Reason
from streamae.settings.data import InputSettings

NAN = float("nan")  # stands for an absent field, None for an explicit null; both become NaN


class Findings:
    """What was found about the parsed records of one batch, by index; of several faults the first one stays.

    Args:
        keeps_spoiled: a record outlives a value that is none (`input.bad_value = missing`).
        is_typed: the parser has seen to it that every value is a number.
    """

    def __init__(self, *, keeps_spoiled: bool = False, is_typed: bool = True) -> None:
        self.keeps_spoiled, self.is_typed = keeps_spoiled, is_typed
        self.faults: dict[int, Fault] = {}
        self.ignored: set[int] = set()
        self.dropped = 0  # ignored before they had an index
        self.spoiled: dict[int, list[tuple[str, Reason]]] = {}

    def refuse(self, index: int, reason: Reason, detail: str) -> None:
        """Note a fault, unless the record already has one."""
        self.faults.setdefault(index, Fault(reason, detail))

    def spoil(self, index: int, feature: str, reason: Reason, detail: str) -> None:
        """Note a value that is none: it is missing, or costs the record."""
        if self.keeps_spoiled:
            self.spoiled.setdefault(index, []).append((feature, reason))
        else:
            self.refuse(index, reason, detail)

    def bad_values(self) -> Counter[tuple[str, Reason]]:
        """Count the values of records that are kept, by feature and reason."""
        kept = (values for index, values in self.spoiled.items() if not {index} & (self.faults.keys() | self.ignored))
        return Counter(chain.from_iterable(kept))


class ValueLayout(Protocol):
    """Where the values of a record are."""

    leaves: list[Leaf]

    def read(self, cells: Iterable[Any], findings: Findings) -> Doubles:
        """Return (N, F) float64, NaN = missing. `cells`: N parsed values, tuples where there are several leaves."""
        ...


class FeatureCells:
    """The cells of F fields, turned into numbers.

    Args:
        names: of the features, for people.
        rules: how numbers are spelt.
    """

    def __init__(self, names: Sequence[str], rules: NumberRules) -> None:
        self.width = len(names)
        self.type: Any = float | bool | str | None if rules.from_text else float | bool | None
        self._names, self._rules = names, rules

    def read(self, rows: Sequence[Any], findings: Findings) -> Doubles:
        """Return (N, F) float64 of N rows: sequences of F cells, or cells where F is 1."""
        count, width = len(rows), self.width
        if not findings.is_typed and count:
            values = np.empty((count, width))
            columns = zip(*rows, strict=True) if width > 1 else [rows]
            for i, column in enumerate(columns):
                values[:, i] = self.column(i, list(column), findings)
            return values
        numbers = chain.from_iterable(rows) if width > 1 else rows
        values = np.fromiter(numbers, np.float64, count * width).reshape(count, width)
        if len(self._rules.missing_numbers):
            values[np.isin(values, self._rules.missing_numbers)] = np.nan
        return values

    def column(self, number: int, cells: Sequence[Any], findings: Findings, places: Sequence[int] = ()) -> Doubles:
        """Return the numbers (N,) of one feature; `places`: the records of the cells, where they are not all in order."""
        values, faults = read_numbers(cells, self._rules)
        for i, (reason, detail) in faults.items():
            name = self._names[number]
            findings.spoil(places[i] if places else i, name, reason, f"`{name}` {detail}")
        return values


def _is_absent(cell: Any) -> bool:
    """Tell the default of a field that is not in the record from every value that can be, also from a NaN in it."""
    return cell is NAN


class WideValues:
    """A field per feature, in any place of the record."""

    def __init__(self, fields: Sequence[str], cells: FeatureCells, *, ignores_others: bool) -> None:
        self.leaves = [Leaf(path, f"value_{i}", cells.type, NAN) for i, path in enumerate(fields)]
        self._cells, self._ignores_others = cells, ignores_others

    def read(self, cells: Iterable[Any], findings: Findings) -> Doubles:
        """See `ValueLayout`. A record without any of the fields is of another kind: refused, or ignored."""
        rows = list(cells)
        values = self._cells.read(rows, findings)
        empty = np.flatnonzero(np.isnan(values[:, 0]))
        for i in empty[np.isnan(values[empty]).all(axis=1)].tolist():
            if not all(map(_is_absent, rows[i] if self._cells.width > 1 else (rows[i],))):
                continue  # null, or text: the fields are there
            if self._ignores_others:
                findings.ignored.add(i)
            else:
                findings.refuse(i, Reason.MISSING_FEATURE, "none of the feature fields is in the record")
        return values


class ArrayValues:
    """One array holding the features in order; single elements may be null."""

    def __init__(self, field: str, cells: FeatureCells) -> None:
        width = cells.width
        strict, lenient = (tuple.__class_getitem__((kind,) * width) | None for kind in (cells.type, Any))
        self.leaves = [Leaf(field, "values", strict, None, lenient)]
        self._cells, self._missing = cells, (NAN,) * width

    def read(self, cells: Iterable[Any], findings: Findings) -> Doubles:
        """See `ValueLayout`. A record without the array is refused whatever the policy of its features."""
        rows = list(cells)
        for i in [i for i, row in enumerate(rows) if row is None]:
            findings.refuse(i, Reason.MISSING_FEATURE, f"the array `{self.leaves[0].path}` is absent or null")
            rows[i] = self._missing
        return self._cells.read(rows, findings)


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

    def __init__(
        self, name_field: str, value_field: str, names: Sequence[str], cells: FeatureCells, *, ignores_unknown: bool
    ) -> None:
        self.leaves = [
            Leaf(name_field, "name", str | None, None, str | None),
            Leaf(value_field, "value", cells.type, NAN),
        ]
        self._columns = {name: i for i, name in enumerate(names)}
        self._cells, self._ignores_unknown = cells, ignores_unknown

    def read(self, cells: Iterable[Any], findings: Findings) -> Doubles:
        """See `ValueLayout`. Records of unknown names are refused or ignored before their value is looked at."""
        rows = list(cells)
        values = np.full((len(rows), len(self._columns)), np.nan)
        columns = np.fromiter((self._columns.get(name, -1) for name, _ in rows), np.int64, len(rows))
        for number in np.unique(columns[columns >= 0]).tolist():
            places = np.flatnonzero(columns == number)
            ours = [rows[i][1] for i in places.tolist()]
            values[places, number] = self._cells.column(number, ours, findings, places.tolist())
        for i in np.flatnonzero(columns < 0).tolist():
            self._refuse_name(i, rows[i][0], findings)
        for i in np.flatnonzero((columns >= 0) & np.isnan(values).all(axis=1)).tolist():
            if _is_absent(rows[i][1]):
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


def value_layout(settings: InputSettings, features: Sequence[str], rules: NumberRules) -> ValueLayout:
    """Choose the shape for F features; arguments as in `connectors.codec.Codec`.

    Raises:
        ConfigError: the value fields do not fit the features.
    """
    is_wide, cells = settings.layout == "wide", FeatureCells(features, rules)
    ignores_others = settings.unknown_features == "ignore"
    fields = map_fields(features, settings.value_fields, lambda _: None, takes_array=is_wide)
    if not is_wide:
        return LongValues(settings.name_field, settings.value_field, fields, cells, ignores_unknown=ignores_others)
    if len(fields) == len(features):
        return WideValues(fields, cells, ignores_others=ignores_others)
    return ArrayValues(fields[0], cells)
