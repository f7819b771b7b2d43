"""What sources hold: time, layout, key, labels, features and the rhythm of rows, found one after the other.

What the user named is taken as it is. Must not know: which settings follow from it, or how it is shown.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import overload

import numpy as np

from streamae.batches import Flags, Ints
from streamae.connectors.cell_table import CellTable
from streamae.connectors.cell_values import NumberRules
from streamae.connectors.event_times import UNREADABLE, plausible_range
from streamae.connectors.repeated_hours import resolve_order
from streamae.discovery.columns import Column, read_columns
from streamae.discovery.features import Feature, LeftOut, Roles, features_of, find_roles, metrics_of
from streamae.discovery.keys import MERGED, Key, Metrics, find_key, find_metrics, key_of, needed_metrics, unique_share
from streamae.discovery.names import TIME, hints_at
from streamae.discovery.rhythm import Rhythm, rhythm_of
from streamae.discovery.time_spellings import NEARLY_ALL
from streamae.discovery.times import Time, find_times
from streamae.errors import DataError
from streamae.settings.data import FeatureSettings, InputSettings, WindowSettings


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user set, and what counts where nothing is.

    Attributes:
        input, window, features: sections of the settings.
        given: names (`input.time_field`) of what was set: it is not decided again.
    """

    input: InputSettings
    window: WindowSettings
    features: FeatureSettings
    given: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Records of one source.

    Attributes:
        table: cells of all of its records or of some, in order.
        stamps_ms: (N,) int64 Kafka timestamps: the event time where no field holds one; None = it has none.
        keys: (N,) int64 number of each record's Kafka key, -1 = it has none; None = the source is one key.
        partitions: (N,) int64 partition of each; None = there are none.
    """

    table: CellTable
    stamps_ms: Ints | None = None
    keys: Ints | None = None
    partitions: Ints | None = None

    def only(self, texts: Mapping[str, str | tuple[str, ...]]) -> Sample:
        """Return the records that `input.only` keeps."""
        if not texts:
            return self
        table, keep = self.table, list(range(self.table.count))
        for name, words in texts.items():
            allowed = {words} if isinstance(words, str) else set(words)
            of_name = table.cells.get(name, [None] * table.count)
            keep = [row for row in keep if str(of_name[row]) in allowed]
        cells = {name: [of[row] for row in keep] for name, of in table.cells.items()}
        kafka = [None if one is None else one[keep] for one in (self.stamps_ms, self.keys, self.partitions)]
        return Sample(CellTable(table.source, len(keep), cells, table.is_text), *kafka)


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """What was found.

    Attributes:
        sources: names of what was looked at.
        rows: how many records.
        columns: all fields by name.
        is_text: all cells are text.
        time: the event time; None = no field holds one.
        times_ms: (N,) int64 event times, in the order of the source; None = there are none.
        is_usable: (N,) bool, rows with a time that can be used.
        metrics: of the long layout; None = wide.
        key: what tells keys apart.
        spread_keys: keys that stand in several partitions.
        roles: labels, ids, and what else is no feature.
        features: in order.
        left_out: what is no feature, and why.
        rhythm: when rows come; None where there are no times.
    """

    sources: tuple[str, ...]
    rows: int
    columns: Mapping[str, Column]
    is_text: bool
    time: Time | None
    times_ms: Ints | None
    is_usable: Flags
    metrics: Metrics | None
    key: Key
    spread_keys: int
    roles: Roles
    features: tuple[Feature, ...]
    left_out: tuple[LeftOut, ...]
    rhythm: Rhythm | None


def look(samples: Sequence[Sample], wish: Wish, now_ms: int, rules: NumberRules | None = None) -> Scene:
    """Return what sources hold.

    Args:
        samples: one a source; all of them have Kafka timestamps, or none.
        wish: what the user set.
        now_ms: wall clock, milliseconds since the epoch: times long after it are implausible.
        rules: how numbers are spelt in these sources; None = as the settings say.

    Raises:
        DataError: there are no rows, or none has a field that the user named.
    """
    samples = [sample.only(wish.input.only) for sample in samples]
    tables = [sample.table for sample in samples]
    sources, rows = tuple(table.source for table in tables), sum(table.count for table in tables)
    if not rows:
        raise DataError(f"{', '.join(sources)}: no rows to look at")
    files = _groups_of(samples)
    columns = read_columns(tables, rules or NumberRules.of(wish.input))
    _check_names(columns, wish.input)
    time, others = find_times(columns, files, wish.input, now_ms)
    times, usable = _times(time, wish.input, files, _stamps(samples), now_ms)
    taken = set() if time is None else {name for name in (time.field, time.date_field) if name is not None}
    others = [one for one in others if one.field not in taken and _is_another(one, columns[one.field])]
    taken |= {one.field for one in others}
    metrics = _metrics(columns, taken, wish)
    taken |= set() if metrics is None else {metrics.name_field, metrics.value_field, *metrics.others}
    key = _key(columns, taken, files, _resolved(times, time, files), metrics, wish)
    taken |= set() if key.field is None else {key.field}
    if metrics is None and (metrics := _needed_metrics(columns, taken, key, files, times, tables, wish)) is not None:
        taken |= {metrics.name_field, metrics.value_field}
        key = key_of(columns[str(key.field)], times, columns[metrics.name_field].codes)
    names = files if metrics is None else columns[metrics.name_field].codes
    if times is not None and time is not None and time.later_ms is not None:
        times = _resolved(times, time, files, key.codes, names)
        key = replace(key, unique=unique_share(times, files, key.codes, names))
    roles = _roles(columns, taken, files, wish)
    stamps = np.arange(rows, dtype=np.int64) if times is None else times
    order = (by_key := np.lexsort((stamps, key.codes)))[usable[by_key]]
    if metrics is not None:
        found = metrics_of(metrics, columns, order, key.codes, stamps)
    else:
        found = features_of(_numeric(columns, taken, roles, wish), order, key.codes, stamps)
    features, left_out = _chosen(found, columns, taken, roles, metrics, wish)
    return Scene(
        sources=sources,
        rows=rows,
        columns=columns,
        is_text=all(table.is_text for table in tables),
        time=time,
        times_ms=times,
        is_usable=usable,
        metrics=metrics,
        key=key,
        spread_keys=_spread(samples, key),
        roles=roles,
        features=features,
        left_out=(*(LeftOut(name, "another time") for name in dict.fromkeys(one.field for one in others)), *left_out),
        rhythm=_rhythm(times, usable, files, key, None if metrics is None else names),
    )


def _rhythm(times_ms: Ints | None, is_usable: Flags, files: Ints, key: Key, metrics: Ints | None) -> Rhythm | None:
    """Return when usable rows come; None where there are no times."""
    if times_ms is None or not is_usable.any():
        return None
    groups = None if metrics is None else _groups(key.codes, metrics)[is_usable]
    return rhythm_of(times_ms[is_usable], key.codes[is_usable], files[is_usable], groups)


@overload
def _resolved(times_ms: Ints, time: Time | None, *groups: Ints) -> Ints: ...
@overload
def _resolved(times_ms: Ints | None, time: Time | None, *groups: Ints) -> Ints | None: ...
def _resolved(times_ms: Ints | None, time: Time | None, *groups: Ints) -> Ints | None:
    """Return the times with the hour that a clock shows twice told apart by the order of rows of each group."""
    if times_ms is None or time is None or time.later_ms is None:
        return times_ms
    return resolve_order(times_ms, time.later_ms, list(zip(*(of.tolist() for of in groups), strict=True)))


def _is_another(time: Time, column: Column) -> bool:
    """Tell whether a field that can be read as times holds some: a version such as 1.2.3 looks like a time of day."""
    return hints_at(time.field, TIME) or (time.unit is None and not time.is_relative and column.distinct > 1)


def _spread(samples: Sequence[Sample], key: Key) -> int:
    """Return how many keys stand in several partitions of a topic."""
    partitions = [sample.partitions for sample in samples if sample.partitions is not None]
    if not partitions:
        return 0
    places = np.unique(np.stack([key.codes, np.concatenate(partitions)]), axis=1)
    return int(np.count_nonzero(np.bincount(places[0][places[0] >= 0]) > 1))


def _stamps(samples: Sequence[Sample]) -> Ints | None:
    """Return the (N,) Kafka timestamps; None = there are none."""
    stamps_ms = [sample.stamps_ms for sample in samples if sample.stamps_ms is not None]
    return np.concatenate(stamps_ms) if stamps_ms else None


def _groups_of(samples: Sequence[Sample]) -> Ints:
    """Return (N,) int64 what is a key where no field is one: a source, or a Kafka key; -1 = there is none."""
    groups, first = [], 0
    for sample in samples:
        keys = np.zeros(sample.table.count, np.int64) if sample.keys is None else sample.keys
        groups.append(np.where(keys < 0, -1, keys + first))
        first += int(keys.max(initial=0)) + 1
    return np.concatenate(groups)


def _named(wish: Wish) -> set[str]:
    """Return the fields that the user gave another part to than that of the key."""
    of = wish.input
    fields = (of.time_field, of.date_field, of.label_field, of.id_field, *of.value_fields)
    return {name for name in (*fields, *wish.features.category_fields) if name is not None}


def _check_names(columns: Mapping[str, Column], of: InputSettings) -> None:
    named = [
        ("input.time_field", of.time_field),
        ("input.date_field", of.date_field),
        ("input.key_field", of.key_field),
    ]
    named += [("input.label_field", of.label_field), ("input.id_field", of.id_field)]
    if of.layout == "long":
        named += [("input.name_field", of.name_field), ("input.value_field", of.value_field)]
    else:
        named += [("input.value_fields", name) for name in of.value_fields]
    for setting, name in named:
        if name is not None and name not in columns:
            raise DataError(f"{setting}: no field {name!r}; there are {', '.join(columns)}")


def _times(
    time: Time | None, of: InputSettings, files: Ints, stamps_ms: Ints | None, now_ms: int
) -> tuple[Ints | None, Flags]:
    """Return the event times, and which of them can be used."""
    everything = np.ones(len(files), np.bool_)
    if of.row_ms is not None and (time is None or not time.is_known):
        return (np.arange(len(files), dtype=np.int64) - np.searchsorted(files, files)) * of.row_ms, everything
    if time is None:
        return stamps_ms, everything
    readable = time.times_ms != UNREADABLE
    earliest, latest = plausible_range(now_ms)
    plausible = readable & (time.times_ms >= earliest) & (time.times_ms <= latest)
    return time.times_ms, plausible if plausible.sum() >= NEARLY_ALL * readable.sum() else readable


def _metrics(columns: Mapping[str, Column], taken: Collection[str], wish: Wish) -> Metrics | None:
    of = wish.input
    if of.layout == "long":
        return Metrics(of.name_field, of.value_field, ())
    return find_metrics(columns, {*taken, *_named(wish)}) if _is_open(wish) else None


def _is_open(wish: Wish) -> bool:
    """Tell whether the layout is still to be found out."""
    return "input.layout" not in wish.given and not wish.input.value_fields


def _needed_metrics(
    columns: Mapping[str, Column],
    taken: Collection[str],
    key: Key,
    files: Ints,
    times_ms: Ints | None,
    tables: Sequence[CellTable],
    wish: Wish,
) -> Metrics | None:
    """Return the long layout where without it rows of a key have the same times; None where it does not help."""
    if times_ms is None or key.field is None or key.unique >= MERGED or not _is_open(wish):
        return None
    is_text = all(table.is_text for table in tables)
    return needed_metrics(columns, {*taken, *_named(wish)}, key, files, times_ms, is_text=is_text)


def _key(
    columns: Mapping[str, Column],
    taken: Collection[str],
    files: Ints,
    times_ms: Ints | None,
    metrics: Metrics | None,
    wish: Wish,
) -> Key:
    codes = () if metrics is None else (columns[metrics.name_field].codes,)
    if wish.input.key_field is not None:
        return key_of(columns[wish.input.key_field], times_ms, *codes)
    return find_key(columns, {*taken, *_named(wish)}, files, times_ms, *codes)


def _roles(columns: Mapping[str, Column], taken: Collection[str], files: Ints, wish: Wish) -> Roles:
    """Return what is no feature, with what the user said of it."""
    of, words = wish.input, wish.features.category_fields
    named = {of.label_field: "the label, as you said", of.id_field: "the record's id, as you said"}
    named |= dict.fromkeys(words, "a category, as you said")
    found = find_roles(columns, {*taken, *of.value_fields, *(name for name in named if name is not None)}, files)
    given = [LeftOut(name, why) for name, why in named.items() if name is not None]
    labels = {} if of.label_field is not None else found.labels
    label = of.label_field or found.label
    return Roles(label, labels, of.id_field or found.record_id, (*given, *found.left_out))


def _numeric(columns: Mapping[str, Column], taken: Collection[str], roles: Roles, wish: Wish) -> list[Column]:
    if wish.input.value_fields:
        return [columns[name] for name in wish.input.value_fields]
    gone = {*taken, *(left.field for left in roles.left_out)}
    return [column for name, column in columns.items() if name not in gone and column.is_numeric]


def _chosen(
    features: Sequence[Feature],
    columns: Mapping[str, Column],
    taken: Collection[str],
    roles: Roles,
    metrics: Metrics | None,
    wish: Wish,
) -> tuple[tuple[Feature, ...], list[LeftOut]]:
    """Return the features that stay, and everything else that none of the parts has."""
    left_out = list(roles.left_out)
    asked = wish.input.value_fields
    if metrics is not None:
        left_out += [LeftOut(name, "another value of the metric") for name in metrics.others]
        left_out += [LeftOut(one.name, "no number in any record") for one in features if not one.figures.count]
        features = [one for one in features if one.figures.count]
        if asked:
            left_out += [LeftOut(one.name, "not in input.value_fields") for one in features if one.name not in asked]
            features = [one for one in features if one.name in asked]
    why = "no part of the long layout" if metrics is not None else "not in input.value_fields"
    known = {*taken, *(left.field for left in left_out), *(one.name for one in features if metrics is None)}
    left_out += [LeftOut(name, why) for name in columns if name not in known]
    return tuple(features), left_out


def _groups(keys: Ints, metrics: Ints) -> Ints:
    """Return what goes on by itself: a metric of a key."""
    return keys * (int(metrics.max(initial=0)) + 2) + metrics + 1
