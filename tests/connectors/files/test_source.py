"""Files as a source: the contract of every source, records that the codec reads, and the same replay every time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamae.batches import Partition, RawRecord, RecordBatch, Rejected
from streamae.connectors.codec import Codec
from streamae.connectors.files.series import read_series
from streamae.connectors.files.source import TOPIC, FileMembership, FileSource
from streamae.connectors.protocols import Poll, Source, Span
from streamae.errors import DataError, MembershipError
from streamae.reasons import Reason
from streamae.settings.data import InputSettings
from tests.connectors.tables import KEYED, START_MS, write_csv, write_parquet
from tests.records import codec

P0, P1 = Partition(TOPIC, 0), Partition(TOPIC, 1)


def numbers(path: Path, count: int, first: int = 0) -> Path:
    """Write a file whose column x counts up."""
    return write_csv(path, "time,x\n" + "".join(f"{i + 1},{first + i}\n" for i in range(count)))


def source_of(*paths: Path, committed: Mapping[Partition, int] | None = None, **settings: Any) -> FileSource:
    """Return a source of these files."""
    return FileSource(InputSettings(files=paths, **settings), committed=committed)


def opened(*paths: Path, **options: Any) -> FileSource:
    """Return a source whose partitions have started where they were committed."""
    source = source_of(*paths, **options)
    for partition in source.poll(0).assigned:
        source.start_at(partition, source.span(partition).committed or 0)
    return source


def rows(poll: Poll) -> dict[Partition, list[int]]:
    """Return the offsets a poll brought."""
    return {partition: [record.offset for record in records] for partition, records in poll.records.items()}


def everything(source: FileSource) -> list[RawRecord]:
    """Poll until the files end."""
    found: list[RawRecord] = []
    while not source.is_finished:
        for records in source.poll(0).records.values():
            found.extend(records)
    return found


def decoded(source: FileSource, of: Codec) -> tuple[RecordBatch, list[Rejected]]:
    """Decode everything a source has."""
    by_partition: dict[Partition, list[RawRecord]] = {}
    for record in everything(source):
        by_partition.setdefault(Partition(record.topic, record.partition), []).append(record)
    return of.decode(dict(by_partition))


def test_times_have_the_unit_of_the_settings(tmp_path: Path) -> None:
    """The record's own time and the field that the codec reads must not be told apart by a thousand."""
    path = write_csv(tmp_path / "a.csv", "time,x\n1700000000,1\n")
    (record,) = everything(opened(path, time_unit="ms"))
    assert record.timestamp == 1_700_000_000
    batch, rejected = decoded(
        opened(path, time_unit="ms"), codec(("x",), time_field="time", time_unit="ms", numbers="text")
    )
    assert (batch.event_times_ms.tolist(), rejected) == ([1_700_000_000], [])


def test_it_is_a_source(tmp_path: Path) -> None:
    """The engine takes it for any other."""
    source: Source = source_of(numbers(tmp_path / "a.csv", 1))
    source.close()


def test_the_first_poll_only_assigns(tmp_path: Path) -> None:
    """A new owner plans recovery first; nothing is delivered before start_at."""
    numbers(tmp_path / "a.csv", 3)
    numbers(tmp_path / "b.csv", 3)
    source = source_of(tmp_path)
    assert source.poll(0) == Poll(assigned=(P0, P1))
    assert source.poll(0) == Poll()
    source.start_at(P1, 1)
    assert rows(source.poll(0)) == {P1: [1, 2]}
    assert rows(source.poll(0)) == {}


def test_records_carry_the_row(tmp_path: Path) -> None:
    """Columns under their own names, key and time beside them, offset = row number."""
    source = opened(write_csv(tmp_path / "plant.csv"))
    first, second, _ = everything(source)
    assert json.loads(first.value or b"") == {
        "timestamp": "2024-01-01 00:00:00",
        "cpu": "1",
        "mem": "0.5",
        "is_anomaly": "0",
    }
    assert json.loads(second.value or b"")["mem"] == ""
    assert (second.topic, second.partition, second.offset, second.headers) == (TOPIC, 0, 1, [])
    assert (second.timestamp, second.key) == (START_MS + 60_000, b"plant")


@pytest.mark.parametrize("time_field", [None, "timestamp"])
def test_live_and_training_see_the_same_rows(tmp_path: Path, time_field: str | None) -> None:
    """The codec's columns of a replayed file are those `read_series` gives to training."""
    path = write_csv(tmp_path / "plant.csv")
    (series,) = read_series([path], InputSettings(time_field=time_field))
    batch, rejected = decoded(
        opened(path, time_field=time_field), codec(series.features, time_field=time_field, numbers="text")
    )
    assert rejected == []
    assert set(batch.keys) == {b"plant"}
    np.testing.assert_array_equal(batch.event_times_ms, series.event_times_ms)
    np.testing.assert_array_equal(batch.values, series.values)
    assert batch.offsets.tolist() == [0, 1, 2]


