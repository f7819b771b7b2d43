"""What it costs that silence is an event: throughput, take-over, bytes.

Throughput: engines with silence against one without, on steady traffic of many keys, and on a backlog of few keys of
which each is silent for 15 s of every minute: there, points of time stand between windows most often. Take-over: the
roster that the engine of many keys made, read from a real Redis into a new roster. Bytes: a key with everything on.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

import numpy as np
from redis import Redis

from scripts.bench.inputs import START_MS, STEP_MS, TOPIC, Traffic, untrained_bundle
from scripts.bench.memory import bytes_per_key
from scripts.bench.turns import Side, Taken, Turns
from scripts.services import RedisServer
from streamae.batches import Partition, Record
from streamae.connectors.protocols import Outcome, Stamp
from streamae.connectors.redis_store import RedisStore
from streamae.core.roster import Patience, Roster
from streamae.engine.silence_watch import SilenceWatch
from streamae.model.bundle import Bundle
from streamae.model.runner import Runner
from streamae.settings.connections import StateSettings
from streamae.settings.decisions import EpisodeSettings
from streamae.settings.section import Section
from streamae.settings.silence import SilenceSettings

WINDOW_SIZE, FEATURES, HIDDEN_SIZE, WAITING_ROWS = 32, 8, 64, 32
BACKLOG_KEYS, SILENT_S, EVERY_S, APART_S = 10, 15, 60, 6
STEADY_TARGET, BACKLOG_TARGET = 0.97, 0.8
ENTRY_TARGET, TAKE_OVER_TARGET_S, BYTES_TARGET = 48, 2.0, 6 * 1_024
OFF, NEVER, BY_GAPS, BY_TIME = "as shipped", "close_after_ms = 0", "after_gaps", "after_ms"
ON = (BY_GAPS, BY_TIME)
PARTITION, STAMP = Partition(TOPIC, 0), Stamp("bench")
TAKE_OVERS = 5

Sections = Mapping[str, Mapping[str, Section]]
STEADY: Sections = {
    OFF: {},
    NEVER: {"episode": EpisodeSettings(close_after_ms=0)},
    BY_GAPS: {"silence": SilenceSettings(after_gaps=10)},
    BY_TIME: {"silence": SilenceSettings(after_ms=60_000)},
}
BACKLOG: Sections = {
    OFF: {},
    NEVER: STEADY[NEVER],
    BY_GAPS: {"silence": SilenceSettings(after_gaps=3)},
    BY_TIME: {"silence": SilenceSettings(after_ms=5_000)},
}


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured."""

    keys: int  # on steady traffic, and of the roster
    draws: int  # of a row of all keys
    parts: int  # of a draw: turns, each long enough for a checkpoint by number of keys
    backlog_draws: int
    backlog_rows: int  # seconds of backlog a draw
    weighed_keys: int


FULL = Effort(keys=100_000, draws=10, parts=5, backlog_draws=45, backlog_rows=600, weighed_keys=50_000)
QUICK = Effort(keys=5_000, draws=9, parts=1, backlog_draws=9, backlog_rows=600, weighed_keys=10_000)


class PausingTraffic(Traffic):
    """Keys that are silent for `SILENT_S` seconds of every `EVERY_S`, one after the other `APART_S` later."""

    def rows(self, count: int) -> list[Record]:
        """Return what is said in the next `count` seconds."""
        return [record for record in super().rows(count) if not self._is_silent(record)]

    def _is_silent(self, record: Record) -> bool:
        number = int((record.key or b"").rpartition(b"-")[2])
        second = (record.timestamp - START_MS) // STEP_MS
        return (second + APART_S * number) % EVERY_S < SILENT_S


@dataclass(frozen=True, slots=True)
class TakeOver:
    """What a roster costs to keep and to take over.

    Attributes:
        keys: of the roster.
        entry_bytes: longest entry as it came back from the store, beside its name.
        stored_bytes: what one more key takes in Redis's memory, its name too.
        seconds: wall time to read it and to make a roster of it, several times.
    """

    keys: int
    entry_bytes: int
    stored_bytes: float
    seconds: list[float]


