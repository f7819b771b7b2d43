"""Table files: names, types, times and keys as people write them, and errors that name file and column."""

from __future__ import annotations

import gzip
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from streamae.batches import Series
from streamae.connectors.files.paths import find_files
from streamae.connectors.files.series import read_series
from streamae.errors import DataError
from streamae.settings.data import InputSettings
from tests.connectors.tables import KEYED, START_MS, write_csv, write_parquet

NAN = float("nan")
MINUTE = 60_000


def one(*paths: Path, **settings: Any) -> Series:
    """Read exactly one series."""
    (found,) = read_series(paths, InputSettings(**({"row_ms": 1_000} | settings)))
    return found


@pytest.mark.parametrize("name", ["plant.csv", "plant.csv.gz", "plant.CSV", "plant.csv.GZ"])
def test_a_csv_file_is_a_series(tmp_path: Path, name: str) -> None:
    """Time, features with holes, and labels out of a file as tools write it; the key is the file's name."""
    found = one(write_csv(tmp_path / name))
    assert (found.key, found.features) == ("plant", ("cpu", "mem"))
    assert found.event_times_ms.tolist() == [START_MS, START_MS + MINUTE, START_MS + 2 * MINUTE]
    np.testing.assert_array_equal(found.values, np.array([[1, 0.5], [2, NAN], [3, 1.5]]))
    assert found.labels is not None
    assert found.labels.tolist() == [False, False, True]
    assert (found.event_times_ms.dtype, found.values.dtype, found.labels.dtype) == (np.int64, np.float64, np.bool_)


def test_a_parquet_file_is_the_same(tmp_path: Path) -> None:
    """The format of the file changes nothing."""
    columns = {
        "timestamp": pa.array([START_MS, START_MS + MINUTE, START_MS + 2 * MINUTE], pa.timestamp("ms")),
        "cpu": pa.array([1, 2, 3], pa.int16()),
        "mem": pa.array([0.5, None, 1.5], pa.float32()),
        "is_anomaly": pa.array([False, False, True]),
    }
    from_parquet = one(write_parquet(tmp_path / "plant.parquet", columns))
    from_csv = one(write_csv(tmp_path / "plant.csv"))
    assert (from_parquet.key, from_parquet.features) == (from_csv.key, from_csv.features)
    np.testing.assert_array_equal(from_parquet.event_times_ms, from_csv.event_times_ms)
    np.testing.assert_array_equal(from_parquet.values, from_csv.values)
    np.testing.assert_array_equal(from_parquet.labels, from_csv.labels)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["0", "1", "5"], [0, 1_000, 5_000]),
        (["1704067200", "1704067260"], [START_MS, START_MS + MINUTE]),
        (["1704067200.25"], [START_MS + 250]),
        (["1704067200123"], [START_MS + 123]),
        (["1704067200123456"], [START_MS + 123]),
        (["1704067200123456789"], [START_MS + 123]),
        (["2024-01-01"], [START_MS]),
        (["2024-01-01 00:00:00.5"], [START_MS + 500]),
        (["2024-01-01T00:00:00Z"], [START_MS]),
        (["2024-01-01T01:00:00+01:00"], [START_MS]),
        (["2024-01-01T00:00:00.123456789Z"], [START_MS + 123]),
        (["2024-01-01T00:00:00Z", "2024-01-01T01:00:00+01:00"], [START_MS, START_MS]),
    ],
    ids=lambda value: str(value[0]) if isinstance(value[0], str) else "",
)
def test_times_are_read_as_people_write_them(tmp_path: Path, texts: list[str], expected: list[int]) -> None:
    """ISO 8601 with and without zone, seconds to nanoseconds by size; row numbers count as seconds."""
    path = write_csv(tmp_path / "a.csv", "time,x\n" + "".join(f"{text},1\n" for text in texts))
    assert one(path).event_times_ms.tolist() == expected


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_typed_times_are_read(tmp_path: Path, unit: str, zone: str | None) -> None:
    """Parquet has times of many units; a zone only changes how they are shown."""
    ticks = START_MS // 1_000 * {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    times = pa.array([ticks], pa.timestamp(unit, zone))
    assert one(write_parquet(tmp_path / "a.parquet", {"time": times, "x": [1.0]})).event_times_ms.tolist() == [START_MS]


