"""The load generator: history and live stream fit together, topics get what was announced, events become readable."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kafka import KafkaProducer

from scripts import loadgen
from scripts.services import KafkaBroker
from scripts.services.process import free_port
from streamae.batches import KeyState, Partition
from streamae.connectors.events import EventWriter
from streamae.connectors.files.series import read_series
from streamae.demo.sensors import START_MS
from streamae.episode_changes import ChangeKind, EpisodeChange, FeatureExplanation
from streamae.settings.data import InputSettings
from tests.kafka_io import create_topics, read_all
from tests.records import Record, codec

STEP_MS = 60_000
LIVE_MS = START_MS + loadgen.HISTORY_ROWS * STEP_MS
NAMES = ("cpu", "fan", "disk", "net")


def event(**changes: Any) -> bytes:
    """Return an event as streamae writes it: 2025-01-01, 18:48 to 18:53, worst at 18:50."""
    start = START_MS + (18 * 60 + 48) * STEP_MS
    fields: dict[str, Any] = {
        "kind": ChangeKind.UPDATED,
        "slot": 0,
        "offset": 9,
        "opened_offset": 7,
        "sequence": 1,
        "start_time_ms": start,
        "peak_time_ms": start + 2 * STEP_MS,
        "end_time_ms": start + 5 * STEP_MS,
        "window_start_ms": start,
        "window_end_ms": start,
        "window_rows": 32,
        "windows": 6,
        "score": 9.0,
        "threshold": 4.0,
        "mean": 1.0,
        "sd": 0.5,
        "count": 600,
        "needed": 64,
        "state": KeyState.READY,
        "state_reason": "",
        "peak_score": 12.0,
        "severity": 78.4,
        "confidence": 0.9,
        "imputed_share": 0.0,
        "close_reason": None,
        "features": (
            FeatureExplanation(0, 0.7, 97.25, 52.0),
            FeatureExplanation(2, 0.15, 0.0, 3912.4),
            FeatureExplanation(1, 0.05, 1.0, 1.1),
        ),
    }
    change = EpisodeChange(**(fields | changes))
    writer = EventWriter(
        "anomalies", "urn:x", NAMES, top_features=5, bundle_version="b", settings_version="s", detector="d"
    )
    return writer.message(change, b"machine-006", Partition("sensors", 0)).value or b""


def live(keys: int, rows: int, seed: int = 7, shift_ms: int = 0) -> list[tuple[bytes, dict[str, Any]]]:
    """Return the live records with their parsed values."""
    records = loadgen.live_records(loadgen.machines(keys, rows, seed), rows, shift_ms)
    return [(key, json.loads(value)) for key, value in records]


def test_history_is_readable_by_train(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The CSV names its key and time as the command in the example expects, and holds the quiet rows only."""
    path = tmp_path / "new" / "history.csv"
    assert loadgen.main(["train", "--out", str(path), "--keys", "2"]) == 0
    assert capsys.readouterr().out == f"{path}: 2,000 quiet rows of 2 keys\n"
    stream = loadgen.machines(2, loadgen.LIVE_ROWS, 7)
    for read, made in zip(read_series([path], InputSettings(key_field="key")), stream.series, strict=True):
        assert (made.key, stream.features) == (read.key, read.features)
        assert made.labels is not None
        assert not made.labels[: len(read)].any()
        assert np.array_equal(read.event_times_ms, made.event_times_ms[: loadgen.HISTORY_ROWS])
        np.testing.assert_allclose(read.values, made.values[: loadgen.HISTORY_ROWS], atol=1e-3)


def test_the_live_stream_goes_on_where_history_ended(tmp_path: Path) -> None:
    """Same keys and seed: the first live row is the next row of the same machine, one step later."""
    path = tmp_path / "history.csv"
    loadgen.write_history(loadgen.machines(3, loadgen.LIVE_ROWS, 7), path)
    last = {row["key"]: row for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines())}
    records = live(3, 2)
    assert [key.decode() for key, _ in records] == [*last, *last]
    for key, record in records[:3]:
        before = last[key.decode()]
        step = datetime.fromisoformat(record["timestamp"]) - datetime.fromisoformat(before["timestamp"])
        assert step.total_seconds() * 1_000 == STEP_MS
        assert set(record) == set(before) - {"key"}
        assert float(before["memory_mb"]) == pytest.approx(record["memory_mb"], rel=0.5)


