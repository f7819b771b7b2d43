"""Which fields are features, with their figures; and what is left out, each with the reason.

Must not know: how the time was found, doubts, or settings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from streamae.batches import Doubles, Ints
from streamae.connectors.side_fields import truths
from streamae.discovery.columns import Column, Kind
from streamae.discovery.figures import Figures, figures_of
from streamae.discovery.keys import Metrics
from streamae.discovery.names import LABEL, RECORD, hints_at, is_id
from streamae.discovery.times import counts_up

RARE = 0.03  # share of ones up to which 0 and 1 are more of a verdict than a measurement
MOST_RARE = 2  # columns of this kind, or that are always 0; more are channels of commands, states or errors
MOST_CLASSES = 10
WITH_UNIT = re.compile(
    r"[-+\u2212]?\d+([.,]\d+)*( ?[%°‰][CFK]?| [^\W\d_]{1,5}[²³]?(/[^\W\d_]{1,3}[²³]?)?)"
)  # 1.23 kW, 45%
UNITS_IN_CELLS = "numbers with their unit"
UNIT_CELLS = 200  # different cells that are looked at
FEW_WORDS = 50  # different texts up to which they may be categories
_MARKED = re.compile(r"[-+]?\d{1,3}(?:[.,' \u2019\u00a0\u202f]\d{3})*(?:[.,]\d+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A field that is no feature, and why."""

    field: str
    why: str


@dataclass(frozen=True, slots=True, eq=False)
class Feature:
    """A feature and its rows.

    Attributes:
        name: of the feature: the field's path, or the metric's name.
        kind: of the cells.
        numbers: (n,) float64 its rows in the order of key and time, NaN = missing.
        keys: (n,) int64 key of each.
        times_ms: (n,) int64.
        figures: of them.
        odd: cells that are no number.
        example: one of these.
    """

    name: str
    kind: Kind
    numbers: Doubles
    keys: Ints
    times_ms: Ints
    figures: Figures
    odd: int
    example: str


@dataclass(frozen=True, slots=True)
class Roles:
    """What fields are besides features.

    Attributes:
        label: field of known anomalies, None = none.
        labels: fields that look like one, with why, the chosen one too.
        record_id: field with a record's own id, None = none.
        left_out: fields that are no features, and why.
    """

    label: str | None
    labels: dict[str, str]
    record_id: str | None
    left_out: tuple[LeftOut, ...]


def find_roles(columns: Mapping[str, Column], taken: Collection[str], files: Ints) -> Roles:
    """Return what the fields are that are neither time nor key nor feature.

    Args:
        columns: all columns by name.
        taken: fields that are time, key or part of the long layout.
        files: (N,) int64 number of the file of each row.
    """
    free = {name: column for name, column in columns.items() if name not in taken}
    labels = _labels(free)
    named = [name for name in labels if hints_at(name, LABEL) and tells_anomalies(free[name])]
    record_id = next((name for name, column in free.items() if _is_record_id(column)), None)
    left_out = []
    for name, column in free.items():
        why = labels.get(name) or ("the record's own id" if name == record_id else _why_not(column, files))
        if why:
            left_out.append(LeftOut(name, why))
    return Roles(named[0] if named else None, labels, record_id, tuple(left_out))


def tells_anomalies(column: Column) -> bool:
    """Tell whether what is not 0 may be the anomalies: neither most rows, nor -1 beside 1."""
    if column.kind is Kind.TEXT:
        return 0 < float(truths(column.cells).mean()) < 0.5
    there = column.numbers[column.is_there]
    return bool(there.min() >= 0) and float((there != 0).mean()) < 0.5


def features_of(columns: Sequence[Column], order: Ints, keys: Ints, times_ms: Ints) -> list[Feature]:
    """Return columns as features.

    Args:
        columns: of numbers.
        order: (N,) int64 indices that sort rows by key and time.
        keys, times_ms: (N,) int64 of each row, in the order of the source.
    """
    sorted_keys, sorted_times = keys[order], times_ms[order]
    return [
        _feature(column.name, column, column.numbers[order], sorted_keys, sorted_times, column.odd)
        for column in columns
    ]