def test_dates_are_midnight(tmp_path: Path) -> None:
    """Daily data has dates."""
    path = write_parquet(tmp_path / "a.parquet", {"time": [date(2024, 1, 1)], "x": [1.0]})
    assert one(path).event_times_ms.tolist() == [START_MS]


def test_rows_without_time_are_read_only_where_that_is_said(tmp_path: Path) -> None:
    """A table of numbers is a series too, but a time that nobody named must not be made up in silence."""
    path = write_csv(tmp_path / "a.csv", "x\n7\n8\n9\n")
    with pytest.raises(DataError, match=r"a\.csv: no time was found: .*input\.time_field.*there are x.*input\.row_ms"):
        read_series([path], InputSettings())
    found = one(path)
    assert found.event_times_ms.tolist() == [0, 1_000, 2_000]
    assert found.features == ("x",)


@pytest.mark.parametrize("name", ["timestamp", "event_time", "time"])
def test_usual_time_columns_are_found(tmp_path: Path, name: str) -> None:
    """An unnamed time column must not become a feature that always grows."""
    found = one(write_csv(tmp_path / "a.csv", f"x,{name}\n1,5\n2,6\n"))
    assert (found.features, found.event_times_ms.tolist()) == (("x",), [5_000, 6_000])


def test_a_named_time_column_wins(tmp_path: Path) -> None:
    """What the user says goes before what we guess."""
    found = one(write_csv(tmp_path / "a.csv", "time,seen,x\n1,2024-01-01,3\n"), time_field="seen")
    assert (found.features, found.event_times_ms.tolist()) == (("time", "x"), [START_MS])


def test_rows_are_split_by_key_in_order_of_appearance(tmp_path: Path) -> None:
    """One file with many machines becomes a series each, rows in the order of the file."""
    found = read_series([write_csv(tmp_path / "a.csv", KEYED)], InputSettings(key_field="machine"))
    assert [(s.key, s.features, s.event_times_ms.tolist(), s.values[:, 0].tolist()) for s in found] == [
        ("b", ("cpu",), [1_000, 2_000, 3_000], [10, 11, 12]),
        ("a", ("cpu",), [1_000, 2_000], [20, 21]),
    ]


def test_a_key_goes_on_in_the_next_file(tmp_path: Path) -> None:
    """A file a day is usual; labels that only some files have are False in the others."""
    write_csv(tmp_path / "1.csv", "time,key,x\n1,a,1\n1,b,2\n")
    write_csv(tmp_path / "2.csv", "time,key,x,is_anomaly\n2,a,3,1\n")
    first, second = read_series([tmp_path], InputSettings(key_field="key", row_ms=1_000))
    assert (first.key, first.values[:, 0].tolist(), second.key) == ("a", [1, 3], "b")
    assert first.labels is not None
    assert first.labels.tolist() == [False, True]
    assert second.labels is None


def test_keys_are_text(tmp_path: Path) -> None:
    """007 and 7 are two machines; a key written as number in Parquet is its text."""
    found = read_series(
        [write_csv(tmp_path / "a.csv", "key,x\n007,1\n7,2\n")], InputSettings(key_field="key", row_ms=1_000)
    )
    assert [s.key for s in found] == ["007", "7"]
    path = write_parquet(tmp_path / "b.parquet", {"key": [7, 8], "x": [1.0, 2.0]})
    assert [s.key for s in read_series([path], InputSettings(key_field="key", row_ms=1_000))] == ["7", "8"]