def test_live_records_are_ordered_by_time_over_all_keys() -> None:
    """Keys take turns, so that all of them are live at once."""
    records = live(2, 3)
    assert [key for key, _ in records] == [b"machine-000", b"machine-001"] * 3
    times = [record["timestamp"] for _, record in records]
    assert times == sorted(times)
    assert times[0] == loadgen.iso(LIVE_MS) == "2025-01-01T16:40:00Z"


def test_live_records_are_what_the_daemon_decodes() -> None:
    """With `input.time_field = timestamp` every record is usable, times and values as generated."""
    stream = loadgen.machines(2, 5, 7)
    records = [Record(value, key, 1_800_000_000_000) for key, value in loadgen.live_records(stream, 5)]
    batch, rejected = codec(stream.features, time_field="timestamp").decode({Partition("sensors", 0): records})
    assert rejected == []
    assert batch.keys == [b"machine-000", b"machine-001"] * 5
    assert batch.event_times_ms.tolist() == [LIVE_MS + row * STEP_MS for row in range(5) for _ in range(2)]
    made = stream.series[1].values[loadgen.HISTORY_ROWS : loadgen.HISTORY_ROWS + 5]
    np.testing.assert_allclose(batch.values[1::2], made, atol=1e-3)


def test_the_seed_decides_everything() -> None:
    """The same seed sends the same stream again; another seed, another one."""
    assert live(2, 20) == live(2, 20)
    assert live(2, 20) != live(2, 20, seed=8)


def test_a_short_stream_is_the_beginning_of_a_longer_one() -> None:
    """`--rows` only cuts: it does not change the machines that history was written of."""
    assert live(2, 400)[:20] == live(2, 10)


def test_a_long_stream_has_more_anomalies() -> None:
    """Anomalies come as often as in the default, however long the stream is."""
    assert len(loadgen.machines(2, 3 * loadgen.LIVE_ROWS, 7).injections) == 3 * len(
        loadgen.machines(2, 1, 7).injections
    )


def test_truth_is_a_table_of_what_was_sent() -> None:
    """Every injection of the sent rows has a line, in order of time, with kind, times and features."""
    stream = loadgen.machines(5, loadgen.LIVE_ROWS, 7)
    head, *lines = loadgen.truth(stream, loadgen.LIVE_ROWS)
    assert head.split() == ["key", "injected", "first", "row", "last", "row", "features"]
    assert len(lines) == len(stream.injections) == 10
    starts = sorted(START_MS + found.start_row * STEP_MS for found in stream.injections)
    assert [line[line.index("2025") :][:16] for line in lines] == [loadgen.plain(start) for start in starts]
    found = stream.injections[0]
    (line,) = [
        line for line in lines if found.key in line and loadgen.plain(START_MS + found.start_row * STEP_MS) in line
    ]
    assert found.kind.value in line
    assert loadgen.plain(START_MS + (found.end_row - 1) * STEP_MS) in line
    assert line.endswith(", ".join(stream.features[feature] for feature in found.features))


def test_truth_ends_where_sending_ended() -> None:
    """What was not sent is not announced; an anomaly cut by the end ends with the last row."""
    stream = loadgen.machines(5, loadgen.LIVE_ROWS, 7)
    assert len(loadgen.truth(stream, 0)) == 1
    longest = max(stream.injections, key=lambda found: found.end_row - found.start_row)
    sent = longest.start_row + 2 - loadgen.HISTORY_ROWS
    last = loadgen.plain(LIVE_MS + (sent - 1) * STEP_MS)
    assert any(longest.key in line and last in line for line in loadgen.truth(stream, sent))


def test_truth_moves_with_the_stream() -> None:
    """A later run into the same topic announces its own times."""
    stream = loadgen.machines(1, loadgen.LIVE_ROWS, 7)
    first, moved = (loadgen.truth(stream, loadgen.LIVE_ROWS, shift)[1:] for shift in (0, 365 * 86_400_000))
    assert [line.replace("2026-", "2025-") for line in moved] == first
    assert live(1, 1, shift_ms=STEP_MS)[0][1]["timestamp"] == "2025-01-01T16:41:00Z"