def metrics_of(
    metrics: Metrics, columns: Mapping[str, Column], order: Ints, keys: Ints, times_ms: Ints
) -> list[Feature]:
    """Return the metrics of the long layout as features; see `features_of`."""
    name, value = columns[metrics.name_field], columns[metrics.value_field]
    codes = name.codes[order]
    by_name = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[by_name], np.arange(name.distinct + 1))
    features = []
    for code, word in enumerate(name.places):
        rows = order[by_name[bounds[code] : bounds[code + 1]]]
        features.append(_feature(str(word), value, value.numbers[rows], keys[rows], times_ms[rows], 0))
    return features


def _feature(name: str, column: Column, numbers: Doubles, keys: Ints, times_ms: Ints, odd: int) -> Feature:
    return Feature(name, column.kind, numbers, keys, times_ms, figures_of(numbers, keys), odd, column.example)


def _labels(free: Mapping[str, Column]) -> dict[str, str]:
    """Return the fields that look like labels, with why: those whose names say so, else those that are nearly all 0,
    unless the records count or switch much that hardly ever happens.
    """
    named, rare, never = {}, {}, 0
    for name, column in free.items():
        if column.kind is Kind.TEXT and hints_at(name, LABEL) and column.distinct <= MOST_CLASSES:
            if tells_anomalies(column):
                bad, total = np.count_nonzero(truths(column.cells)), len(column.cells)
                named[name] = f"looks like a label: its name, and {bad:,} of {total:,} rows are not normal"
            continue
        if not column.is_numeric or not column.is_whole or column.odd:
            continue
        there = column.numbers[column.is_there]
        if np.abs(there).max() > MOST_CLASSES:
            continue
        ones = float((there != 0).mean())
        never += ones == 0
        if hints_at(name, LABEL):
            marked = f"{np.count_nonzero(there):,} of {len(there):,} rows are not 0" if ones else "it is 0 in every row"
            named[name] = f"looks like a label: its name, and {marked}"
        elif there.min() == 0 and there.max() == 1 and 0 < ones <= RARE:
            rare[name] = f"looks like a label: 0 but for {np.count_nonzero(there):,} of {len(there):,} rows"
    return named or (rare if max(len(rare), never) <= MOST_RARE else {})


def _is_record_id(column: Column) -> bool:
    """Tell whether a column names each record."""
    if column.kind not in {Kind.TEXT, Kind.NUMBER, Kind.TEXT_NUMBER} or not hints_at(column.name, RECORD):
        return False
    if column.is_numeric and not column.is_whole:
        return False
    return len(column.cells) > 1 and not column.missing and column.distinct == len(column.cells)


def _has_units(column: Column) -> bool:
    """Tell whether cells of text are numbers that are followed by a unit: `1.23 kW`."""
    some = list(column.places)[:UNIT_CELLS]
    return all(isinstance(cell, str) and WITH_UNIT.fullmatch(cell.strip()) for cell in some)


def _holds_json(column: Column) -> bool:
    """Tell whether the first text of a column is a whole record or list: a message that was wrapped as text."""
    first = next((str(cell).strip() for cell in column.places), "")
    if first[:1] not in ("{", "["):
        return False
    try:
        return isinstance(json.loads(first), dict | list)
    except (ValueError, RecursionError):
        return False


def _why_not(column: Column, files: Ints) -> str | None:
    """Return why a column is no feature, None where it may be one."""
    if column.kind is Kind.EMPTY or (column.is_numeric and not column.is_there.any()):
        return "no value in any row"
    if column.kind is Kind.NESTED:
        return "a list or an object, not a number"
    if column.kind is Kind.TEXT:
        if _holds_json(column):
            return f"JSON inside of text, which is not looked into, such as {column.example!r}: write its fields into the record"
        if column.distinct == 1:
            where = (
                f"in the {len(column.cells) - column.missing:,} rows that have one"
                if column.missing
                else "in every row"
            )
            return f"the same text {where}: {column.example!r}"
        if _has_units(column):
            return f"{UNITS_IN_CELLS}, such as {column.example!r}: write the numbers alone"
        hint = f", {column.distinct} different: features.category_fields" if column.distinct <= FEW_WORDS else ""
        if _MARKED.fullmatch(column.example) and column.example.count(".") != 3:  # which would be an address
            hint = ": a number? input.decimal_mark and input.thousands_mark say how it is written"
        return f"text such as {column.example!r}{hint}"
    if counts_up(column, files):
        return "grows by one from row to row"
    if is_id(column.name) and column.is_whole:
        return "an id by its name, not a measurement"
    return None