@pytest.mark.parametrize("key", ["NA", "null", "nan", "true", "2024-01-01", " ", "ü"])
def test_no_key_is_taken_for_something_else(tmp_path: Path, key: str) -> None:
    """NA is a region, not a hole."""
    assert one(write_csv(tmp_path / "a.csv", f"key,x\n{key},1\n"), key_field="key").key == key


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keys=st.lists(st.sampled_from("abcd"), min_size=1, max_size=40))
def test_no_row_is_lost_or_moved_by_splitting(tmp_path: Path, keys: list[str]) -> None:
    """Every row is in the series of its key, in its old order."""
    path = write_csv(tmp_path / "a.csv", "key,x\n" + "".join(f"{key},{i}\n" for i, key in enumerate(keys)))
    found = {
        s.key: s.values[:, 0].astype(int).tolist()
        for s in read_series([path], InputSettings(key_field="key", row_ms=1_000))
    }
    assert found == {key: [i for i, k in enumerate(keys) if k == key] for key in dict.fromkeys(keys)}


def test_chosen_features_keep_their_order(tmp_path: Path) -> None:
    """The order of value_fields is the order of the model's inputs."""
    found = one(write_csv(tmp_path / "a.csv"), value_fields=("mem", "cpu"))
    assert (found.features, found.values[0].tolist()) == (("mem", "cpu"), [0.5, 1.0])


def test_columns_may_be_named_by_feature(tmp_path: Path) -> None:
    """A table of names gives the features of training their own names, whatever the columns are called."""
    found = one(write_csv(tmp_path / "a.csv"), value_fields={"memory": "mem", "load": "cpu"})
    assert found.features == ("memory", "load")
    swapped = one(tmp_path / "a.csv", value_fields=("mem", "cpu"))
    np.testing.assert_array_equal(found.values, swapped.values)


def test_features_are_the_numeric_columns(tmp_path: Path) -> None:
    """Text, truth values, key, time and label are none; an empty column is, because other files may fill it."""
    text = "time,key,n,f,text,flag,empty,is_anomaly\n1,a,1,1.5,up,true,,0\n"
    assert one(write_csv(tmp_path / "a.csv", text), key_field="key").features == ("n", "f", "empty")


def test_truth_values_can_be_chosen(tmp_path: Path) -> None:
    """A door contact is 0 or 1."""
    found = one(write_csv(tmp_path / "a.csv", "x\ntrue\nfalse\n\n"), value_fields=("x",))
    np.testing.assert_array_equal(found.values[:, 0], np.array([1, 0], dtype=np.float32))


def test_decimals_and_escaped_dots_are_read(tmp_path: Path) -> None:
    """Money comes as decimals, and names of fields are written as for live records."""
    path = write_parquet(tmp_path / "a.parquet", {"net.price": [Decimal("1.25")]})
    found = one(path, value_fields=(r"net\.price",))
    assert (found.features, found.values.tolist()) == (("net.price",), [[1.25]])
    assert one(path).features == ("net.price",)


def test_what_is_no_number_is_missing(tmp_path: Path) -> None:
    """NaN, infinity and absurd sizes are what live records may not hold."""
    found = one(write_csv(tmp_path / "a.csv", "x\n1\nnan\ninf\n-inf\n1e31\n-1e30\n"), bad_value="missing")
    np.testing.assert_array_equal(found.values[:, 0], np.array([1, NAN, NAN, NAN, NAN, -1e30]))


def test_types_are_inferred_from_the_whole_file(tmp_path: Path) -> None:
    """A fraction after a megabyte of whole numbers is no error."""
    path = write_csv(tmp_path / "a.csv", "x\n" + "1\n" * 1_000_000 + "0.5\n")
    assert one(path).values[-1, 0] == 0.5


