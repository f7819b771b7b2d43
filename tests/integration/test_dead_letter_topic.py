"""Bad input of every kind through the real program, Kafka and Redis: a dead letter each, and nothing else changes.

One test per kind of trouble a topic or an operator can make; each starts the daemon as its users do.
"""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from kafka import KafkaProducer

from scripts.services import KafkaBroker, RedisServer
from streamae.batches import Series
from streamae.connectors.events import schema
from streamae.reasons import Reason
from streamae.settings.serving import ModelSettings
from streamae.settings.training import TrainSettings
from streamae.training.options import TrainOptions
from streamae.training.run import train
from tests.daemons import ROOT, Daemon, Sections
from tests.kafka_io import create_topics, read_all

pytestmark = pytest.mark.integration

FEATURES = ("temp", "load", "flow")
KEYS = (b"pump-0", b"pump-1", b"pump-2", b"pump-\xff")
ROWS, WINDOW = 130, 8
START_MS, STEP_MS = 1_700_000_000_000, 1_000
MAX_GAP_MS = 60_000
SPIKES = {(1, 70), (1, 71), (3, 90), (3, 91), (2, 108), (2, 109)}  # (key, row): ten times the usual
GAP = (2, 110)  # here this key falls silent, with its episode still open
HEADERS = [("trace", b"\xff\x00"), ("trace", b"2")]

VALIDATOR = jsonschema.Draft202012Validator(schema())

Entry = tuple[bytes | None, bytes | None]


def rows_of(key: int, rows: int, seed: int) -> Any:
    """Return (rows, F) of a noisy wave."""
    phase = np.arange(rows)[:, None] / 6 + np.arange(len(FEATURES)) + key
    return np.sin(phase) + np.random.default_rng((seed, key)).normal(0, 0.1, phase.shape)


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network trained on quiet streams of the same kind."""
    times = START_MS + STEP_MS * np.arange(400, dtype=np.int64)
    series = [Series(f"pump-{key}", FEATURES, times, rows_of(key, 400, 1).astype(np.float32), None) for key in range(3)]
    options = TrainOptions(
        TrainSettings(window_size=WINDOW, hidden_size=8, recent_steps=2, max_steps=150),
        model=ModelSettings(device="cpu", threads=1),
    )
    directory = tmp_path_factory.mktemp("bundle") / "bundle"
    train(series, options).save(directory)
    return directory


@dataclass(frozen=True)
class Row:
    """One row of one good stream."""

    key: bytes
    time_ms: int
    values: list[float]


def good_rows() -> list[Row]:
    """All keys in turn, with the spikes; one key falls silent for longer than max_gap and comes back."""
    values = np.stack([rows_of(key, ROWS, 2) for key in range(len(KEYS))]).round(4)
    for key, row in SPIKES:
        values[key, row] = 30.0
    pause = [MAX_GAP_MS + 5 * STEP_MS if key == GAP[0] else 0 for key in range(len(KEYS))]
    return [
        Row(name, START_MS + row * STEP_MS + (pause[key] if row >= GAP[1] else 0), values[key, row].tolist())
        for row in range(ROWS)
        for key, name in enumerate(KEYS)
    ]


def wide(row: Row, **fields: Any) -> bytes:
    """Return a record with a field a feature; `fields` replace or, when `...`, remove."""
    content = {"ts": row.time_ms} | dict(zip(FEATURES, row.values, strict=True)) | fields
    return json.dumps({name: value for name, value in content.items() if value is not ...}).encode()


@dataclass
class Stream:
    """Three topics of a test and the daemon between them."""

    servers: str
    name: str
    sections: Sections
    folder: Path

    def produce(self, entries: Iterable[Entry], partition: int = 0) -> None:
        """Write records with headers, in order."""
        producer = KafkaProducer(bootstrap_servers=self.servers, max_in_flight_requests_per_connection=1)
        futures = [producer.send(self.name, value, key, HEADERS, partition) for key, value in entries]
        producer.flush(60)
        for future in futures:
            future.get(1)
        producer.close(5)

    def daemon(self) -> Daemon:
        """Return the program, not started yet."""
        return Daemon(self.folder, self.sections)

    def events(self) -> list[dict[str, Any]]:
        """Return the published events, all valid, without what depends on offsets, in an order of their own."""
        found = [json.loads(record.value) for record in read_all(self.servers, f"{self.name}-events")]
        for event in found:
            VALIDATOR.validate(event)
            del event["episode_id"], event["source"]["offset"], event["source"]["topic"]
            del event["detector"], event["settings_version"]
        return sorted(found, key=lambda event: (event["key"], event["window"]["end_time_ms"], event["sequence"]))

    def dead_letters(self) -> list[Any]:
        """Return the dead letters."""
        return read_all(self.servers, f"{self.name}-dead")


@pytest.fixture
def stream(
    kafka: KafkaBroker, redis_server: RedisServer, bundle: Path, tmp_path: Path, fresh_name: Callable[[str], str]
) -> Callable[..., Stream]:
    """A function that makes fresh topics and settings; sections override."""

    def make(partitions: int = 1, **overrides: dict[str, Any]) -> Stream:
        name = fresh_name("pumps")
        create_topics(kafka.bootstrap_servers, name, f"{name}-events", f"{name}-dead", partitions=partitions)
        folder = tmp_path / name
        folder.mkdir()
        sections: Sections = {
            "kafka": {"bootstrap_servers": kafka.bootstrap_servers, "group_id": name},
            "input": {"topics": [name], "time_field": "ts"},
            "output": {"topic": f"{name}-events", "dead_letter_topic": f"{name}-dead"},
            "window": {"max_gap_ms": MAX_GAP_MS},
            "model": {"bundle": bundle, "device": "cpu", "threads": 1},
            "threshold": {"min_windows": 30},
            "episode": {"merge_gap_windows": 5},
            "state": {"redis_url": redis_server.url, "key_prefix": name},
        }
        for section, values in overrides.items():
            sections[section] = sections.get(section, {}) | values
        return Stream(kafka.bootstrap_servers, name, sections, folder)

    return make


def header(record: Any, name: str) -> str:
    """Return the last header of that name as text."""
    return [value for found, value in record.headers if found == name][-1].decode()


def assert_alike(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Compare events field by field; scores may differ in the last bits between micro-batches."""
    assert [(e["key"], e["kind"], e["start_time"]) for e in found] == [
        (e["key"], e["kind"], e["start_time"]) for e in expected
    ]
    for one, other in zip(found, expected, strict=True):
        first, second = flat(one), flat(other)
        assert first.keys() == second.keys()
        for path, value in first.items():
            assert value == (pytest.approx(second[path], rel=1e-3) if isinstance(value, float) else second[path]), path