@dataclass(frozen=True, slots=True)
class Findings:
    """All figures of one run; rounds by network or null model."""

    steady_keys: int
    steady: dict[str, Taken]
    backlog: dict[str, Taken]
    take_over: TakeOver
    key_bytes: float

    def missed(self) -> list[str]:
        """Name the targets that are missed; with the null model nothing is asked."""
        checks = {f"steady, {side}": self.steady["network"].ratio(side, OFF) >= STEADY_TARGET for side in ON}
        checks |= {f"backlog, {side}": self.backlog["network"].ratio(side, OFF) >= BACKLOG_TARGET for side in ON}
        checks |= {
            "bytes an entry": self.take_over.entry_bytes <= ENTRY_TARGET,
            "take-over": median(self.take_over.seconds) <= TAKE_OVER_TARGET_S,
            "bytes a key": self.key_bytes <= BYTES_TARGET,
        }
        return [name for name, is_met in checks.items() if not is_met]

    def is_met(self) -> bool:
        """Whether all targets are met."""
        return not self.missed()

    def table(self) -> str:
        """Return the figures as a text of some lines."""
        lines = [f"{'':40}{'records/CPU s, with : without':>32}{'ratio':>8}{'target':>8}"]
        for name, by_model, asked in (
            (f"{self.steady_keys:,} keys", self.steady, STEADY_TARGET),
            (f"backlog of {BACKLOG_KEYS} keys", self.backlog, BACKLOG_TARGET),
        ):
            for model, taken in by_model.items():
                for side, against in ((BY_GAPS, OFF), (BY_TIME, OFF), (OFF, NEVER)):
                    both = f"{taken.rate(side):,.0f} : {taken.rate(against):,.0f}"
                    target = f"{asked:>8.2f}" if against == OFF and model == "network" else ""
                    what = f"{name}, {model}, {side}"
                    lines.append(f"{what:40}{both:>32}{taken.ratio(side, against):>8.3f}{target}")
        over = self.take_over
        lines += [
            f"without: as shipped, where only open episodes are closed; this itself against {NEVER}",
            "",
            f"{'bytes of an entry beside its name':60}{over.entry_bytes:>12,}{ENTRY_TARGET:>16,}",
            f"{'bytes of a key of the roster in Redis, its name too':60}{over.stored_bytes:>12,.0f}",
            f"{f'take-over of {over.keys:,} keys, s':60}{median(over.seconds):>12.2f}{TAKE_OVER_TARGET_S:>16.1f}",
            f"{f'bytes a key, window {WINDOW_SIZE}, everything on':60}{self.key_bytes:>12,.0f}{BYTES_TARGET:>16,}",
        ]
        return "\n".join([*lines, *(f"MISSED: {name}" for name in self.missed())])


def measure(effort: Effort, threads: int = 1) -> Findings:
    """Take turns, take over, weigh.

    Raises:
        ServiceUnavailableError: there is no Redis on this machine.
    """
    bundle = untrained_bundle(WINDOW_SIZE, FEATURES, HIDDEN_SIZE)
    backlog = turns(bundle, PausingTraffic(BACKLOG_KEYS, bundle.features), BACKLOG, 4 * EVERY_S, threads)
    steady = turns(bundle, Traffic(effort.keys, bundle.features), STEADY, WINDOW_SIZE, threads)
    return Findings(
        effort.keys,
        both_models(bundle, steady, threads, effort.draws, 1, effort.parts),
        both_models(bundle, backlog, threads, effort.backlog_draws, effort.backlog_rows),
        take_over(roster_of(steady, BY_GAPS)),
        bytes_per_key(effort.weighed_keys, "--window", str(WINDOW_SIZE), "--waiting", str(WAITING_ROWS), "--all"),
    )


def turns(bundle: Bundle, traffic: Traffic, sections: Sections, warm_rows: int, threads: int) -> Turns:
    """Return engines of these settings with full windows, all on the same traffic."""
    sides = {name: Side(traffic, each) for name, each in sections.items()}
    return Turns(bundle, sides, traffic.keys, warm_rows, threads)


def both_models(
    bundle: Bundle, engines: Turns, threads: int, draws: int, rows: int, parts: int = 1
) -> dict[str, Taken]:
    """Measure without a network, then with it."""
    without = engines.measure(draws, rows, parts)
    engines.use(Runner(bundle, "cpu", threads=threads))
    return {"network": engines.measure(draws, rows, parts), "null model": without}


def roster_of(engines: Turns, side: str) -> Roster:
    """Return the roster that an engine has made of its keys."""
    watch = engines.engines[side].engine.silence
    assert isinstance(watch, SilenceWatch), "this engine does not listen"
    return watch.rosters[PARTITION]


def take_over(roster: Roster) -> TakeOver:
    """Save a roster in a real Redis; read it and make rosters of it, as a new owner of the partition does.

    Raises:
        ServiceUnavailableError: there is no Redis on this machine.
    """
    entries = roster.pack(np.array(list(roster.rows.values()), dtype=np.int64))
    with RedisServer() as server:
        client = Redis.from_url(server.url)
        store = RedisStore(StateSettings(redis_url=server.url, redis_timeout_ms=30_000, key_prefix="bench"), "bench")
        store.checkpoint(PARTITION, None, 1, STAMP, [])
        before = int(client.info("memory")["used_memory"])
        assert store.checkpoint(PARTITION, 1, 2, STAMP, [], roster=entries) is Outcome.OK
        stored_bytes = (int(client.info("memory")["used_memory"]) - before) / len(entries)
        seconds = [_take_over_once(store, roster.patience, len(entries)) for _ in range(TAKE_OVERS)]
        found = store.roster(PARTITION, 2) or []
        store.close()
        client.close()
    return TakeOver(len(entries), max(len(entry) for _, entry in found), stored_bytes, seconds)


def _take_over_once(store: RedisStore, patience: Patience, keys: int) -> float:
    started = time.perf_counter()
    found, roster = store.roster(PARTITION, 2), Roster(patience)
    assert found is not None
    unreadable = roster.unpack(found)
    seconds = time.perf_counter() - started
    assert len(roster.rows) == keys
    assert not unreadable
    return seconds
