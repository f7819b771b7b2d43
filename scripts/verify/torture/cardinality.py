"""T10: millions of keys that come once, between a few that come all the time; room is for a fraction of them.

The strangers must be given up one after the other, each counted, in memory and in the store; the regulars must not
notice: their outputs are those of a stream without strangers. T10b does the same with restarts in between: what a
worker knew to be stored, its successor must give up.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np

from scripts.services import RedisServer
from scripts.verify.torture import oracle, outputs
from scripts.verify.torture.bad_input import Writer
from scripts.verify.torture.checkers import compare
from scripts.verify.torture.context import Context
from scripts.verify.torture.memory import GIVE_BACK, Memory
from scripts.verify.torture.report import Result
from scripts.verify.torture.trial import Trial
from scripts.verify.torture.workers import wait_until
from scripts.verify.torture.workload import FEATURES, START_MS, STEP_MS, Workload

REGULARS = 500
FULL_LIMIT, QUICK_LIMIT = 100_000, 20_000  # limits.max_keys
ROWS_HELD = 6  # rows of the regulars during which the room fills up with strangers
ROWS_IDLE = 2  # after which a stranger may go; a regular is back after one
PROGRESS_TIMEOUT_S = 1_500.0
PARTS = 5  # of the stream
RESTARTS = PARTS - 1  # of T10b
STORED_SHARE = 1.5  # of the limit: a partition that rests deletes what others made it give up only when it goes on
MAX_RSS_GROWTH_BYTES = 50_000_000
FETCH_BYTES = 2**20  # small: fetched records that wait, up to four fetches, are as much as the growth looked for
# Bounds of the memory: what a worker and a server need without any key, and a generous price of each key there is room for.
RSS_BASE_BYTES, RSS_KEY_BYTES = 200_000_000, 4_000
STORE_BASE_BYTES, STORE_KEY_BYTES = 30_000_000, 1_000


class Crowd:
    """The stream: a workload of regulars, with strangers spread evenly between its records.

    Attributes:
        workload: the regulars.
        offsets: offset of each of their records in the stream, (N,), filled as records are made.
        ends: records made so far, by partition.
    """

    def __init__(self, workload: Workload, strangers: int) -> None:
        self.workload, self.strangers = workload, strangers
        self.offsets = np.full(workload.records, -1, dtype=np.int64)
        self.ends = dict.fromkeys(range(workload.partitions), 0)

    def records(self, start: int, end: int) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield (partition, key, value) of the regulars' records [start, end), each with strangers behind it."""
        total, partitions = self.workload.records, self.workload.partitions
        content = json.dumps(dict.fromkeys(FEATURES, 1))[:-1].encode()
        for number, record in enumerate(self.workload.produced(start, end), start):
            self.offsets[number] = self._take(record[0])
            yield record
            time_ms = START_MS + number // self.workload.keys * STEP_MS
            value = b'%s, "ts": %d}' % (content, time_ms)
            for stranger in range(self.strangers * number // total, self.strangers * (number + 1) // total):
                self._take(stranger % partitions)
                yield stranger % partitions, b"stranger-%d" % stranger, value

    def _take(self, partition: int) -> int:
        offset = self.ends[partition]
        self.ends[partition] += 1
        return offset


def cardinality(context: Context) -> Result:
    """T10: `context.faults` distinct keys."""
    return _run(context, restarts=False)


def cardinality_with_restarts(context: Context) -> Result:
    """T10b: likewise, and the worker is restarted in order between the parts of the stream."""
    return _run(context, restarts=True)


def _run(context: Context, *, restarts: bool) -> Result:
    limit = QUICK_LIMIT if context.is_quick else FULL_LIMIT
    rows = context.faults * ROWS_HELD // limit
    workload = Workload(keys=REGULARS, rows=rows, partitions=2, seed=context.seed)
    crowd = Crowd(workload, context.faults - REGULARS)
    sections = {
        "limits": {"max_keys": limit, "key_idle_ms": ROWS_IDLE * STEP_MS},
        "input": {"max_poll_records": 5_000},
        "kafka": {"fetch_max_bytes": FETCH_BYTES},
    }
    with (
        RedisServer() as server,
        context.trial(workload, compares=False, workers=1, redis_url=server.url, sections=sections) as trial,
    ):
        trial.create_topics()
        trial.watch.start()
        worker = trial.workers.start(0, env=GIVE_BACK)
        writer = Writer(trial.setup.checked_servers, trial.setup.name)
        memory = Memory(worker, server)
        peaks_bytes: list[int] = []  # of each part: what is in use at one moment goes up and down with the batches
        evicted = 0
        try:
            for part in range(PARTS):
                start, end = (workload.records * share // PARTS for share in (part, part + 1))
                writer.write(crowd.records(start, end))
                wait_until(lambda: trial.watch.newest() == crowd.ends, f"{crowd.ends} committed", PROGRESS_TIMEOUT_S)
                peaks_bytes.append(memory.peak_bytes())
                if restarts and part < RESTARTS:
                    evicted += int(worker.metric("evicted_keys_total"))
                    trial.exit_codes += trial.workers.stop()
                    memory.worker = worker = trial.workers.start(0, env=GIVE_BACK)
        finally:
            memory.close()
        wait_until(lambda: trial.state.offsets() == crowd.ends, "everything to be stored", 60)
        figures = {name: int(worker.metric(name)) for name in ("evicted_keys_total", "keys", "dead_letters_total")}
        trial.exit_codes += trial.workers.stop()
        figures["evicted_keys_total"] += evicted
        return _judge(trial, crowd, memory, peaks_bytes[-1] - peaks_bytes[0], figures)


def _judge(trial: Trial, crowd: Crowd, memory: Memory, growth_bytes: int, counted: dict[str, int]) -> Result:
    limit, distinct = trial.setup.settings_of(0)["limits"]["max_keys"], crowd.strangers + crowd.workload.keys
    stored = trial.state.keys()
    kept = {key for _, key in stored if not key.startswith(b"stranger")}
    result = Result({
        "distinct_keys": distinct,
        "limit": limit,
        "evicted": counted["evicted_keys_total"],
        "resident": counted["keys"],
        "stored": len(stored),
        "rss_peak_mb": round(max(memory.rss_bytes) / 1e6, 1),
        "rss_growth_mb": round(growth_bytes / 1e6, 1),
        "store_peak_mb": round(max(memory.store_bytes) / 1e6, 1),
    })  # fmt: skip
    audit = outputs.audit(outputs.read(trial.setup.checked_servers, trial.setup.scores_topic))
    result.figures["windows"] = len(audit)
    expected = [
        output._replace(identity=(output.identity[0], int(offset)))
        for output, offset in zip(
            oracle.expected_audit(crowd.workload),
            crowd.offsets[(oracle.WINDOW - 1) * crowd.workload.keys :],
            strict=True,
        )
    ]
    events = outputs.events(outputs.read(trial.setup.checked_servers, trial.setup.events_topic))
    opened = {output.key for output in events if output.identity[2] == "opened"}
    planted = {crowd.workload.key(key) for key in crowd.workload.spikes}
    result.complaints += compare("audit", expected, audit).complaints()
    result.complaints += trial.workers.unexpected_ends()
    rss_bound, store_bound = RSS_BASE_BYTES + limit * RSS_KEY_BYTES, STORE_BASE_BYTES + limit * STORE_KEY_BYTES
    for is_right, otherwise in (
        (distinct > 5 * limit, "there were not many more keys than room for them"),
        (
            counted["evicted_keys_total"] == distinct - counted["keys"] or len(trial.workers.all) > 1,
            f"{counted['evicted_keys_total']} evictions were counted of {distinct - counted['keys']}",
        ),
        (counted["keys"] <= limit, f"{counted['keys']} keys are in memory"),
        (len(stored) <= STORED_SHARE * limit, f"{len(stored)} keys are stored, {counted['keys']} in memory"),
        (len(kept) == crowd.workload.keys, f"{crowd.workload.keys - len(kept)} regulars are not stored"),
        (not counted["dead_letters_total"], f"{counted['dead_letters_total']} records were refused"),
        (opened == planted, f"episodes of {len(opened ^ planted)} keys are missing or invented"),
        (max(memory.rss_bytes) < rss_bound, f"the worker needed more than {rss_bound:,} bytes"),
        (max(memory.store_bytes) < store_bound, f"the store needed more than {store_bound:,} bytes"),
        (growth_bytes < MAX_RSS_GROWTH_BYTES, f"the memory grew by {growth_bytes:,} bytes"),
        (not any(trial.exit_codes), f"exit codes after SIGTERM: {trial.exit_codes}"),
    ):
        result.require(is_right, otherwise)
    return result