def flat(content: Any, path: str = "") -> dict[str, Any]:
    """Return nested dicts and lists as one dict by path."""
    if not isinstance(content, dict | list):
        return {path: content}
    items = content.items() if isinstance(content, dict) else enumerate(content)
    return {name: leaf for part, inner in items for name, leaf in flat(inner, f"{path}.{part}").items()}


def bad_records(now: dict[bytes, Row]) -> list[tuple[Reason, Entry]]:
    """Return one or more bad records of every reason, given the newest good row of each key."""
    row = now[KEYS[1]]
    fresh = Row(row.key, row.time_ms + 1, row.values)
    late = Row(row.key, row.time_ms - 3 * STEP_MS, [30.0, 30.0, 30.0])
    text = [
        (Reason.NOT_JSON, b""),
        (Reason.NOT_JSON, b"\xff\xfe{"),
        (Reason.NOT_JSON, wide(fresh)[:-2]),
        (Reason.NOT_JSON, b"[1, 2, 3]"),
        (Reason.NOT_JSON, b'{"x":' + b"[" * 3_000),
        (Reason.WRONG_TYPE, wide(fresh, temp=[30.0])),
        (Reason.WRONG_TYPE, wide(fresh, temp="30.0")),
        (Reason.WRONG_TYPE, wide(fresh, ts=[row.time_ms])),
        (Reason.NOT_FINITE, wide(fresh, temp=float("nan"))),
        (Reason.NOT_FINITE, wide(fresh, temp=float("-inf"))),
        (Reason.NOT_FINITE, wide(fresh, temp=1e39)),
        (Reason.TOO_LARGE, wide(fresh, note="x" * 4_000)),
        (Reason.TOMBSTONE, None),
        (Reason.MISSING_TIME, wide(fresh, ts=...)),
        (Reason.BAD_TIME, wide(fresh, ts="yesterday")),
        (Reason.BAD_TIME, wide(fresh, ts="2999-01-01T00:00:00Z")),
        (Reason.BAD_TIME, wide(fresh, ts=-5)),
        (Reason.MISSING_FEATURE, wide(fresh, flow=...)),
        (Reason.MISSING_FEATURE, wide(fresh, flow=None)),
        (Reason.LATE, wide(late)),
        (Reason.DUPLICATE, wide(row, note="again")),
        (Reason.EQUAL_TIME, wide(row, temp=30.0)),
    ]
    return [(reason, (row.key, value)) for reason, value in text] + [
        (Reason.MISSING_KEY, (None, wide(fresh))),
        (Reason.KEY_TOO_LARGE, (b"k" * 257, wide(fresh))),
        (Reason.TOO_MANY_KEYS, (b"one-too-many", wide(fresh))),
    ]