def test_an_event_becomes_one_readable_line() -> None:
    """Kind, key, severity, start to end with the peak, and the features that matter with what was expected."""
    assert loadgen.event_line(event()) == (
        "updated  machine-006  severity  78  2025-01-01 18:48 to 18:53, peak 18:50  "
        "cpu 97.25 (expected 52), disk 0 (expected 3912)"
    )


def test_an_event_of_one_row_has_one_time() -> None:
    """An episode that has just opened is not shown as a span."""
    moment = START_MS + 5 * STEP_MS
    value = event(kind=ChangeKind.OPENED, start_time_ms=moment, peak_time_ms=moment, end_time_ms=moment, severity=100.0)
    assert loadgen.event_line(value).startswith("opened   machine-006  severity 100  2025-01-01 00:05  cpu")


def test_an_event_over_midnight_shows_both_days() -> None:
    """A time on another day carries its date."""
    value = event(end_time_ms=START_MS + 24 * 60 * STEP_MS)
    assert " 2025-01-01 18:48 to 2025-01-02 00:00, peak 18:50 " in loadgen.event_line(value)


@pytest.mark.parametrize("value", [b"", b"\xff\x00", b"[]", b"{}", b"12", b'{"features": 3}'])
def test_what_is_no_event_is_shown_as_it_is(value: bytes) -> None:
    """Watching the wrong topic says so instead of ending in a traceback."""
    assert loadgen.event_line(value) == f"no event: {value!r}"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["sing"],
        ["train"],
        ["train", "--out", "x.csv", "--keys", "0"],
        ["stream", "--rate", "0"],
        ["stream", "--rate", "nan"],
        ["stream", "--rows", "-1"],
        ["watch", "--count", "0"],
        ["watch", "--timeout-s", "inf"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_explained(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """What is not bounded or not known is refused before anything happens."""
    with pytest.raises(SystemExit) as stop:
        loadgen.main(arguments)
    assert stop.value.code == 2
    assert "usage: python -m scripts.loadgen" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["train", "stream", "watch"])
def test_help_shows_an_example_that_parses(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Copying the example of a command's help works."""
    with pytest.raises(SystemExit) as stop:
        loadgen.main([command, "--help"])
    assert stop.value.code == 0
    example = capsys.readouterr().out.split("python -m scripts.loadgen ")[-1].split()
    assert example[0] == command
    assert loadgen.build_parser().parse_args(example).run is not None


def test_the_cluster_comes_from_the_same_variable_as_the_daemons(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `make services` prints serves both."""
    monkeypatch.setenv("STREAMAE_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1234")
    assert loadgen.build_parser().parse_args(["stream"]).bootstrap_servers == "127.0.0.1:1234"
    monkeypatch.delenv("STREAMAE_KAFKA__BOOTSTRAP_SERVERS")
    assert loadgen.build_parser().parse_args(["watch"]).bootstrap_servers == "127.0.0.1:9092"


@pytest.mark.parametrize("command", ["stream", "watch"])
def test_an_absent_broker_is_named(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message says where it looked and what to start."""
    monkeypatch.setattr(loadgen, "BOOTSTRAP_TIMEOUT_MS", 200)
    server = f"127.0.0.1:{free_port()}"
    assert loadgen.main([command, "--bootstrap-servers", server]) == 1
    error = capsys.readouterr().err
    assert f"Kafka at {server}: " in error
    assert "make services" in error


def test_a_path_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder in the way is an error of one line."""
    assert loadgen.main(["train", "--out", str(tmp_path), "--keys", "1"]) == 1
    assert str(tmp_path) in capsys.readouterr().err


@pytest.mark.integration
def test_stream_creates_topics_and_sends_as_many_as_asked(
    kafka: KafkaBroker,
    fresh_name: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Topics with their partitions, each key in one of them and in order; not faster than the rate; then the truth."""
    topic, outputs, alerts = fresh_name("sensors"), (fresh_name("anomalies"), fresh_name("dead")), fresh_name("orders")
    monkeypatch.setattr(loadgen, "OUTPUT_TOPICS", outputs)
    monkeypatch.setattr(loadgen, "ALERT_TOPICS", {alerts: {"cleanup.policy": "compact"}})
    arguments = ["--bootstrap-servers", kafka.bootstrap_servers, "--topic", topic, "--keys", "6", "--rows", "20"]
    began = time.monotonic()
    assert loadgen.main(["stream", *arguments, "--rate", "200", "--partitions", "4"]) == 0
    assert time.monotonic() - began > (6 * 20 - 5) / 200
    said = capsys.readouterr().out
    assert f"created {topic}, {', '.join(outputs)}, {alerts}\n" in said
    assert "120 of 120 records sent" in said
    assert said.splitlines()[-1].split()[:2] == ["key", "injected"]
    records = read_all(kafka.bootstrap_servers, topic)
    assert len({record.partition for record in records}) > 1
    for key, _ in live(6, 1):
        own = [record for record in records if record.key == key]
        assert len({record.partition for record in own}) == 1
        assert [json.loads(record.value) for record in own] == [
            content for other, content in live(6, 20) if other == key
        ]
    assert read_all(kafka.bootstrap_servers, outputs[0]) == []


@pytest.mark.integration
def test_a_second_run_goes_on_behind_the_first(
    kafka: KafkaBroker,
    fresh_name: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Running twice does not send late records: the daemon would only make dead letters of them."""
    servers, topic = kafka.bootstrap_servers, fresh_name("sensors")
    monkeypatch.setattr(loadgen, "OUTPUT_TOPICS", (fresh_name("anomalies"),))
    monkeypatch.setattr(loadgen, "ALERT_TOPICS", {})
    command = ["stream", "--bootstrap-servers", servers, "--topic", topic, "--keys", "3", "--rows", "5"]
    assert loadgen.newest_time_ms(servers, topic) is None
    assert loadgen.main([*command, "--rate", "1000"]) == 0
    first_end = LIVE_MS + 4 * STEP_MS
    assert loadgen.newest_time_ms(servers, topic) == first_end
    assert loadgen.main([*command, "--rate", "1000"]) == 0
    assert "holds an earlier run" in capsys.readouterr().out
    for key, _ in live(3, 1):
        times = [json.loads(record.value)["timestamp"] for record in read_all(servers, topic) if record.key == key]
        assert len(times) == 10
        assert times == sorted(set(times))
        assert times[5] == loadgen.iso(first_end + loadgen.SEAM_MS)


@pytest.mark.integration
def test_foreign_records_do_not_stop_a_stream(kafka: KafkaBroker, fresh_name: Callable[[str], str]) -> None:
    """A topic that holds something else is used as it is."""
    topic = fresh_name("sensors")
    create_topics(kafka.bootstrap_servers, topic, partitions=2)
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap_servers)
    for partition, value in ((0, b"not json"), (1, None)):
        producer.send(topic, value=value, key=b"k", partition=partition)
    producer.flush(30)
    producer.close(5)
    assert loadgen.newest_time_ms(kafka.bootstrap_servers, topic) is None


@pytest.mark.integration
def test_watch_shows_committed_events_only(
    kafka: KafkaBroker, fresh_name: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    """An aborted transaction is never seen; `--count` ends the watch, silence ends it with exit code 1."""
    servers, topic = kafka.bootstrap_servers, fresh_name("anomalies")
    create_topics(servers, topic)
    producer = KafkaProducer(bootstrap_servers=servers, transactional_id=fresh_name("writer"))
    producer.init_transactions()
    for severity, is_committed in ((11.0, False), (22.0, True), (33.0, True)):
        producer.begin_transaction()
        producer.send(topic, key=b"k", value=event(severity=severity)).get(10)
        if is_committed:
            producer.commit_transaction()
        else:
            producer.abort_transaction()
    producer.close(5)
    command = ["watch", "--bootstrap-servers", servers, "--topic", topic, "--timeout-s", "2"]
    assert loadgen.main([*command, "--count", "1"]) == 0
    assert "severity  22" in capsys.readouterr().out
    assert loadgen.main(command) == 0
    shown = capsys.readouterr()
    assert [line.split()[3] for line in shown.out.splitlines()] == ["22", "33"]
    assert shown.err.endswith("2 events\n")
    assert loadgen.main([*command, "--count", "3"]) == 1
