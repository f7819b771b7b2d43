"""Sources as cells to look at and records to try a reading on: files, text of JSON lines, records of a topic.

Must not know: what is proposed for them.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from streamae.batches import Partition, RawRecord, Record
from streamae.connectors.cell_values import NumberRules
from streamae.connectors.files.csv_dialect import Dialect
from streamae.connectors.files.json_files import BOM, records_of
from streamae.connectors.files.paths import SUFFIXES, find_files
from streamae.connectors.files.record_files import json_cells, open_file
from streamae.connectors.files.series import SeriesReader, plain_names
from streamae.discovery.doubts import Doubt
from streamae.discovery.proposal import Decision, Proposal, propose
from streamae.discovery.scene import Sample, Wish
from streamae.errors import DataError, StreamaeError
from streamae.settings.data import InputSettings

MOST_ROWS = 1_000_000  # that are looked at; of more, the first ones
TRIED = 20_000  # records of a source on which a reading is tried
MANY = 50  # files looked at one by one


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """What is looked at.

    Attributes:
        name: for people.
        sample: its cells, or those of its first rows, with what Kafka says of them.
        total: how many records there are.
        settings: how it is read: those given, with what the source says of itself.
        dialect: how its text is written; None where that is no question.
        first: returns its first records.
    """

    name: str
    sample: Sample
    total: int
    settings: InputSettings
    dialect: Dialect | None
    first: Callable[[int], list[RawRecord]]


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of a reading.

    Attributes:
        records: how many it was tried on.
        rows: how many of them became rows.
        said: what was left out or was not as one would expect, a sentence each.
    """

    records: int
    rows: int
    said: tuple[str, ...]


def file_sources(paths: Sequence[Path], settings: InputSettings, progress: Callable[[str], None]) -> list[Source]:
    """Return the files of paths and folders as sources, of the first `MOST_ROWS` rows together.

    Args:
        paths: files and folders.
        settings: how they are read, as far as it was said.
        progress: hears which file is read.

    Raises:
        DataError: there is no file, or one cannot be read; names the file and what helps.
    """
    files = find_files(paths)
    if not files:
        raise DataError(f"no {', '.join(SUFFIXES)} file in {', '.join(map(str, paths))}")
    sources: list[Source] = []
    left = MOST_ROWS
    for name, path in files[:MANY]:
        if left <= 0:
            break
        progress(f"reading {path}")
        sources.append(_file_source(name, path, settings, left))
        left -= sources[-1].sample.table.count
    return sources


def text_source(data: bytes, settings: InputSettings) -> Source:
    """Return JSON lines, or one array of records, that came as text.

    Raises:
        DataError: there are too many.
    """
    lines = records_of(data.removeprefix(BOM), "standard input", settings.max_rows)
    table = json_cells("standard input", lines[:MOST_ROWS])
    return Source(
        "standard input", Sample(table), len(lines), settings, None, _records("stdin", lambda count: lines[:count])
    )


def topic_source(topic: str, records: Mapping[Partition, Sequence[RawRecord]], settings: InputSettings) -> Source:
    """Return records of a topic, with the Kafka timestamp and key where no field is the time or key."""
    found = list(heapq.merge(*records.values(), key=lambda record: record.timestamp))  # as they came, of all partitions
    table = json_cells(f"topic {topic}", [record.value or b"" for record in found])
    stamps = np.array([record.timestamp for record in found], np.int64)
    keys = {key: number for number, key in enumerate(dict.fromkeys(record.key for record in found if record.key))}
    numbers = np.array([keys.get(record.key or b"", -1) for record in found], np.int64)
    sample = Sample(table, stamps, numbers, np.array([record.partition for record in found], np.int64))
    return Source(table.source, sample, len(found), settings, None, lambda count: found[:count])


def spelling(sources: Sequence[Source]) -> list[str]:
    """Return how the text of the sources is written, for people."""
    dialects = [_spelt(source.dialect) for source in sources if source.dialect is not None]
    lines = [line for line, _ in Counter(dialects).most_common(3)]
    total, seen = sum(source.total for source in sources), sum(source.sample.table.count for source in sources)
    return lines + ([f"only the first {seen:,} of {total:,} rows are looked at"] if seen < total else [])


