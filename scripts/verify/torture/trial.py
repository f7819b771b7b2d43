"""One trial: a workload flows through workers while a test does something to them; then everything is compared.

    with context.trial() as trial:
        trial.begin()                   # topics, workers, producer, watch; returns once all workers share the input
        for fault in range(context.faults):
            ...                         # do harm to trial.workers[slot]
            trial.fault_done()          # lets the producer go on
        trial.finish()                  # the rest of the stream, everything committed, workers stopped in order
        result = trial.judge()          # figures and complaints of all checkers
    result.require(..., "the fault did not happen")

Must not know: which faults there are.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from scripts.verify.torture import oracle, outputs
from scripts.verify.torture.checkers import Output, compare, compare_state, offsets_going_back, states_ahead
from scripts.verify.torture.outputs import StoredState, Watch
from scripts.verify.torture.producer import PacedProducer
from scripts.verify.torture.report import Result
from scripts.verify.torture.workers import Sections, TimedOutError, Workers, wait_until
from scripts.verify.torture.workload import Stream, Workload

START_TIMEOUT_S = 60.0
OUTPUT_PARTITIONS = 3
SLOWEST_RATE = 500  # records a second that the rest of a stream takes at worst


@dataclass(frozen=True)
class Golden:
    """What the undisturbed run of a workload left behind, itself compared with the oracle.

    Attributes:
        audit: one output a scored window.
        events: one output an anomaly event.
        state: digest of the packed state by (partition, key).
    """

    audit: Sequence[Output]
    events: Sequence[Output]
    state: Mapping[tuple[int, bytes], bytes]


@dataclass(frozen=True)
class Setup:
    """What a trial runs on.

    Attributes:
        name: fresh; topics, group and state carry it.
        folder: for settings and logs.
        workload: the stream.
        servers, redis_url: as the workers reach them, perhaps through a proxy.
        direct_servers, direct_redis_url: as the checkers reach them; None = the same.
        workers: how many slots `begin` fills.
        stable: slots whose worker has an instance id (static membership, a stable transactional id).
        replication: of all topics.
        sections: settings over those of `settings_of`.
        arguments: for `scripts.verify.torture.worker`, of every worker.
        env: added to the environment of every worker.
        faults: expected calls of `fault_done`; they set the pace of the producer.
    """

    name: str
    folder: Path
    workload: Stream
    servers: str
    redis_url: str
    direct_servers: str | None = None
    direct_redis_url: str | None = None
    workers: int = 3
    stable: frozenset[int] = frozenset()
    replication: int = 1
    sections: Sections = field(default_factory=dict)
    arguments: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    faults: int = 0

    @property
    def checked_servers(self) -> str:
        """Bootstrap servers of the checkers."""
        return self.direct_servers or self.servers

    @property
    def scores_topic(self) -> str:
        """Topic of the audit messages."""
        return f"{self.name}-scores"

    @property
    def events_topic(self) -> str:
        """Topic of the anomaly events."""
        return f"{self.name}-events"

    @property
    def dead_topic(self) -> str:
        """Topic of the dead letters."""
        return f"{self.name}-dead"

    def settings_of(self, slot: int) -> Sections:
        """Return the settings of the worker in a slot: impatient, so that every fault meets a lot of protocol."""
        base: dict[str, dict[str, Any]] = {
            "kafka": {
                "bootstrap_servers": self.servers,
                "group_id": self.name,
                "instance_id": f"slot-{slot}" if slot in self.stable else None,
                "session_timeout_ms": 4_000,
                "max_poll_interval_ms": 12_000,
                "request_timeout_ms": 8_000,
                "transaction_timeout_ms": 10_000,
            },
            "input": {"topics": [self.name], "time_field": "ts", "max_poll_records": 500},
            "output": {
                "topic": self.events_topic,
                "dead_letter_topic": self.dead_topic,
                "scores_topic": self.scores_topic,
                "commit_interval_ms": 100,
            },
            "model": {"max_batch_size": 256, "max_wait_ms": 5, "device": "cpu", "threads": 1},
            "threshold": {"rule": "sigma", "min_windows": 10, "smoothing": oracle.SMOOTHING},
            "episode": {"merge_gap_windows": 5},
            "state": {"redis_url": self.redis_url, "key_prefix": "torture", "checkpoint_interval_ms": 1_000},
            "limits": {"max_keys": max(1_000, self.workload.keys)},
            "service": {"http_port": 0, "log_format": "json"},
        }
        return {name: base.get(name, {}) | self.sections.get(name, {}) for name in {**base, **self.sections}}


class Trial:
    """See the module. As a context manager: afterwards no process and no thread of it is left."""

    def __init__(self, setup: Setup, golden: Golden | None = None) -> None:
        self.setup, self.workload, self._golden = setup, setup.workload, golden
        setup.folder.mkdir(parents=True, exist_ok=True)
        self.workers = Workers(setup.settings_of, setup.folder, setup.arguments, setup.env)
        self.producer = PacedProducer(setup.checked_servers, setup.name, setup.workload)
        place = (setup.name, setup.name, setup.workload.partitions)
        self.state = StoredState(setup.direct_redis_url or setup.redis_url, "torture", *place)
        self.watch = Watch(setup.checked_servers, *place, self.state)
        self.faults_done = 0
        self.exit_codes: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.producer.close()
        self.watch.close()
        self.workers.end()
        self.state.close()

    def create_topics(self) -> None:
        """Create input and output topics; part of `begin`."""
        setup = self.setup
        outgoing = dict.fromkeys((setup.scores_topic, setup.events_topic, setup.dead_topic), OUTPUT_PARTITIONS)
        topics = {setup.name: self.workload.partitions} | outgoing
        outputs.create_topics(setup.checked_servers, topics, setup.replication)

    def begin(self) -> None:
        """Create topics, start everything, and wait until all partitions are owned and moving.

        Raises:
            TimedOutError: the workers do not get going.
        """
        self.create_topics()
        self.watch.start()
        for slot in range(self.setup.workers):
            self.workers.start(slot)
        self.await_owned(self.setup.workers)
        self.producer.allow(self._share(0))
        self.producer.start()
        self.await_progress(range(self.workload.partitions), {}, START_TIMEOUT_S)

    def fault_done(self) -> None:
        """Count a fault and let the producer go on to its next part of the stream."""
        self.faults_done += 1
        self.producer.allow(self._share(self.faults_done))

    def finish(self) -> None:
        """Write the rest, wait until all is committed, stop the workers in order.

        A partition that was being handed over when they stopped is committed, but its state is not saved: then one
        more worker takes everything over, as the next one would have to, and replays what is missing.

        Raises:
            TimedOutError: it takes too long, or a worker does not stop.
        """
        self.producer.finish()
        self.await_committed()
        self.exit_codes += self.workers.stop()
        if self.state.offsets() != self.workload.ends():
            self.workers.start(0)
            self.await_stored()
            self.exit_codes += self.workers.stop()
        self.watch.close()

    def await_committed(self, count: int | None = None) -> None:
        """Wait until the group has committed the first `count` records of the workload; None = all.

        Raises:
            TimedOutError: it takes too long.
        """
        ends = self.workload.ends(count)
        timeout_s = START_TIMEOUT_S + self.workload.records / SLOWEST_RATE
        wait_until(lambda: self.watch.newest() == ends, f"{self.setup.name} to be committed up to {ends}", timeout_s)

    def await_stored(self, count: int | None = None) -> None:
        """Wait until the stored state reflects the first `count` records of the workload; None = all.

        Raises:
            TimedOutError: it takes too long.
        """
        ends = self.workload.ends(count)
        wait_until(lambda: self.state.offsets() == ends, f"state of {self.setup.name} to reach {ends}", START_TIMEOUT_S)

    def await_owned(self, workers: int) -> None:
        """Wait until that many living workers share all partitions among them.

        Raises:
            TimedOutError: they do not.
        """

        def is_shared() -> bool:
            owned = [worker.owned() for worker in self.workers if worker.is_alive()]
            return sum(map(len, owned)) == self.workload.partitions and sum(map(bool, owned)) >= workers

        try:
            wait_until(is_shared, f"{workers} workers to share {self.setup.name}", START_TIMEOUT_S, 0.1)
        except TimedOutError as error:
            states = [worker.state() for worker in self.workers]
            time.sleep(1)  # for the stacks to be written
            raise TimedOutError(f"{error}; {'; '.join(states)}") from error

    def await_progress(self, partitions: Sequence[int], since: Mapping[int, int], timeout_s: float) -> float:
        """Wait until the committed offset of each of the partitions is beyond `since`; return the seconds.

        Raises:
            TimedOutError: one stands still.
        """

        def is_moving() -> bool:
            newest = self.watch.newest()
            return all(newest.get(index, 0) > since.get(index, 0) for index in partitions)

        return wait_until(is_moving, f"partitions {list(partitions)} to go on from {dict(since)}", timeout_s)

    def partitions_of(self, slot: int) -> list[int]:
        """Return the partitions that the worker of a slot owns by its own word."""
        return sorted(int(name.rpartition("-")[2]) for name in self.workers[slot].owned())

    def judge(self, tolerance: float = 0.0) -> Result:
        """Run all checkers on what is there now.

        Args:
            tolerance: for scores and floats of events; if not 0, only the keys of the stored state are compared.
        """
        result = Result({"records": self.workload.records})
        left = Leftovers.of(self)
        expected = self._golden or Golden(self._expected_audit(), left.events, left.state)
        result.figures |= {"windows": len(left.audit), "events": len(left.events), "aborted": left.aborted}
        for differences in (
            compare("audit", expected.audit, left.audit, tolerance),
            compare("events", expected.events, left.events, tolerance),
            compare_state(
                *(dict.fromkeys(state, b"") if tolerance else state for state in (expected.state, left.state))
            ),
        ):
            result.complaints += differences.complaints()
        result.require(not left.repeated_ids, f"event ids occur twice: {left.repeated_ids[:3]}")
        self.judge_run(result)
        return result

    def judge_run(self, result: Result) -> None:
        """Complain of what must hold of any run, whatever came out of it."""
        for differences in (offsets_going_back(self.watch.samples), states_ahead(self.watch.samples)):
            result.complaints += differences.complaints()
        ends = self.workload.ends()
        result.require(self.state.offsets() == ends, f"stored state stands at {self.state.offsets()}, not at {ends}")
        result.require(not any(self.exit_codes), f"exit codes after SIGTERM: {self.exit_codes}")
        result.complaints += self.producer.failures + self.workers.unexpected_ends()

    def _expected_audit(self) -> Sequence[Output]:
        assert isinstance(self.workload, Workload), "the oracle knows no other streams"
        return oracle.expected_audit(self.workload)

    def _share(self, done: int) -> float:
        """Return the part of the stream that may be written while fault `done` is under way; some is kept for the end."""
        return min(1.0, (done + 1) / (self.setup.faults + 2))


@dataclass(frozen=True)
class Leftovers:
    """What a trial left behind, reduced to what is compared; `aborted` messages are seen by read_uncommitted only."""

    audit: list[Output]
    events: list[Output]
    state: dict[tuple[int, bytes], bytes]
    aborted: int
    repeated_ids: list[str]

    @classmethod
    def of(cls, trial: Trial, isolation: str = "read_committed") -> Self:
        """Read topics and state."""
        servers, setup = trial.setup.checked_servers, trial.setup
        scores = outputs.read(servers, setup.scores_topic, isolation)
        found = outputs.read(servers, setup.events_topic, isolation)
        dirty = len(outputs.read(servers, setup.scores_topic, "read_uncommitted"))
        state = {place: hashlib.sha256(packed).digest() for place, packed in trial.state.keys().items()}
        return cls(
            outputs.audit(scores),
            outputs.events(found),
            state,
            dirty - len(scores),
            outputs.repeated_ids(found),
        )


def seconds_since(moment_s: float) -> float:
    """Return the seconds since a moment of the monotonic clock."""
    return time.monotonic() - moment_s