def test_every_bad_record_is_a_dead_letter_and_harms_nobody(stream: Callable[..., Stream]) -> None:
    """Right reason, original key, value and headers, nothing twice; the episodes are those of the clean stream."""
    rules: dict[str, dict[str, Any]] = {
        "window": {"missing_overrides": {"flow": "reject"}}
        | dict.fromkeys(("late", "duplicate", "equal_time"), "dead_letter"),
        "input": {"max_record_bytes": 4_000},
        "limits": {"max_keys": len(KEYS)},
    }
    clean, dirty = stream(**rules), stream(**rules)
    clean.produce((row.key, wide(row)) for row in good_rows())
    entries: list[Entry] = []
    expected: dict[int, Reason] = {}
    newest: dict[bytes, Row] = {}
    for count, row in enumerate(good_rows()):
        entries.append((row.key, wide(row)))
        newest[row.key] = row
        if len(newest) == len(KEYS) and count % 40 == 0:
            for reason, entry in bad_records(newest):
                expected[len(entries)] = reason
                entries.append(entry)
    dirty.produce(entries)
    for each in (clean, dirty):
        with each.daemon() as daemon:
            daemon.wait_for_end(each.name)
            assert daemon.get("/livez")[0] == 200
            counted = {reason: daemon.metric("dead_letters_total", reason=reason.value) for reason in Reason}
            assert daemon.stop() == 0
    assert {reason: count for reason, count in counted.items() if count} == dict(Counter(expected.values()))

    originals = read_all(dirty.servers, dirty.name)
    letters = {int(header(letter, "streamae-source-offset")): letter for letter in dirty.dead_letters()}
    assert len(dirty.dead_letters()) == len(letters)
    assert {offset: header(letter, "streamae-reason") for offset, letter in letters.items()} == {
        offset: reason.value for offset, reason in expected.items()
    }
    for offset, letter in letters.items():
        original = originals[offset]
        assert (letter.key, letter.value) == (original.key, original.value) == entries[offset]
        assert list(letter.headers[: len(HEADERS)]) == list(original.headers) == HEADERS
        assert header(letter, "streamae-source-timestamp") == str(original.timestamp)
        assert header(letter, "streamae-source-topic") == dirty.name
        assert 0 < len(header(letter, "streamae-detail")) <= 512

    assert clean.dead_letters() == []
    opened = [(event["key"], event["start_time_ms"]) for event in clean.events() if event["kind"] == "opened"]
    assert {key for key, _ in opened} == {"pump-1", "pump-2", r"pump-\xff"}
    assert_alike(dirty.events(), clean.events())


def test_no_episode_spans_a_gap(stream: Callable[..., Stream]) -> None:
    """A key that comes back after max_gap closes its episode with that reason, at the time it fell silent."""
    gapped = stream()
    gapped.produce((row.key, wide(row)) for row in good_rows())
    with gapped.daemon() as daemon:
        daemon.wait_for_end(gapped.name)
        assert daemon.stop() == 0
    events = [event for event in gapped.events() if event["key"] == "pump-2"]
    assert [(event["kind"], event["close_reason"]) for event in events][-1] == ("closed", "gap")
    silent_from = START_MS + GAP[1] * STEP_MS
    assert all(event["end_time_ms"] < silent_from for event in events)


def test_late_and_duplicate_records_can_be_dropped_and_are_counted(stream: Callable[..., Stream]) -> None:
    """With the policy drop nothing goes to the dead-letter topic, but the counters tell."""
    dropping = stream(window={"late": "drop", "duplicate": "drop"})
    rows = good_rows()[:40]
    dropping.produce([(row.key, wide(row)) for row in [*rows, *rows[:8], *rows[-4:]]])
    with dropping.daemon() as daemon:
        daemon.wait_for_end(dropping.name)
        assert daemon.metric("dropped_records_total", reason="late") == 8
        assert daemon.metric("dropped_records_total", reason="duplicate") == 4
        assert daemon.stop() == 0
    assert dropping.dead_letters() == []


