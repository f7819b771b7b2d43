"""A host that stops sending, on a real Kafka and a real Redis: its episode ends, its silence is an event, over a restart."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kafka import KafkaProducer

from scripts.services import KafkaBroker, RedisServer
from streamae.batches import Series
from streamae.settings.serving import ModelSettings
from streamae.settings.training import TrainSettings
from streamae.training.options import TrainOptions
from streamae.training.run import train
from tests.daemons import Daemon, Sections
from tests.kafka_io import create_topics, read_all

pytestmark = pytest.mark.integration

START_MS, STEP_MS, SPIKE = 1_700_000_000_000, 1_000, 60
HOSTS = (b"steady-0", b"steady-1", b"host")


def trained(folder: Path) -> Path:
    """Write a small bundle."""
    times = START_MS + STEP_MS * np.arange(300, dtype=np.int64)
    values = np.random.default_rng(1).normal(size=(300, 3)).astype(np.float32)
    series = [Series(f"k{key}", ("temp",), times, values[:, key : key + 1]) for key in range(3)]
    options = TrainOptions(TrainSettings(window_size=8, recent_steps=2), model=ModelSettings(device="cpu", threads=1))
    train(series, options.with_train(kind="zscore")).save(folder / "bundle")
    return folder / "bundle"


def produce(servers: str, topic: str, seconds: Collection[int], silent: Collection[int]) -> None:
    """Send one value a second of each host, but for `host` in those seconds in which it is silent."""
    producer = KafkaProducer(bootstrap_servers=servers, linger_ms=20)
    chance = np.random.default_rng(2)
    for second in seconds:
        for key in HOSTS:
            value = 30.0 if (key, second) == (b"host", SPIKE) else round(float(chance.normal()), 3)
            if key != b"host" or second not in silent:
                content = {"ts": START_MS + second * STEP_MS, "temp": value}
                producer.send(topic, key=key, value=json.dumps(content).encode(), partition=0)
    producer.flush(60)
    producer.close(5)


def told(servers: str, topic: str) -> list[dict[str, Any]]:
    """Return the events about the host."""
    events = [json.loads(record.value) for record in read_all(servers, topic)]
    return [event for event in events if event["key"] == "host"]


def sections_of(servers: str, redis_url: str, name: str, folder: Path) -> Sections:
    """Return settings by which an episode of values is not over soon; `name` is that of topics and group."""
    create_topics(servers, name, f"{name}-out", f"{name}-dead", partitions=1)
    return {
        "kafka": {"bootstrap_servers": servers, "group_id": name, "session_timeout_ms": 6_000},
        "input": {"topics": [name], "time_field": "ts"},
        "output": {"topic": f"{name}-out", "dead_letter_topic": f"{name}-dead", "commit_interval_ms": 20},
        "model": {"bundle": trained(folder), "device": "cpu", "threads": 1},
        "threshold": {"min_windows": 30},
        "episode": {"merge_gap_windows": 200},
        "state": {"redis_url": redis_url, "key_prefix": name, "checkpoint_interval_ms": 200},
    }


def run_twice(folder: Path, sections: Sections, parts: Collection[Collection[int]], silent: Collection[int]) -> None:
    """Send the seconds of each part and let a process of its own take them, stopped by SIGTERM."""
    servers, name = sections["kafka"]["bootstrap_servers"], sections["kafka"]["group_id"]
    for number, seconds in enumerate(parts):
        produce(servers, name, seconds, silent)
        folder_of = folder / f"run-{number}"
        folder_of.mkdir()
        with Daemon(folder_of, sections) as daemon:
            daemon.wait_for_end(name)
            assert daemon.stop() == 0


def test_a_host_that_stops_sending_is_told_of_over_a_restart(
    kafka: KafkaBroker, redis_server: RedisServer, fresh_name: Callable[[str], str], tmp_path: Path
) -> None:
    """Its episode closes, its silence opens at the same record; the next process knows it and tells its return."""
    servers, name = kafka.bootstrap_servers, fresh_name("silence")
    sections = sections_of(servers, redis_server.url, name, tmp_path) | {"silence": {"after_gaps": 10.0}}
    run_twice(tmp_path, sections, (range(100), range(100, 140)), range(70, 120))
    events = told(servers, f"{name}-out")
    assert [(event.get("cause"), event["kind"], event["close_reason"]) for event in events[:4]] == [
        (None, "opened", None),
        (None, "closed", "silent"),
        ("silence", "opened", None),
        ("silence", "closed", "returned"),
    ]
    _, closed, opened, returned = events[:4]
    assert closed["source"] == opened["source"]
    assert opened["episode_id"] == returned["episode_id"]
    assert opened["start_time_ms"] == START_MS + 69 * STEP_MS
    assert (opened["silent_keys"], opened["partition_keys"]) == (1, 3)
    assert returned["end_time_ms"] == START_MS + 120 * STEP_MS


def test_a_daemon_stopped_in_the_midst_of_an_episode_closes_it_after_the_restart(
    kafka: KafkaBroker, redis_server: RedisServer, fresh_name: Callable[[str], str], tmp_path: Path
) -> None:
    """With `[silence]` off: the next process closes the episode of a host of which it never reads a record."""
    servers, name = kafka.bootstrap_servers, fresh_name("silence")
    sections = sections_of(servers, redis_server.url, name, tmp_path)
    sections["episode"] |= {"close_after_ms": 20_000}
    run_twice(tmp_path, sections, (range(65), range(65, 120)), range(65, 120))
    events = [event for event in told(servers, f"{name}-out") if event["kind"] != "updated"]
    assert [(event["kind"], event["close_reason"]) for event in events] == [("opened", None), ("closed", "silent")]
    opened, closed = events
    assert opened["episode_id"] == closed["episode_id"]
    assert opened["source"]["offset"] < 65 * len(HOSTS) < closed["source"]["offset"]
    assert closed["window"]["end_time_ms"] == START_MS + 64 * STEP_MS