@pytest.mark.parametrize("key_field", [None, "machine"])
def test_keys_are_the_same_too(tmp_path: Path, key_field: str | None) -> None:
    """By key column or by file, in the record's key and for the codec's key field alike."""
    path = write_csv(tmp_path / "plant.csv", KEYED)
    series = read_series([path], InputSettings(key_field=key_field))
    for of_codec in {key_field, None}:
        batch, rejected = decoded(
            opened(path, key_field=key_field), codec(("cpu",), key_field=of_codec, numbers="text")
        )
        assert rejected == []
        for one in series:
            mine = [i for i, key in enumerate(batch.keys) if key == one.key.encode()]
            np.testing.assert_array_equal(batch.values[mine], one.values)
            np.testing.assert_array_equal(batch.event_times_ms[mine], one.event_times_ms)


def test_values_that_are_no_numbers_are_missing(tmp_path: Path) -> None:
    """A hole in the file is a missing value in the stream; infinity is a bad one."""
    path = write_csv(tmp_path / "a.csv", "x,y\nnan,1\ninf,2\n,3\n")
    batch, rejected = decoded(opened(path, row_ms=1), codec(("x", "y"), numbers="text", bad_value="missing"))
    assert rejected == []
    np.testing.assert_array_equal(batch.values[:, 0], np.full(3, np.nan, dtype=np.float32))


def test_a_row_of_another_width_comes_as_it_is_written(tmp_path: Path) -> None:
    """Its dead letter says where it stood and what it held: nothing of a file is lost."""
    source = opened(write_csv(tmp_path / "a.csv", 'time,x\n1,1\n2,"2,5",é\n3,3\n'))
    batch, (refused,) = decoded(source, codec(("x",), time_field="time", numbers="text"))
    assert (len(batch), refused.reason) == (2, Reason.NOT_JSON)
    assert refused.raw.value == 'line 3: 3 fields instead of 2: 2,"2,5",é'.encode()


def test_an_array_column_is_an_array_field(tmp_path: Path) -> None:
    """Parquet can hold all values in one column; the codec reads it as it reads such JSON."""
    path = write_parquet(tmp_path / "a.parquet", {"time": [1, 2], "values": [[1.0, 2.0], [3.0, 4.0]]})
    batch, rejected = decoded(opened(path), codec(("a", "b"), value_fields=("values",)))
    assert rejected == []
    assert batch.values.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("keys", [1, 2])
def test_newest_rows_first_are_read_from_the_last_one_on(tmp_path: Path, keys: int) -> None:
    """Else every record but the first is late; offsets still count up, wherever a run begins."""
    moments = [moment for moment in range(50, 0, -1) for _ in range(keys)]
    path = write_csv(tmp_path / "a.csv", "time,x\n" + "".join(f"{one},{-row}\n" for row, one in enumerate(moments)))
    found = everything(opened(path, max_poll_records=7))
    assert [record.offset for record in found] == list(range(50 * keys))
    assert [record.timestamp for record in found] == [1_000 * one for one in reversed(moments)]
    assert [json.loads(record.value or b"")["x"] for record in found] == [str(-row) for row in range(50 * keys)][::-1]
    again = opened(path, committed={P0: 40})
    assert [record.offset for record in everything(again)] == list(range(40, 50 * keys))
    assert everything(opened(path, committed={P0: 40}))[0] == found[40]


def test_rows_out_of_order_stay_where_they_are(tmp_path: Path) -> None:
    """Only a file as a whole is turned round: what comes late in it comes late."""
    path = write_csv(tmp_path / "a.csv", "time,x\n" + "".join(f"{row + row % 2 * -5},0\n" for row in range(90, 190)))
    assert everything(opened(path))[0].timestamp == 90_000


def test_the_same_replay_every_time(tmp_path: Path) -> None:
    """A backtest is compared with yesterday's: order, offsets and bytes must not depend on anything else."""
    for i in range(4):
        numbers(tmp_path / f"{i}.csv", 7 * i + 3)
    first, second = (everything(opened(tmp_path, max_poll_records=5)) for _ in range(2))
    assert first == second
    assert len(first) == 3 + 10 + 17 + 24


def test_files_advance_together(tmp_path: Path) -> None:
    """Many machines over the same week: none is a week ahead of the others, and a poll stays bounded."""
    for i in range(3):
        numbers(tmp_path / f"{i}.csv", 20)
    source = opened(tmp_path, max_poll_records=7)
    for _ in range(8):
        found = rows(source.poll(0))
        assert sum(map(len, found.values())) <= 7
        positions = [20 - lag for lag in source.lag().values()]
        assert max(positions) - min(positions) <= 8
    assert len(everything(source)) == 60 - 8 * 7


