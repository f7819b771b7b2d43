"""Past data as one series a key, read record by record by the codec of the live stream.

What the codec refuses is left out here and said, what it takes `run` takes. Must not know what series are used for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from streamae.batches import Doubles, Partition, RawRecord, RecordBatch, Rejected, Series, Words
from streamae.connectors.codec import Codec
from streamae.connectors.field_names import map_fields
from streamae.connectors.files.columns import long_names, numeric_fields
from streamae.connectors.files.file_records import FileRecords
from streamae.connectors.files.paths import SUFFIXES, find_files
from streamae.connectors.files.record_files import is_there
from streamae.connectors.record_type import split_path
from streamae.connectors.value_layouts import CategoryValues
from streamae.errors import DataError
from streamae.reasons import Reason
from streamae.settings.data import InputSettings

CHUNK_RECORDS = 8_192  # decoded at a time
LABEL_FIELD = "is_anomaly"  # of labels, where none is named

Tell = Callable[[str], None]
Requires = Callable[[Sequence[str]], Sequence[bool]]


class WordList:
    """A vocabulary that knows every word it is shown: what training learns one from.

    Attributes:
        field: whose words these are.
        words: by code.
    """

    def __init__(self, field: str) -> None:
        self.field = field
        self.words: list[str] = []
        self._codes: dict[str, int] = {}

    def codes(self, values: Sequence[str | int | bool | None]) -> Doubles:
        """Return (N,) float64 codes, NaN = missing."""
        return np.array([np.nan if value is None or value == "" else self._code(value) for value in values])

    def _code(self, value: str | int | bool) -> int:
        word = ("true" if value else "false") if isinstance(value, bool) else str(value)
        code = self._codes.setdefault(word, len(self.words))
        if code == len(self.words):
            self.words.append(word)
        return code


class SeriesReader:
    """Collects what a codec makes of records, key by key.

    Args:
        settings: how records are read.
        features: F names of the numeric features, as the series are to call them.
        categories: fields read as text.
        required: F + C flags, see `Codec`; empty = nothing is.
        tell: hears what is left out or sorted.
    """

    def __init__(
        self,
        settings: InputSettings,
        features: Sequence[str],
        categories: Sequence[str] = (),
        required: Sequence[bool] = (),
        tell: Tell | None = None,
    ) -> None:
        self.features = tuple(features)
        self._lists = [WordList(".".join(split_path(field))) for field in categories]
        flags = required or (False,) * (len(features) + len(categories))
        self._codec = Codec(
            settings,
            features,
            flags,
            CategoryValues(self._lists, categories),
            has_labels=settings.label_field is not None,
        )
        self._max_rows, self._tell = settings.max_rows, tell or (lambda _: None)
        self._batches: list[RecordBatch] = []
        self._rows = 0

    def read(
        self,
        source: str,
        records: Iterable[dict[Partition, Sequence[RawRecord]]],
        place: Callable[[RawRecord], str] = lambda record: f"row {record.offset + 1}",
    ) -> None:
        """Take all records of a source.

        Args:
            source: what it is called.
            records: of it.
            place: where a record stands, for people.

        Raises:
            DataError: none of them can be used, or more than `max_rows` can.
        """
        taken, ignored, refused, bad_values = 0, 0, list[Rejected](), Counter[tuple[str, Reason]]()
        reasons: Counter[Reason] = Counter()
        for polled in records:
            batch, rejected = self._codec.decode(polled)
            self._batches.append(replace(batch, raw=[]))
            taken, ignored = taken + len(batch), ignored + batch.ignored
            bad_values += batch.bad_values
            reasons.update(one.reason for one in rejected)
            if rejected and not refused:
                refused.append(min(rejected, key=lambda one: one.raw.offset))
            if self._rows + taken > self._max_rows:
                raise DataError(f"{source}: more than {self._max_rows:,} rows: input.max_rows; read less, or raise it")
        self._rows += taken
        if refused:
            first = f"{place(refused[0].raw)}: {refused[0].detail}"
            text = _left_out(source, taken + ignored + reasons.total(), reasons, first)
            if not taken:
                raise DataError(text)
            self._tell(text)
        if ignored:
            self._tell(f"{source}: {ignored:,} records are not meant and ignored (input.only, unknown_features)")
        if bad_values:
            listed = ", ".join(f"{count:,} {name} ({reason})" for (name, reason), count in bad_values.most_common(5))
            self._tell(f"{source}: values that are no number count as missing: {listed}")

    def series(self) -> list[Series]:
        """Return one series a key, keys in order of appearance, rows in that of the records."""
        if not self._rows:
            return []
        batches = [batch for batch in self._batches if len(batch)]
        keys = [key for batch in batches for key in batch.keys]
        times = np.concatenate([batch.event_times_ms for batch in batches])
        values = np.concatenate([batch.values for batch in batches])
        labels = [batch.labels for batch in batches if batch.labels is not None]
        width = len(self.features)
        words = self._words(values[:, width:])
        names = tuple(one.field for one in self._lists)
        numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        codes = np.array([numbers[key] for key in keys], dtype=np.int64)
        order = np.argsort(codes, kind="stable")
        flags = np.concatenate(labels) if labels else None
        ids = [np.array(batch.ids, dtype=object) for batch in batches if batch.ids is not None]
        own_ids = np.concatenate(ids) if ids else None
        return [
            Series(
                key.decode(errors="replace"),
                self.features,
                times[rows],
                values[rows, :width],
                None if flags is None else flags[rows],
                names,
                None if words is None else words[rows],
                None if own_ids is None else own_ids[rows],
            )
            for key, rows in zip(numbers, np.split(order, np.cumsum(np.bincount(codes))[:-1]), strict=True)
        ]

    def _words(self, codes: Doubles) -> Words | None:
        """Return (N, C) text of the categories, None = missing."""
        if not self._lists:
            return None
        words = np.full(codes.shape, None, dtype=object)
        for i, one in enumerate(self._lists):
            known = np.flatnonzero(~np.isnan(codes[:, i]))
            words[known, i] = [one.words[int(code)] for code in codes[known, i]]
        return words


def read_series(
    paths: Sequence[Path],
    settings: InputSettings,
    categories: Sequence[str] = (),
    tell: Tell | None = None,
    *,
    features: Sequence[str] = (),
    requires: Requires = lambda inputs: [False] * len(inputs),
    sorts: bool = False,
) -> list[Series]:
    """Read files and folders as one series a key, keys in order of appearance.

    Args:
        paths: files, or folders that are searched for them.
        settings: how they are read. No `key_field` = each file is a series with the file's name as key. No
            `time_field` = `timestamp`, `event_time` or `time` if there is one, else rows are `row_ms` apart. No
            `value_fields` = `features`, or all columns of numbers but key, time, label and categories. No
            `label_field` = `is_anomaly`, if there is one.
        categories: columns read as text, see `Series.words`.
        tell: hears what is left out, or was not as one would expect.
        features: names of the features; empty = those of the fields.
        requires: tells of the names of features and categories which ones a record must have.
        sorts: bring each key's rows into the order of time; else they stay as they are.

    Raises:
        DataError: nothing found, a file or column cannot be used, no time was found, or files differ in their fields.
        ConfigError: the fields contradict each other, or are fewer than the features.
    """
    files = find_files(paths)
    if not files:
        raise DataError(f"no {', '.join(SUFFIXES)} file in {', '.join(map(str, paths)) or 'no path at all'}")
    found: dict[str, list[Series]] = {}
    names: tuple[str, ...] = tuple(features)
    for index, (file_name, path) in enumerate(files):
        file = FileRecords(Partition("files", index), file_name, path, settings)
        if not len(file):
            continue
        reader, names = _reader_of(file, names, files[0][1], categories, requires, tell)
        reader.read(str(path), ({Partition("files", index): chunk} for chunk in _chunks(file)))
        for one in reader.series():
            found.setdefault(one.key, []).append(one)
    if not found:
        raise DataError(f"{files[0][1]}: has no rows")
    whole = [joined(parts) for parts in found.values()]
    return in_time_order(whole, tell) if sorts else whole


def _reader_of(
    file: FileRecords,
    names: tuple[str, ...],
    first: Path,
    categories: Sequence[str],
    requires: Requires,
    tell: Tell | None,
) -> tuple[SeriesReader, tuple[str, ...]]:
    """Return what reads one file, and the names of the features, which are those of the first one."""
    settings, path = file.settings, file.file.path
    texts = tuple(file.path_of(field) for field in categories)
    if settings.label_field is None and LABEL_FIELD in file.names:
        settings = settings.model_copy(update={"label_field": LABEL_FIELD})
    fields = settings.value_paths or tuple(map(file.path_of, names))
    if settings.layout == "wide" and not fields:
        fields = numeric_fields(file.file.cells(), settings, texts, tell)
        if not fields:
            raise DataError(f"{path}: no numeric column for values; there are {', '.join(file.names)}")
    elif settings.layout == "long" and not fields:
        fields = long_names(file.file.cells(), settings)
    if settings.layout == "wide":
        absent = [field for field in fields if not is_there(field, file.names)]
        if absent and path == first:
            file.require(absent[0])
        if absent:
            raise DataError(f"{path}: column {absent[0]!r} is missing, but {first} has it: name value_fields")
    for field in texts:
        file.require(field)
    names = names or feature_names(settings, fields)
    if file.file.dialect is not None and settings.layout == "wide" and len(fields) == 1:
        map_fields(names, fields)  # a cell of CSV holds no array
    inputs = (*names, *plain_names(texts))
    settings = settings.model_copy(update={"value_fields": fields})
    return SeriesReader(settings, names, texts, requires(inputs), tell), names


def feature_names(settings: InputSettings, fields: Sequence[str]) -> tuple[str, ...]:
    """Return what features are called: as the settings name them, else as their fields."""
    return tuple(settings.value_fields) if isinstance(settings.value_fields, dict) else plain_names(fields)


def plain_names(fields: Sequence[str]) -> tuple[str, ...]:
    """Return the names of features that are called as their fields."""
    return tuple(field.replace("\\.", ".") for field in fields)


def _chunks(file: FileRecords) -> Iterable[list[RawRecord]]:
    return (file.records(start, CHUNK_RECORDS) for start in range(0, len(file), CHUNK_RECORDS))


def _left_out(source: str, total: int, reasons: Counter[Reason], first: str) -> str:
    listed = ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common())
    return (
        f"{source}: {reasons.total():,} of {total:,} records cannot be used and are left out ({listed});"
        f" the first, {first}"
    )


def in_time_order(series: Sequence[Series], tell: Tell | None = None) -> list[Series]:
    """Return series whose rows are in the order of time; rows of equal times stay in theirs."""
    steps_back = [int(np.count_nonzero(np.diff(one.event_times_ms) < 0)) for one in series]
    if any(steps_back) and tell is not None:
        worst = series[int(np.argmax(steps_back))].key
        count = f"{sum(steps_back):,} steps back, most of key {worst!r}"
        tell(f"rows were not in the order of time ({count}): they are sorted, key by key")
    return [one.take(np.argsort(one.event_times_ms, kind="stable")) for one in series]


def joined(parts: list[Series]) -> Series:
    """Return the series of one key from several files, in the order of the first time of each."""
    if len(parts) == 1:
        return parts[0]
    parts = sorted(parts, key=lambda part: int(part.event_times_ms[0]))
    labels = [np.zeros(len(part), dtype=np.bool_) if part.labels is None else part.labels for part in parts]
    has_labels = any(part.labels is not None for part in parts)
    words = [part.words for part in parts if part.words is not None]
    ids = [part.ids for part in parts if part.ids is not None]
    return replace(
        parts[0],
        event_times_ms=np.concatenate([part.event_times_ms for part in parts]),
        values=np.concatenate([part.values for part in parts]),
        labels=np.concatenate(labels) if has_labels else None,
        words=np.concatenate(words) if words else None,
        ids=np.concatenate(ids) if ids else None,
    )
