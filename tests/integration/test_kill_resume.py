"""`kill -9` in the middle of the work: afterwards the world looks as if nothing had happened."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kafka import KafkaAdminClient, KafkaProducer
from redis import Redis

from scripts.services import KafkaBroker, RedisServer
from streamae.batches import Series
from streamae.settings.serving import ModelSettings
from streamae.settings.training import TrainSettings
from streamae.training.options import TrainOptions
from streamae.training.run import train
from tests.daemons import Daemon, Sections
from tests.kafka_io import committed_offset, create_topics, read_all
from tests.waiting import wait_until

pytestmark = pytest.mark.integration

FEATURES = ("temp", "load")
PARTITIONS, KEYS, ROWS = 3, 12, 900
START_MS, STEP_MS = 1_700_000_000_000, 1_000
SPIKES = {(key, 120 + 60 * key + 17 * extra) for key in range(KEYS) for extra in (0, 1, 9)}
TOTAL = KEYS * ROWS


def waves(keys: int, rows: int, seed: int) -> Any:
    """Return (rows, keys, F) of noisy waves, each key with a phase of its own."""
    phase = np.arange(rows)[:, None, None] / 9 + np.arange(keys)[:, None] + np.arange(len(FEATURES))
    return np.sin(phase) + np.random.default_rng(seed).normal(0, 0.1, phase.shape)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network trained on quiet streams of the same kind."""
    times = START_MS + STEP_MS * np.arange(400, dtype=np.int64)
    values = waves(3, 400, 1).astype(np.float32)
    series = [Series(f"k{key}", FEATURES, times, np.ascontiguousarray(values[:, key])) for key in range(3)]
    directory = tmp_path_factory.mktemp("bundle") / "bundle"
    options = TrainOptions(
        TrainSettings(window_size=8, hidden_size=8, recent_steps=2, max_steps=120),
        model=ModelSettings(device="cpu", threads=1),
    )
    train(series, options).save(directory)
    return directory


def fill(servers: str, topic: str) -> None:
    """Write the whole stream, partitioned by key."""
    values = waves(KEYS, ROWS, 2).round(4)
    producer = KafkaProducer(bootstrap_servers=servers, linger_ms=50)
    for row in range(ROWS):
        for key in range(KEYS):
            content = dict(zip(FEATURES, values[row, key].tolist(), strict=True)) | {"ts": START_MS + row * STEP_MS}
            if (key, row) in SPIKES:
                content["temp"] = 25.0
            producer.send(topic, key=b"pump-%d" % key, value=json.dumps(content).encode(), partition=key % PARTITIONS)
    producer.flush(60)
    producer.close(5)


def forget_group(servers: str, group: str) -> None:
    """Delete the committed offsets of a group, so that the next run starts at the beginning."""
    admin = KafkaAdminClient(bootstrap_servers=servers)
    try:
        admin.delete_groups([group])
    finally:
        admin.close()


def done(servers: str, name: str) -> int:
    """Return how many records the group has committed."""
    return sum(committed_offset(servers, name, name, index) or 0 for index in range(PARTITIONS))


def outcome(servers: str, topic: str, redis_url: str, prefix: str) -> tuple[list[str], dict[bytes, Any]]:
    """Return the sorted event ids a read_committed consumer sees, and all key state with its offsets."""
    ids = [dict(record.headers)["ce_id"].decode() for record in read_all(servers, topic)]
    client = Redis.from_url(redis_url)
    state: dict[bytes, Any] = {}
    for found in client.scan_iter(f"{prefix}:*"):
        place = found[len(prefix) :]
        content = client.hgetall(found)
        state[place] = content[b"off"] if place.endswith(b":m") else content
    client.close()
    return sorted(ids), state


def saved(redis_url: str, prefix: str) -> int:
    """Return how many records the stored state reflects."""
    client = Redis.from_url(redis_url)
    found = sum(int(client.hget(manifest, "off") or 0) for manifest in client.scan_iter(f"{prefix}:*:m"))
    client.close()
    return found


def test_two_kills_leave_the_same_events_and_the_same_statistics(
    kafka: KafkaBroker,
    redis_server: RedisServer,
    fresh_name: Callable[[str], str],
    bundle: Path,
    tmp_path: Path,
) -> None:
    """A daemon killed twice in the middle ends with exactly the event ids and the key state of one left alone."""
    servers, name = kafka.bootstrap_servers, fresh_name("kill")
    outputs = {run: f"{name}-{run}" for run in ("calm", "killed")}
    create_topics(servers, name, partitions=PARTITIONS)
    create_topics(servers, *outputs.values(), *(f"{topic}-dead" for topic in outputs.values()))
    fill(servers, name)

    def sections(run: str) -> Sections:
        # Slow enough that a kill never comes after the work, however fast the machine.
        most = {"calm": 60, "killed": 15}[run]
        return {
            "kafka": {"bootstrap_servers": servers, "group_id": name, "session_timeout_ms": 6_000},
            "input": {"topics": [name], "time_field": "ts", "max_poll_records": most},
            "output": {"topic": outputs[run], "dead_letter_topic": f"{outputs[run]}-dead", "commit_interval_ms": 1},
            "model": {"bundle": bundle, "device": "cpu", "threads": 1},
            "threshold": {"min_windows": 40},
            "episode": {"merge_gap_windows": 5},
            "state": {"redis_url": redis_server.url, "key_prefix": outputs[run], "checkpoint_interval_ms": 700},
        }

    def run_to_the_end(run: str) -> Daemon:
        folder = tmp_path / f"{run}-end"
        folder.mkdir()
        with Daemon(folder, sections(run)) as daemon:
            daemon.wait_for_end(name)  # committed long ago, perhaps: a silent replay may still be under way
            wait_until(lambda: saved(redis_server.url, outputs[run]) == TOTAL, "all state to be saved", 60)
            daemon.replayed = daemon.metric("replayed_records_total")  # type: ignore[attr-defined]
            assert daemon.stop() == 0
        return daemon

    run_to_the_end("calm")
    calm = outcome(servers, outputs["calm"], redis_server.url, outputs["calm"])
    forget_group(servers, name)

    for number, share in enumerate((0.25, 0.6)):
        folder = tmp_path / f"killed-{number}"
        folder.mkdir()
        with Daemon(folder, sections("killed")) as victim:

            def stands_unsaved() -> bool:
                """Stop the process when it is so far; let it go on if all that it had committed by then is saved."""
                at = done(servers, name)  # asked while it runs: of one that stands in a transaction nobody is told
                if at < share * TOTAL:  # noqa: B023 - not called after this turn
                    return False
                victim.process.send_signal(signal.SIGSTOP)
                if saved(redis_server.url, outputs["killed"]) < at:
                    return True
                victim.process.send_signal(signal.SIGCONT)
                return False

            wait_until(stands_unsaved, f"{share:.0%} of the work, some of it unsaved", 120, interval_s=0.1)
            victim.process.send_signal(signal.SIGKILL)
            victim.process.wait(10)
        assert done(servers, name) < TOTAL, "the kill came too late to prove anything"
    last = run_to_the_end("killed")
    killed = outcome(servers, outputs["killed"], redis_server.url, outputs["killed"])

    assert last.replayed > 0, "no silent replay: the kill met no unsaved state"  # type: ignore[attr-defined]
    assert len(calm[0]) >= 2 * KEYS
    assert killed[0] == calm[0]
    assert killed[1] == calm[1]