def _spelling_doubts(sources: Sequence[Source]) -> list[Doubt]:
    """Return what may be meant otherwise in the text of the sources."""
    found = {doubt for source in sources if source.dialect is not None for doubt in source.dialect.doubts}
    return [Doubt("", doubt.text, doubt.setting) for doubt in sorted(found)]


def _spelling_settings(sources: Sequence[Source]) -> dict[str, Decision]:
    """Return the settings of text that is written otherwise than plainly, where all sources agree."""
    dialects = [source.dialect for source in sources if source.dialect is not None]
    if len(dialects) != len(sources) or len(set(map(_spelt, dialects))) != 1:
        return {}
    one = dialects[0]
    values = {
        "input.delimiter": one.delimiter if one.delimiter != "," else None,
        "input.text_encoding": one.encoding if not one.encoding.startswith("utf-8") else None,
        "input.skip_lines": one.skip_lines or None,
        "input.decimal_mark": one.decimal_mark if one.decimal_mark != "." else None,
        "input.thousands_mark": one.thousands_mark,
    }
    return {name: Decision(value, "as the file is written") for name, value in values.items() if value is not None}


def proposal_for(sources: Sequence[Source], wish: Wish, now_ms: int) -> Proposal:
    """Return how sources would be read, with what their text says of itself; numbers are spelt as in the first.

    Args:
        sources: at least one.
        wish: what the user set.
        now_ms: wall clock, milliseconds since the epoch.

    Raises:
        DataError: there are no rows, or none has a field that the user named.
    """
    rules = NumberRules.of(sources[0].settings)
    proposal = propose([source.sample for source in sources], wish, now_ms, rules)
    found = {name: value for name, value in _spelling_settings(sources).items() if name not in wish.given}
    return proposal.with_more(found, [doubt for doubt in _spelling_doubts(sources) if doubt.setting not in wish.given])


def try_reading(sources: Sequence[Source], proposal: Proposal, categories: Sequence[str]) -> Trial:
    """Read the first records as the proposal says, with the codec of training and of the live stream."""
    found = {setting: value for setting, value in proposal.section("input").items() if value is not None}
    features = plain_names([feature.name for feature in proposal.scene.features])
    records = rows = 0
    said: list[str] = []
    for source in sources:
        settings = source.settings.model_copy(update=found)
        tried = source.first(TRIED)
        if settings.time_field is None and settings.row_ms is not None:
            tried = [_at(record, row * settings.row_ms) for row, record in enumerate(tried)]
        records += len(tried)
        try:
            reader = SeriesReader(settings, features, categories, tell=said.append)
            reader.read(source.name, [{Partition(tried[0].topic, tried[0].partition): tried}] if tried else [])
            rows += sum(map(len, reader.series()))
        except StreamaeError as error:
            said.append(str(error))
        if records >= MOST_ROWS:
            break
    return Trial(records, rows, tuple(said))


def _file_source(name: str, path: Path, settings: InputSettings, left: int) -> Source:
    file = open_file(path, settings)
    first = _records(name, lambda count: file.records(0, count))
    return Source(str(path), Sample(file.cells(left)), len(file), file.settings, file.dialect, first)


def _records(name: str, read: Callable[[int], list[bytes]]) -> Callable[[int], list[RawRecord]]:
    def first(count: int) -> list[RawRecord]:
        return [Record("sample", 0, row, -1, name.encode(), value, []) for row, value in enumerate(read(count))]

    return first


def _at(record: RawRecord, time_ms: int) -> RawRecord:
    return Record(record.topic, record.partition, record.offset, time_ms, record.key, record.value, [])


def _spelt(dialect: Dialect) -> str:
    marks = {"\t": "tab", " ": "blanks"}
    facts = [dialect.encoding, f"delimiter {marks.get(dialect.delimiter, dialect.delimiter)}"]
    facts.append(f"decimal mark {dialect.decimal_mark}")
    if dialect.thousands_mark is not None:
        facts.append(f"thousands mark {dialect.thousands_mark}")
    if dialect.skip_lines:
        facts.append(f"names in line {dialect.skip_lines + 1}")
    if dialect.trailing_empty:
        facts.append(f"{dialect.trailing_empty} columns without a name at the end")
    return "  ".join(facts)