def test_fewer_records_than_files_reach_every_file(tmp_path: Path) -> None:
    """A tiny poll limit slows a replay down but starves no file for ever."""
    for i in range(5):
        numbers(tmp_path / f"{i}.csv", 4)
    assert len(everything(opened(tmp_path, max_poll_records=2))) == 20


def test_start_at_reads_again(tmp_path: Path) -> None:
    """A failed step goes back to where it was."""
    source = opened(numbers(tmp_path / "a.csv", 5))
    before = everything(source)
    source.start_at(P0, 3)
    assert not source.is_finished
    assert everything(source) == before[3:]


def test_pause_and_resume(tmp_path: Path) -> None:
    """Back-pressure holds a file exactly where it is; start_at does not lift it."""
    numbers(tmp_path / "a.csv", 2)
    numbers(tmp_path / "b.csv", 2)
    source = opened(tmp_path)
    source.pause([P0])
    assert rows(source.poll(0)) == {P1: [0, 1]}
    source.start_at(P0, 1)
    assert rows(source.poll(0)) == {}
    source.resume([P0])
    assert rows(source.poll(0)) == {P0: [1]}


def test_lag_and_the_end(tmp_path: Path) -> None:
    """A replay is over when every file is read to its end, and not before all have started."""
    numbers(tmp_path / "a.csv", 3)
    numbers(tmp_path / "b.csv", 1)
    source = source_of(tmp_path)
    assert not source.is_finished
    source.poll(0)
    source.start_at(P0, 0)
    assert source.lag() == {P0: 3}
    source.poll(0)
    assert (source.lag(), source.is_finished) == ({P0: 0}, False)
    source.start_at(P1, 0)
    source.poll(0)
    assert (source.lag(), source.is_finished) == ({P0: 0, P1: 0}, True)


def test_an_empty_file_is_finished(tmp_path: Path) -> None:
    """A header alone is no reason to wait."""
    source = opened(numbers(tmp_path / "a.csv", 0))
    assert source.is_finished
    assert source.span(P0) == Span(None, 0, 0)


def test_committed_offsets_come_from_a_former_run(tmp_path: Path) -> None:
    """With a sink that remembers, a restart goes on behind what was written."""
    path = numbers(tmp_path / "a.csv", 5)
    source = opened(path, committed={P0: 3})
    assert source.span(P0) == Span(3, 0, 5)
    assert [record.offset for record in everything(source)] == [3, 4]


def test_membership_carries_commits_back(tmp_path: Path) -> None:
    """The sink tells the source through it what is committed; the caller's mapping is not touched."""
    former = {P0: 1}
    source = opened(numbers(tmp_path / "a.csv", 5), committed=former)
    proof = source.membership()
    assert isinstance(proof, FileMembership)
    proof.committed[P0] = 4
    assert source.span(P0).committed == 4
    assert former == {P0: 1}


def test_nothing_is_owned_before_the_first_poll(tmp_path: Path) -> None:
    """As in a group: join first."""
    source = source_of(numbers(tmp_path / "a.csv", 5))
    with pytest.raises(MembershipError):
        source.membership()
    with pytest.raises(MembershipError):
        source.start_at(P0, 0)
    source.poll(0)
    with pytest.raises(MembershipError):
        source.start_at(Partition("other", 0), 0)


def test_close_twice_is_fine(tmp_path: Path) -> None:
    """Shutdown code need not remember what it has closed."""
    source = opened(numbers(tmp_path / "a.csv", 5))
    source.close()
    source.close()
    assert source.lag() == {}


def test_no_file_is_refused(tmp_path: Path) -> None:
    """Before the daemon says it is ready."""
    with pytest.raises(DataError, match="no data file in"):
        source_of(tmp_path)


def test_a_bad_file_is_named(tmp_path: Path) -> None:
    """Also when it is only opened later."""
    source = source_of(write_csv(tmp_path / "a.csv", ""))
    source.poll(0)
    with pytest.raises(DataError, match=r"a\.csv"):
        source.span(P0)


@pytest.mark.parametrize(
    ("second", "is_refused"), [("1.234;5,5", True), ("1.5;2.5", True), ("1,5;2,5", False), ("7;8", False)]
)
def test_files_whose_numbers_are_spelt_otherwise_are_not_read_like_the_first(
    tmp_path: Path, second: str, is_refused: bool
) -> None:
    """One codec reads all files: what would be another number than in training stops the run, whole numbers do not."""
    for name, cells in (("a.csv", "1,5;2,5"), ("b.csv", second)):
        lines = [f"{1_740_960_000 + i};{cells}" for i in range(3)]
        (tmp_path / name).write_text("\n".join(["time;x;y", *lines]))
    if is_refused:
        with pytest.raises(DataError, match="spelt otherwise"):
            opened(tmp_path, time_field="time")
    else:
        assert 6 == len(everything(opened(tmp_path, time_field="time")))