def test_labels_may_be_truth_values_or_numbers(tmp_path: Path) -> None:
    """Anything but zero and nothing is an anomaly."""
    for name, first, second in (("a", "true", "false"), ("b", "1", "0"), ("c", "0.5", "0.0"), ("d", "2", "nan")):
        labels = one(write_csv(tmp_path / f"{name}.csv", f"is_anomaly,x\n{first},1\n{second},1\n")).labels
        assert labels is not None
        assert labels.tolist() == [True, False], name


# Finding files.


def test_folders_are_searched_in_order(tmp_path: Path) -> None:
    """The same folder gives the same order everywhere, and what is no table is passed over."""
    for name in ("b.csv", "a/z.csv.gz", "a/y.csv", "a/README.md", ".hidden.csv", ".git/x.csv", "LICENSE"):
        write_csv(tmp_path / name)
    assert [name for name, _ in find_files([tmp_path])] == ["a/y", "a/z", "b"]


def test_given_files_keep_their_order(tmp_path: Path) -> None:
    """The user's order is the order of time."""
    paths = [write_csv(tmp_path / name) for name in ("b.csv", "a.csv")]
    assert [s.key for s in read_series(paths, InputSettings(row_ms=1_000))] == ["b", "a"]


def test_the_same_file_twice_counts_once(tmp_path: Path) -> None:
    """`data data/a.csv` is a slip, not twice the data."""
    path = write_csv(tmp_path / "a.csv")
    assert len(read_series([path, path], InputSettings(row_ms=1_000))) == 1
    assert len(read_series([tmp_path, path], InputSettings(row_ms=1_000))) == 1


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    """Their rows would silently become one series."""
    paths = [write_csv(tmp_path / folder / "a.csv") for folder in ("x", "y")]
    with pytest.raises(DataError, match="have the same name"):
        read_series(paths, InputSettings(row_ms=1_000))


# Refusals.

BAD = "2024-01-01,1\nyesterday,2\n"
REFUSED = [
    (
        "time,x\ntrue,1\n",
        {},
        r"a\.csv: 1 of 1 records .*1 bad_time.*row 1: `time` is text of another form than ISO 8601",
    ),
    ("time,x\n99999999999999999999999,1\n", {}, r"a\.csv: 1 of 1 records .*row 1: `time` is neither"),
    ("x,t\n1,up\n", {"value_fields": ("t",)}, r"a\.csv: 1 of 1 records .*wrong_type.*`t` holds text that is no number"),
    ("x\n1\n", {"key_field": "key"}, r"a\.csv: there is no column 'key'; there are x"),
    ("x\n1\n", {"time_field": "when"}, r"a\.csv: there is no column 'when'"),
    ("x\n1\n", {"value_fields": ("x", "y")}, r"a\.csv: there is no column 'y'"),
    ("t\nup\n", {}, r"a\.csv: no numeric column for values; there are t"),
    ("x,x\n1,2\n", {}, r"a\.csv: columns 1 and 2 have the same name 'x'"),
    ("", {}, r"a\.csv: is empty"),
    ("x\n", {}, r"a\.csv: has no rows"),
    ("key,x\n", {"key_field": "key"}, r"a\.csv: has no rows"),
]