def test_array_records_with_nulls_are_imputed_and_wrong_lengths_refused(stream: Callable[..., Stream]) -> None:
    """The array layout works end to end; nulls follow the policy, and events say how much was filled in."""
    array = stream(input={"value_fields": ["body.values"]}, window={"missing": "previous"})
    entries: list[Entry] = []
    for index, row in enumerate(good_rows()):
        values: list[float | None] = [*row.values]
        if index % 3 == 0:
            values[2] = None
        entries.append((row.key, json.dumps({"ts": row.time_ms, "body": {"values": values}}).encode()))
    wrong = [
        (KEYS[0], json.dumps({"ts": START_MS, "body": {"values": values}}).encode())
        for values in ([1.0, 2.0], [1.0] * 4, [])
    ]
    array.produce([*entries[:100], *wrong, *entries[100:]])
    with array.daemon() as daemon:
        daemon.wait_for_end(array.name)
        assert daemon.stop() == 0
    assert [(header(letter, "streamae-reason"), letter.value) for letter in array.dead_letters()] == [
        ("wrong_length", value) for _, value in wrong
    ]
    opened = [event for event in array.events() if event["kind"] == "opened"]
    assert {event["key"] for event in opened} == {"pump-1", "pump-2", r"pump-\xff"}
    assert all(0 < event["imputed_share"] < 0.5 for event in opened)


def test_one_metric_a_record_at_irregular_times_becomes_rows(stream: Callable[..., Stream]) -> None:
    """The long layout on a grid finds the same episodes as whole rows do, and refuses names that are no feature."""
    long = stream(
        input={"layout": "long", "name_field": "metric.name", "value_field": "metric.value"},
        window={"grid_ms": STEP_MS},
    )
    rng = np.random.default_rng(0)
    entries: list[Entry] = []
    for row in good_rows():
        for feature in rng.permutation(len(FEATURES)):
            metric = {"name": FEATURES[feature], "value": row.values[feature]}
            at = row.time_ms + int(rng.integers(STEP_MS))
            entries.append((row.key, json.dumps({"ts": at, "metric": metric}).encode()))
    unknown = json.dumps({"ts": START_MS, "metric": {"name": "humidity", "value": 1}}).encode()
    long.produce([*entries[:50], (KEYS[0], unknown), *entries[50:]])
    with long.daemon() as daemon:
        daemon.wait_for_end(long.name)
        assert daemon.stop() == 0
    assert [(header(letter, "streamae-reason"), letter.value) for letter in long.dead_letters()] == [
        ("unknown_feature", unknown)
    ]
    starts = {event["key"]: event["start_time_ms"] // STEP_MS for event in long.events()}
    assert starts == {
        "pump-1": START_MS // STEP_MS + 70,
        "pump-2": START_MS // STEP_MS + 108,
        r"pump-\xff": START_MS // STEP_MS + 90,
    }


def test_a_key_in_several_partitions_is_told_once_with_the_remedy(stream: Callable[..., Stream]) -> None:
    """State is per partition: such a key is counted, and the log says what to do about it."""
    split = stream(partitions=2)
    rows = good_rows()[:40]
    for partition in (0, 1):
        split.produce([(row.key, wide(row)) for row in rows], partition)
    with split.daemon() as daemon:
        daemon.wait_for_end(split.name)
        assert daemon.metric("split_keys_total") == len(KEYS)
        (warning,) = daemon.logged("key_in_several_partitions")
        assert "input.key_field" in warning["remedy"]
        assert daemon.stop() == 0
    assert split.dead_letters() == []


def run_to_end(stream: Stream, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a daemon that is not expected to live."""
    return subprocess.run(
        [*stream.daemon().command, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


def test_wrong_settings_end_with_78_and_every_error_at_once(stream: Callable[..., Stream]) -> None:
    """Unknown names, bad values and contradictions from file and flags are all told, with field and source."""
    wrong = stream(window={"strid": 1}, model={"max_batch_size": 0})
    done = run_to_end(wrong, "--threshold.k=-1")
    assert done.returncode == 78
    for part in ("window.strid", "model.max_batch_size", "threshold.k", "streamae.toml"):
        assert part in done.stderr


def test_settings_that_do_not_fit_the_bundle_end_with_78(stream: Callable[..., Stream]) -> None:
    """A field mapping for another number of features is found before anything is read."""
    done = run_to_end(stream(input={"value_fields": ["temp", "load"]}))
    assert done.returncode == 78
    assert "input.value_fields: 2 names for 3 features" in done.stdout + done.stderr


def test_a_broken_bundle_is_refused_with_the_reason(
    stream: Callable[..., Stream], bundle: Path, tmp_path: Path
) -> None:
    """One flipped byte of the weights: the daemon does not start, and says which file is to blame."""
    torn = tmp_path / "torn"
    torn.mkdir()
    for file in bundle.iterdir():
        (torn / file.name).write_bytes(file.read_bytes())
    weights = bytearray((torn / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (torn / "model.safetensors").write_bytes(weights)
    done = run_to_end(stream(model={"bundle": torn}))
    assert done.returncode == 1
    assert "model.safetensors" in done.stdout + done.stderr
