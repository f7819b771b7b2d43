"""A new group on a real broker reads back silently, dies meanwhile, and goes live where it said it would."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

import pytest

from scripts.services import KafkaBroker
from streamae.assembly.build import Parts, build_engine
from streamae.batches import Partition
from streamae.connectors.kafka import KafkaSink, KafkaSource
from streamae.connectors.memory_store import MemoryStore
from streamae.engine.engine import Engine
from streamae.errors import RetryableError
from streamae.observe.telemetry import Telemetry
from streamae.settings.connections import KafkaSettings
from streamae.settings.tree import Settings
from tests.engines import EVENTS, STEP_MS, Rig, SquareModel, broker_with, settings, stream, tiny_bundle
from tests.kafka_io import committed_offset, create_topics, produce, read_all
from tests.waiting import wait_until

pytestmark = pytest.mark.integration

KEYS, BEFORE = 3, 80
RECORDS = stream(KEYS, 130, spikes=[(0, 40), (1, 60), (0, 100), (2, 110)])
HISTORY, NEWER = RECORDS[: KEYS * BEFORE], RECORDS[KEYS * BEFORE :]


def started(servers: str, name: str, store: MemoryStore, of: Settings) -> tuple[Engine, Callable[[], None]]:
    """An engine on the broker, and what turns it once."""
    settings = KafkaSettings(bootstrap_servers=servers, group_id=name)
    parts = Parts(
        source=KafkaSource((name,), settings, 17),
        sink=KafkaSink(settings),
        store=store,
        bundle=tiny_bundle(),
        runner=SquareModel(),
    )
    engine = build_engine(of, Telemetry(), parts)

    def turn() -> None:
        with suppress(RetryableError):  # while the group is joined
            engine.step(time.monotonic_ns() // 1_000_000)

    return engine, turn


def turn_until(turn: Callable[[], None], condition: Callable[[], bool], what: str) -> None:
    """Turn the engine until something is so."""

    def is_so() -> bool:
        turn()
        return condition()

    wait_until(is_so, what, timeout_s=60.0)


def told(values: Iterable[bytes]) -> list[tuple[str, str, int]]:
    """Key, kind and time of each event."""
    events = [json.loads(value) for value in values]
    return sorted((event["key"], event["kind"], event["window"]["end_time_ms"]) for event in events)


def test_a_group_goes_live_at_the_place_it_committed_before_it_learnt(
    kafka: KafkaBroker, fresh_name: Callable[[str], str]
) -> None:
    """The events of newer records are those of a reader of everything; of older ones there are none."""
    servers, name, store = kafka.bootstrap_servers, fresh_name("bootstrap"), MemoryStore()
    create_topics(servers, name, f"{name}-events", f"{name}-dead")
    produce(servers, name, HISTORY)
    of = settings(
        input={"topics": (name,), "start": "latest", "bootstrap_records": 10_000},
        output={"topic": f"{name}-events", "dead_letter_topic": f"{name}-dead"},
        kafka={"group_id": name},
    )
    first, turn = started(servers, name, store, of)
    turn_until(turn, lambda: store.manifest(Partition(name, 0)) is not None, "a first checkpoint")
    assert first.partitions.replaying() == 1
    first.close()
    assert committed_offset(servers, name, name) == len(HISTORY)
    produce(servers, name, NEWER)
    second, turn = started(servers, name, store, of)
    turn_until(turn, lambda: committed_offset(servers, name, name) == len(RECORDS), "the end of the topic")
    second.drain(time.monotonic_ns() // 1_000_000)
    second.close()
    whole = Rig(broker_with(RECORDS, 1))
    whole.run_dry()
    expected = [record.value or b"" for record in whole.broker.records(EVENTS)]
    live_ms = json.loads(NEWER[0][1])["ts"] - STEP_MS
    found = told(record.value for record in read_all(servers, f"{name}-events"))
    assert found == [one for one in told(expected) if one[2] > live_ms]
    assert len(found) >= 4
