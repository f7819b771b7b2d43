"""Streams and settings drawn together: whatever polls, batches, kills and losses do, the same comes out."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from streamae.connectors.memory import MemoryBroker
from streamae.connectors.memory_store import MemoryStore
from streamae.engine.publisher import at_once
from streamae.errors import OutcomeUnknownError, RetryableError
from tests.engines import DEAD, EVENTS, START_MS, TOPIC, Rig, header, settings, tiny_bundle
from tests.late import late

SCORES, PARTITIONS, STEP_MS, ROWS = "scores", 2, 1_000, 60
Sections = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Way:
    """How a stream is read: it must not matter."""

    poll: int = 100_000
    batch: int = 64
    wait_ms: int = 0
    commit_ms: int = 1
    checkpoint_ms: int = 10
    looks: int = 0
    troubles: tuple[tuple[str, int], ...] = ()  # what happens, and after how many turns


def drawn_stream(draw: random.Random) -> list[tuple[bytes, bytes]]:
    """Return records of keys that come and go, some late, twice, of one time, far ahead, set back, or no records at all."""
    found: list[tuple[float, bytes, bytes]] = []
    for key in range(draw.randint(3, 7)):
        is_away, fast_ms, at = False, 0, draw.random()
        while at < ROWS:
            if draw.random() < 0.05 and key > 1:
                is_away = not is_away
            if draw.random() < 0.01:
                fast_ms = draw.choice([0, 0, 4_000_000, 20_000_000, -500_000, -4_000_000])
            if not is_away:
                late_ms = draw.choice([1, 2, 5, 25]) * STEP_MS if draw.random() < 0.05 else 0
                jump_ms = draw.choice([300_000, 30_000_000]) if draw.random() < 0.01 else 0
                time_ms = START_MS + int(at * STEP_MS) + fast_ms + jump_ms - late_ms
                value = 40.0 if draw.random() < 0.06 else round(max(-2.0, min(2.0, draw.gauss(0, 1))), 4)
                content = {"ts": time_ms, "temp": value, "load": round(draw.random(), 3), "id": draw.randrange(99)}
                values = [json.dumps(content)] * draw.choice([1, 1, 1, 1, 1, 1, 1, 1, 2])
                if draw.random() < 0.05:
                    values.append(draw.choice(["no record", json.dumps(content | {"temp": None}), json.dumps({})]))
                found += [(at + 3 * draw.random() * (draw.random() < 0.08), b"k%d" % key, v.encode()) for v in values]
            at += draw.choice([1, 1, 1, 1, 0.5, 1.3]) * (1 + 3 * (key == 2))
    return [(key, value) for _, key, value in sorted(found, key=lambda one: one[0])]


def drawn_settings(draw: random.Random) -> Sections:
    """Return settings of everything that goes by time."""
    waits: list[dict[str, Any]] = [
        {},
        {"after_ms": draw.choice([1_001, 3_000, 6_000])},
        {"after_gaps": draw.choice([1.2, 2.0, 4.0])},
        {"overrides": ({"keys": "k[0-2]", "after_ms": 4_000}, {"keys": "k3", "off": True}), "after_gaps": 3.0},
    ]
    silence = draw.choice(waits)
    if silence:
        silence |= {"raster_ms": draw.choice([1, 1_000, 7_000]), "forget_ms": draw.choice([8_000, 20_000, 2**31])}
    window: dict[str, Any] = {
        "stride": draw.choice([1, 2, 3]),
        "max_gap_ms": draw.choice([3_000, 60_000]),
        "duplicate": draw.choice(["drop", "dead_letter"]),
    }
    if draw.random() < 0.6:
        window["max_jump_ms"] = draw.choice([10_000, 3_600_000])
    if draw.random() < 0.6:
        window |= {"lateness_ms": draw.choice([1, 4_000, 20_000]), "lateness_rows": draw.choice([1, 4, 32])}
    if draw.random() < 0.3:
        window |= {"grid_ms": draw.choice([500, 2_000]), "grid_merge": draw.choice(["last", "mean"])}
    else:
        window["equal_time"] = draw.choice(["keep", "drop", "dead_letter"])
    stretch = {"start": "2023-11-14T22:13:40Z", "end": "2023-11-14T22:13:55Z"}  # the seconds 20 to 35
    alerts = {"overrides": ({"keys": "k4", "mute": True},), "maintenance": (stretch,)} if draw.random() < 0.3 else {}
    return {
        "window": window,
        "silence": silence,
        "alerts": alerts,
        "episode": {
            "merge_gap_windows": draw.choice([1, 5, 1_000]),
            "close_after_ms": draw.choice([None, 0, 1, 5_000, 15_000]),
        },
        "threshold": {"min_windows": 8},
        "output": {"scores_topic": SCORES} if draw.random() < 0.3 else {},
        "input": {"id_field": "id"} if draw.random() < 0.3 else {},
        "limits": {"max_keys": 50},
    }


def drawn_way(draw: random.Random) -> Way:
    """Return some way of reading, with troubles."""
    kinds = ["kill", "kill", "stop", "unsent", "unanswered", "store", "rollback", "flush", "pause"]
    return Way(
        draw.choice([1, 7, 40, 1_024]),
        draw.choice([1, 7, 64]),
        draw.choice([0, 5, 200]),
        draw.choice([1, 20, 100]),
        draw.choice([1, 50, 100_000]),
        draw.choice([0, 0, 2]),
        tuple((draw.choice(kinds), draw.randint(0, 40)) for _ in range(draw.randint(0, 5))),
    )


class Life:
    """A stream that is read in some way, to its end."""

    def __init__(self, records: list[tuple[bytes, bytes]], sections: Sections, way: Way, draw: random.Random) -> None:
        broker = MemoryBroker(PARTITIONS)
        for topic in (TOPIC, EVENTS, DEAD, SCORES):
            broker.create_topic(topic, PARTITIONS)
        for key, value in records:
            broker.produce(TOPIC, key, value, timestamp=START_MS, partition=sum(key) % PARTITIONS)
        chosen = {name: dict(values) for name, values in sections.items()}
        chosen["model"] = {"max_batch_size": way.batch, "max_wait_ms": way.wait_ms}
        chosen["output"] |= {"commit_interval_ms": way.commit_ms}
        chosen["state"] = {"checkpoint_interval_ms": way.checkpoint_ms}
        parts = {"run_in_background": late(lambda: way.looks) if way.looks else at_once}
        self.draw = draw
        self.rig = Rig(broker, MemoryStore(), settings(**chosen), way.poll, tiny_bundle(4), parts)
        self.snapshots = [self.rig.store.snapshot()]
        for trouble, turns in way.troubles:
            self.turn(turns)
            self.snapshots.append(self.rig.store.snapshot())
            self.suffer(trouble)
        self.finish()

    def turn(self, times: int = 1) -> None:
        """Take turns; what did not answer is asked again."""
        for _ in range(times):
            self.patiently(self.rig.step)

    def patiently(self, work: Callable[[], None]) -> None:
        """Do something that may fail for now."""
        try:
            work()
        except RetryableError:
            self.rig.now_ms += 1_000

    def suffer(self, trouble: str) -> None:
        """Let something happen."""
        rig = self.rig
        is_behind = all(rig.engine.source.lag().values())
        if trouble == "unsent":
            rig.broker.fail_at("before_commit", RetryableError("no answer"))
        elif trouble == "unanswered":
            rig.broker.fail_at("after_commit", OutcomeUnknownError("no answer"))
        elif trouble == "store":
            rig.store.fail_at(self.draw.choice(["load", "roster", "after_checkpoint"]), RetryableError("away"))
        elif trouble == "rollback" and is_behind:
            rig.store.restore(self.draw.choice(self.snapshots))
        elif trouble == "flush" and is_behind:
            rig.store.flush()
        elif trouble == "pause":
            rig.now_ms += 5_000
        elif trouble in {"kill", "stop"}:
            if trouble == "stop":
                self.patiently(lambda: rig.engine.drain(rig.now_ms))
            rig.broker.expel(rig.engine.source)  # type: ignore[arg-type]
            rig.engine = rig.build()

    def finish(self) -> None:
        """Read everything, commit and save it."""
        self.turn(6)
        engine = self.rig.engine
        while any(engine.source.lag().values()) or engine.recovery.waiting or engine.publisher.is_blocked:
            self.turn()
            assert self.rig.now_ms < 3_000_000, "it never comes to an end"
        for _ in range(4):
            self.rig.now_ms += 10_000
            self.patiently(lambda: engine.drain(self.rig.now_ms))

    def outcome(self) -> dict[str, Any]:
        """Return all that must not depend on the way: what is published by key, and what is stored."""
        found: dict[str, Any] = {"state": self.rig.state(), "partitions": {}, "events": {}, "scores": {}}
        for partition, stored in self.rig.store.snapshot().items():
            entries = sorted(entry for bucket in stored.roster for entry in bucket.items())
            found["partitions"][partition] = stored.manifest and stored.manifest.partition_state, entries
        for event in self.rig.events():
            content = json.loads(event.value or b"")
            place = content["source"]["partition"], content["key"]
            found["events"].setdefault(place, []).append((header(event, "ce_id"), content))
        for score in self.rig.broker.records(SCORES):
            found["scores"].setdefault((score.partition, score.key), []).append(score.value)
        names = ("streamae-source-partition", "streamae-source-offset", "streamae-reason")
        found["letters"] = sorted([header(one, name) or "" for name in names] for one in self.rig.dead_letters())
        return found


def assert_whole(events: list[tuple[str | None, dict[str, Any]]]) -> None:
    """Check the story of a key: nothing comes twice, and each end and update has its beginning."""
    names = [name for name, _ in events]
    assert len(set(names)) == len(names)
    is_open: dict[str, str] = {}
    for _, event in events:
        cause, episode = event.get("cause", "anomaly"), event["episode_id"]
        if event["kind"] == "opened":
            assert not is_open
            is_open[cause] = episode
        else:
            assert is_open[cause] == episode
            if event["kind"] == "closed":
                del is_open[cause]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_any_way_of_reading_gives_the_same_events_letters_and_state(seed: int) -> None:
    """Drawn settings and streams: no event is lost, none comes twice, and what is stored follows from the records alone."""
    draw = random.Random(seed)
    records, sections = drawn_stream(draw), drawn_settings(draw)
    expected = Life(records, sections, Way(), draw).outcome()
    assert expected["events"]
    for events in expected["events"].values():
        assert_whole(events)
    for way in (Way(poll=draw.choice([1, 7])), drawn_way(draw), drawn_way(draw)):
        found = Life(records, sections, way, draw).outcome()
        for name, value in expected.items():
            assert found[name] == value, (name, way)
