"""One reading: the same content is the same rows and the same refusals, whatever holds it and whoever asks."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from streamae.batches import Partition, RawRecord, Record, RecordBatch, Rejected
from streamae.connectors.codec import Codec
from streamae.connectors.files.record_files import open_file
from streamae.connectors.files.series import read_series
from streamae.connectors.files.source import FileSource, reading_of
from streamae.errors import DataError
from streamae.settings.data import InputSettings

START_MS = 1_740_960_000_000
FEATURES = ("a", "b.c", "flag")
FORMATS = ("csv", "csv.gz", "semicolon", "parquet", "struct", "jsonl", "ndjson.gz", "json", "kafka")
Row = dict[str, Any]


def made_rows(rng: random.Random) -> list[Row]:
    """Return rows with everything that people have: holes, text, truth values, bad times, absent keys, sentinels."""
    bad = rng.random() < 0.6
    rows = []
    for number in range(rng.randint(1, 12)):
        at: Any = START_MS + 10_000 * number + rng.choice([0, 0, 1, 250])
        row: Row = {"at": at, "id": rng.choice(["m1", "m2", "7", "007"])}
        for name in FEATURES[:2]:
            row[name] = rng.choice([rng.gauss(0, 1), rng.gauss(2.4e9, 6), rng.randint(-300, 300), -200, 1e-300, 0.1])
        row["flag"] = rng.random() < 0.5
        if bad and rng.random() < 0.4:
            name = rng.choice(list(row))
            wrong = {"at": [None, "soon", -5, 10**30], "id": [None, "x" * 20]}
            row[name] = rng.choice(wrong.get(name, [None, "n/a", "NaN", "12abc", "1e400", "Infinity", 5e31, "1,5"]))
        rows.append(row)
    return rows


def text(cell: Any) -> str:
    """Return a cell as CSV has it."""
    return "" if cell is None else json.dumps(cell) if isinstance(cell, bool | float) else str(cell)


def nested(row: Row) -> Row:
    """Return a row as JSON has it: `b.c` is `c` inside of `b`."""
    return {"at": row["at"], "id": row["id"], "a": row["a"], "b": {"c": row["b.c"]}, "flag": row["flag"]}


def write(folder: Path, rows: Sequence[Row], kind: str) -> Path:
    """Write rows in a format."""
    path = folder / f"data.{ {'semicolon': 'csv', 'struct': 'parquet'}.get(kind, kind) }"
    names = list(rows[0])
    if kind in {"csv", "csv.gz", "semicolon"}:
        mark = ";" if kind == "semicolon" else ","
        cells = [[text(row[name]) for name in names] for row in rows]
        quoted = [[f'"{cell}"' if mark in cell else cell for cell in line] for line in cells]
        data = "\n".join(mark.join(line) for line in [names, *quoted]).encode() + b"\n"
    elif kind in {"parquet", "struct"}:  # a column of mixed types is one of text
        of = [nested(row) for row in rows] if kind == "struct" else rows
        columns = {name: [one[name] for one in of] for name in of[0]}
        parquet.write_table(pa.table({name: column(cells) for name, cells in columns.items()}), path)
        return path
    else:
        lines = [json.dumps(nested(row)) for row in rows]
        data = (f"[{','.join(lines)}]" if kind == "json" else "\n".join(lines)).encode()
    path.write_bytes(gzip.compress(data) if kind.endswith("gz") else data)
    return path


def column(cells: list[Any]) -> pa.Array:
    """Return a Parquet column, of text where types are mixed or too large."""
    if all(isinstance(cell, dict) for cell in cells):
        return pa.StructArray.from_arrays([column([cell["c"] for cell in cells])], ["c"])
    kinds = {type(cell) for cell in cells} - {type(None)}
    is_plain = kinds <= {bool} or kinds <= {str} or (kinds <= {int, float} and all(abs(c or 0) < 2**53 for c in cells))
    if not is_plain:
        return pa.array([None if cell is None else text(cell) for cell in cells], pa.string())
    return pa.array([float(cell) if kinds == {int, float} and cell is not None else cell for cell in cells])


def settings_of(path: Path | None, **given: Any) -> InputSettings:
    """Return how the content is read, as one would write it for a stream of JSON."""
    reads = {"key_field": "id", "time_field": "at", "numbers": "text", "value_fields": FEATURES, "max_key_bytes": 8}
    files = {} if path is None else {"source": "files", "files": (path,)}
    return InputSettings(**(reads | files | given))


def read(rows: Sequence[Row], path: Path | None, **given: Any) -> tuple[RecordBatch, list[Rejected]]:
    """Return what `run` makes of the content."""
    settings = settings_of(path, **given)
    if path is None:
        polled: list[RawRecord] = [
            Record("t", 0, i, stamp(row), None, json.dumps(nested(row)).encode()) for i, row in enumerate(rows)
        ]
        return Codec(settings, FEATURES, (False,) * 3).decode({Partition("t", 0): polled})
    source = FileSource(settings)
    (partition,) = source.poll(0).assigned
    source.start_at(partition, 0)
    return Codec(reading_of(settings), FEATURES, (False,) * 3).decode(dict(source.poll(0).records))


def stamp(row: Row) -> int:
    """Return the Kafka timestamp: the event time."""
    return row["at"] if isinstance(row["at"], int) and 0 <= row["at"] < 2**60 else -1


def told(batch: RecordBatch, rejected: Sequence[Rejected]) -> tuple[Any, ...]:
    """Return what must be the same."""
    reasons = sorted((one.raw.offset, one.reason) for one in rejected)
    counts = sorted((name, reason, count) for (name, reason), count in batch.bad_values.items())
    return batch.keys, batch.offsets.tolist(), batch.event_times_ms.tolist(), reasons, counts


@pytest.mark.parametrize("bad_value", ["dead_letter", "missing"])
@pytest.mark.parametrize("seed", range(40))
def test_the_same_content_is_the_same_rows_and_refusals(tmp_path: Path, seed: int, bad_value: str) -> None:
    """CSV, Parquet with and without structs, JSON lines, gzip and messages give the same doubles and reasons."""
    rows = made_rows(random.Random(seed))
    given = {"bad_value": bad_value, "missing_values": ("-200",)}
    expected, refused = read(rows, None, **given)
    for kind in FORMATS[:-1]:
        batch, rejected = read(rows, write(tmp_path, rows, kind), **given)
        assert told(batch, rejected) == told(expected, refused), kind
        np.testing.assert_array_equal(batch.values, expected.values, err_msg=kind)


@pytest.mark.slow
def test_run_refuses_nothing_that_train_has_taken(tmp_path: Path) -> None:
    """Over 2,000 tables of every format: what training learnt from, and only that, is what the stream takes."""
    taken = 0
    for seed in range(2_000):
        rng = random.Random(10_000 + seed)
        rows, kind = made_rows(rng), rng.choice(FORMATS[:-1])
        path = write(tmp_path, rows, kind)
        given = {"bad_value": rng.choice(["dead_letter", "missing"]), "numbers": "text"}
        batch, _ = read(rows, path, **given)
        try:
            series = read_series([path], settings_of(None, **given))
        except DataError:
            series = []
        found = {
            (one.key, time): row.tolist()
            for one in series
            for time, row in zip(one.event_times_ms, one.values, strict=True)
        }
        live = zip(batch.keys, batch.event_times_ms, batch.values, strict=True)
        expected = {(key.decode(), time): row.tolist() for key, time, row in live}
        np.testing.assert_equal(found, expected, err_msg=f"{seed} {kind}")
        assert sum(map(len, series)) == len(batch)
        taken += len(batch)
    assert taken > 5_000


@pytest.mark.parametrize("bad_value", ["dead_letter", "missing"])
def test_an_infinite_number_is_refused_whatever_holds_it(tmp_path: Path, bad_value: str) -> None:
    """Parquet holds infinity as a number, which JSON cannot: it is no silent hole, but costs what it costs in text."""
    row = {"at": START_MS, "id": "m1", "a": 1.0, "b.c": 2.0, "flag": True}
    rows = [row, row | {"at": START_MS + 1, "a": float("inf")}, row | {"at": START_MS + 2, "b.c": float("-inf")}]
    expected = told(*read(rows, None, bad_value=bad_value))
    assert "not_finite" in str(expected[3:])
    for kind in FORMATS[:-1]:
        path = write(tmp_path, rows, kind)
        if kind == "parquet":
            parquet.write_table(pa.table({name: [one[name] for one in rows] for name in row}), path)
        assert told(*read(rows, path, bad_value=bad_value)) == expected, kind


def test_bytes_of_parquet_that_are_text_are_that_text(tmp_path: Path) -> None:
    """Some writers mark no column as text: a key of bytes is the key that a topic has, not its base64."""
    path = tmp_path / "data.parquet"
    parquet.write_table(pa.table({"at": [START_MS], "id": [b"m1"], "a": [1.0], "b.c": [2.0], "flag": [True]}), path)
    batch, rejected = read([], path)
    assert ([b"m1"], []) == (batch.keys, rejected)


def test_nanoseconds_of_parquet_are_read_wherever_they_stand(tmp_path: Path) -> None:
    """A time in a struct, or a time of day beside a date, is cut to the microsecond like one in a column of its own."""
    late_ns = START_MS * 1_000_000 + 1
    within = pa.StructArray.from_arrays([pa.array([late_ns], pa.timestamp("ns"))], ["at"])
    alone = {"day": pa.array([20_150], pa.date32()), "clock": pa.array([1], pa.time64("ns"))}
    path = tmp_path / "data.parquet"
    parquet.write_table(pa.table({"id": ["m1"], "meta": within, "a": [1.0], **alone}), path)
    for given in ({"time_field": "meta.at"}, {"time_field": "clock", "date_field": "day"}):
        (one,) = read_series([path], settings_of(path, value_fields=("a",), **given))
        assert [START_MS] == one.event_times_ms.tolist()


@pytest.mark.parametrize("name", ["data.json", "data.jsonl"])
def test_records_with_bare_nans_are_records_for_everyone(tmp_path: Path, name: str) -> None:
    """Python writes NaN into JSON: such records keep their time and key where cells are looked at, also in an array."""
    rows = [{"at": START_MS + i, "id": "m1", "a": float("nan") if i else 1.0} for i in range(3)]
    lines = list(map(json.dumps, rows))
    (tmp_path / name).write_text(f"[{','.join(lines)}]" if name == "data.json" else "\n".join(lines))
    file = open_file(tmp_path / name, InputSettings())
    cells = file.cells().cells
    assert (3, [row["at"] for row in rows], ["m1"] * 3) == (len(file), cells["at"], cells["id"])


@pytest.mark.parametrize(
    ("odd", "given"),
    [
        ({"at": [1], "day": "2025-10-26"}, {"date_field": "day"}),
        ({"at": "2025-10-26 02:30", "name": [1]}, {"layout": "long", "value_field": "a", "value_fields": ()}),
    ],
)
def test_a_list_where_a_word_is_meant_costs_its_record_only(tmp_path: Path, odd: Row, given: dict[str, Any]) -> None:
    """A file of JSON is read like a topic: a field of the time or name that holds a list is a bad record, and no crash."""
    good = {
        "at": "2025-10-26 02:30" if "name" in odd else "02:30",
        "day": "2025-10-26",
        "id": "m1",
        "a": 1,
        "name": "q",
    }
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(map(json.dumps, [good, good | odd])))
    (one,) = read_series([path], settings_of(path, **({"value_fields": ("a",), "time_zone": "Europe/Rome"} | given)))
    assert 1 == len(one)