@pytest.mark.parametrize(("text", "options", "reason"), REFUSED, ids=[reason[7:40] for _, _, reason in REFUSED])
def test_unusable_tables_are_refused_by_name(
    tmp_path: Path, text: str, options: dict[str, object], reason: str
) -> None:
    """Among a hundred files the message says which one, which column and which row."""
    with pytest.raises(DataError, match=reason):
        one(write_csv(tmp_path / "a.csv", text), **options)


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The usual slip."""
    with pytest.raises(DataError, match=r"nowhere\.csv: does not exist"):
        read_series([tmp_path / "nowhere.csv"], InputSettings(row_ms=1_000))


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    """What kinds there are stands in the message."""
    (tmp_path / "a.xlsx").write_text("")
    with pytest.raises(DataError, match=r"a\.xlsx: is none of \.csv, .*\.parquet"):
        read_series([tmp_path / "a.xlsx"], InputSettings(row_ms=1_000))


@pytest.mark.parametrize("paths", [0, 1])
def test_nothing_to_read_is_refused(tmp_path: Path, paths: int) -> None:
    """An empty folder, or no path at all."""
    with pytest.raises(DataError, match=r"no \.csv, .* file in"):
        read_series([tmp_path] * paths, InputSettings(row_ms=1_000))


@pytest.mark.parametrize(("name", "words"), [("a.parquet", "not readable as"), ("a.csv.gz", "looks like Parquet")])
def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path: Path, name: str, words: str) -> None:
    """A half copied file is told from an empty one."""
    (tmp_path / name).write_bytes(b"PAR1 or not")
    with pytest.raises(DataError, match=f"{name}: .*{words}"):
        read_series([tmp_path / name], InputSettings(row_ms=1_000))


def test_files_with_different_columns_are_refused(tmp_path: Path) -> None:
    """Silently training on what is common would surprise; both files are named."""
    write_csv(tmp_path / "a.csv", "x,y\n1,2\n")
    write_csv(tmp_path / "b.csv", "x\n1\n")
    with pytest.raises(DataError, match=r"b\.csv: column 'y' is missing, but .*a\.csv has it"):
        read_series([tmp_path], InputSettings(row_ms=1_000))
    assert len(read_series([tmp_path], InputSettings(value_fields=("x",), row_ms=1_000))) == 2


def test_the_order_of_columns_may_differ(tmp_path: Path) -> None:
    """Columns go by name; the first file decides the order of the features."""
    write_csv(tmp_path / "a.csv", "x,y\n1,2\n")
    write_csv(tmp_path / "b.csv", "y,x\n4,3\n")
    first, second = read_series([tmp_path], InputSettings(row_ms=1_000))
    assert first.features == second.features == ("x", "y")
    assert second.values.tolist() == [[3, 4]]


def test_rows_that_cannot_be_used_are_left_out_and_said(tmp_path: Path) -> None:
    """One bad row must not cost a training, nor vanish: how many, why, and which was the first."""
    heard: list[str] = []
    text = "time,key,x\n2024-01-01,a,1\nyesterday,a,2\n,a,3\n2024-01-02,,4\n2024-01-03,a,5\n"
    path = write_csv(tmp_path / "a.csv", text)
    (found,) = read_series([path], InputSettings(key_field="key"), tell=heard.append)
    assert found.values[:, 0].tolist() == [1, 5]
    (line,) = heard
    assert "3 of 5 records cannot be used and are left out (1 missing_key, 1 missing_time, 1 bad_time)" in line
    assert "row 2: `time` is text of another form than ISO 8601" in line


def test_rows_can_be_sorted_by_key(tmp_path: Path) -> None:
    """Newest first is usual in exports: sorted and said, key by key; not asked for, they stay."""
    text = "time,key,x\n3,a,3\n9,b,9\n2,a,2\n1,a,1\n10,b,10\n"
    path, heard = write_csv(tmp_path / "a.csv", text), []
    first, second = read_series([path], InputSettings(key_field="key"), tell=heard.append, sorts=True)
    assert (first.values[:, 0].tolist(), second.values[:, 0].tolist()) == ([1, 2, 3], [9, 10])
    words = "rows were not in the order of time (2 steps back, most of key 'a'): they are sorted, key by key"
    assert heard == [words]
    assert read_series([path], InputSettings(key_field="key"))[0].values[:, 0].tolist() == [3, 2, 1]


def test_own_ids_stay_with_their_rows(tmp_path: Path) -> None:
    """They tell rows of one time apart, so a series keeps them: over several files, sorted, and where one is missing."""
    first = write_csv(tmp_path / "a.csv", "time,key,n,x\n3,a,p3,3\n9,b,,9\n2,a,p2,2\n")
    second = write_csv(tmp_path / "b.csv", "time,key,n,x\n4,a,p4,4\n4,a,p5,4\n")
    settings = InputSettings(key_field="key", value_fields=("x",), id_field="n")
    found = read_series([first, second], settings, sorts=True)
    assert [None if of.ids is None else of.ids.tolist() for of in found] == [["p2", "p3", "p4", "p5"], [None]]
    assert read_series([first], InputSettings(key_field="key", value_fields=("x",)))[0].ids is None


JSON = '{"t": {"at": 1}, "tags": {"host": "h"}, "x": 1}\n\n{"t": {"at": 2}, "tags": {"host": "h"}, "x": true}\n'


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.jsonl.gz", "a.json"])
def test_json_lines_are_a_file_like_any_other(tmp_path: Path, name: str) -> None:
    """A dump of a topic is past data; fields are paths, as in the stream; blank lines are none."""
    text = f"[{','.join(JSON.split(chr(10) * 2))}]" if name == "a.json" else JSON
    path = write_csv(tmp_path / name, text)
    (found,) = read_series([path], InputSettings(key_field="tags.host", time_field="t.at", value_fields=("x",)))
    assert (found.key, found.event_times_ms.tolist()) == ("h", [1_000, 2_000])
    assert found.values.tolist() == [[1], [1]]


def test_one_metric_a_row_is_read_by_name(tmp_path: Path) -> None:
    """A long table gives a record a row, the other features missing; the grid makes rows of them, as live."""
    text = "time,node,parameter,v\n1,n,hum,40\n1,n,temp,20\n2,n,hum,NA\n"
    path = write_csv(tmp_path / "a.csv", text)
    of = InputSettings(layout="long", key_field="node", name_field="parameter", value_field="v")
    (found,) = read_series([path], of)
    assert found.features == ("hum", "temp")
    np.testing.assert_array_equal(found.values, np.array([[40, NAN], [NAN, 20], [NAN, NAN]], np.float32))


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.ndjson.gz"])
def test_a_file_of_blank_lines_has_no_rows(tmp_path: Path, name: str) -> None:
    """It has no fields either; beside others it is left out."""
    path = write_csv(tmp_path / name, "\n \n")
    with pytest.raises(DataError, match="has no rows"):
        read_series([path], InputSettings(row_ms=1_000))
    assert one(path, write_csv(tmp_path / "b.csv", "x\n1\n2\n"), row_ms=1_000).features == ("x",)


@pytest.mark.parametrize("name", ["data.csv", "data.csv.gz", "data.parquet", "data.jsonl"])
def test_more_rows_than_allowed_are_refused(tmp_path: Path, name: str) -> None:
    """One row more than `max_rows` is too many in every format, as many as that are not."""
    path, times = tmp_path / name, range(1_740_960_000, 1_740_960_010)
    if name == "data.parquet":
        parquet.write_table(pa.table({"time": list(times), "a": [1.5] * 10}), path)
    elif name == "data.jsonl":
        path.write_text("\n".join(f'{{"time": {time}, "a": 1.5}}' for time in times))
    else:
        data = ("time,a\n" + "".join(f"{time},1.5\n" for time in times)).encode()
        path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    assert 10 == len(one(path, max_rows=10))
    with pytest.raises(DataError, match=r"input\.max_rows"):
        one(path, max_rows=9)


def test_a_file_that_is_too_long_is_not_read_to_its_end(tmp_path: Path) -> None:
    """The limit bounds the memory that is taken, not only what is done with it: damage far behind it is never met."""
    lines = "".join(f"{1_740_960_000 + i},{i * 7919 % 10_007}\n" for i in range(400_000))
    packed = gzip.compress(f"time,a\n{lines}".encode())
    (tmp_path / "data.csv.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DataError, match=r"input\.max_rows"):
        one(tmp_path / "data.csv.gz", max_rows=100)
