"""What a test gets: its figures, its random numbers, the shared services, trials and the golden run.

Must not know: any single test.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import uuid
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any, Literal, Self

from scripts.services import KafkaBroker, RedisServer
from scripts.verify.torture import oracle
from scripts.verify.torture.checkers import compare
from scripts.verify.torture.report import Result
from scripts.verify.torture.trial import Golden, Leftovers, Setup, Trial
from scripts.verify.torture.workload import Stream, Workload
from streamae.observe.progress import Display

Size = Literal["full", "quick", "smoke"]
WORKLOADS: dict[Size, Workload] = {
    "full": Workload(keys=5_000),
    "quick": Workload(keys=1_000),
    "smoke": Workload(keys=120),
}


class Shared:
    """Services and golden runs that all tests of one run share; started with their first use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = ExitStack()
        self.goldens: dict[Workload, tuple[Golden, Result]] = {}
        self._lock = threading.RLock()  # tests may run side by side

    def __enter__(self) -> Self:
        logging.getLogger("kafka").setLevel(logging.ERROR)
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self._stack.close()

    @property
    def kafka(self) -> KafkaBroker:
        """One broker, for tests whose fault spares it."""
        with self._lock:
            return self._kafka

    @property
    def redis(self) -> RedisServer:
        """One Redis, for tests whose fault spares it."""
        with self._lock:
            return self._redis

    @cached_property
    def _kafka(self) -> KafkaBroker:
        return self._stack.enter_context(KafkaBroker())

    @cached_property
    def _redis(self) -> RedisServer:
        return self._stack.enter_context(RedisServer())

    def golden(self, workload: Workload) -> tuple[Golden, Result]:
        """Return the undisturbed run of a workload and what the oracle says of it; run it when there is none yet."""
        with self._lock:
            if workload not in self.goldens:
                self.goldens[workload] = self._run_golden(workload)
            return self.goldens[workload]

    def _run_golden(self, workload: Workload) -> tuple[Golden, Result]:
        name = f"golden-{uuid.uuid4().hex[:8]}"
        setup = Setup(name, self.folder / name, workload, self.kafka.bootstrap_servers, self.redis.url)
        with Trial(setup) as trial:
            trial.begin()
            started = time.monotonic()
            trial.finish()
            seconds = time.monotonic() - started
            result = trial.judge()
            left = Leftovers.of(trial)
        result.figures["records_per_s"] = round(workload.records / seconds)
        openings = {output.identity[:2] for output in left.events if output.identity[2] == "opened"}
        planted = oracle.expected_openings(workload)
        result.require(openings == planted, f"episodes of {len(openings ^ planted)} anomalies are missing or invented")
        result.require(not left.aborted, f"{left.aborted} messages were aborted in an undisturbed run")
        audit = oracle.expected_audit(workload)
        assert not compare("oracle", audit, audit)
        return Golden(audit, left.events, left.state), result


class Context:
    """What one test gets.

    Attributes:
        id: of the test.
        faults: how many to inject.
        seed: everything random of this test follows from `rng`, which is seeded with it.
        size: of the run; a smoke run judges nothing by the time it takes.
        folder: for files of the test.
        shared: services of the whole run.
    """

    def __init__(self, test: str, faults: int, seed: int, *, size: Size, shared: Shared) -> None:
        self.id, self.faults, self.seed, self.size, self.shared = test, faults, seed, size, shared
        self.folder = shared.folder / test
        self.folder.mkdir(parents=True, exist_ok=True)
        self.rng = Random(f"{seed} {test}")
        self._display = Display(sys.stderr, faults, is_redrawn=False)  # lines: tests may run side by side

    @property
    def is_quick(self) -> bool:
        """Whether figures are to stay below those of the full run."""
        return self.size != "full"

    @property
    def workload(self) -> Workload:
        """The stream that most tests use."""
        return replace(WORKLOADS[self.size], seed=self.seed)

    def fresh(self, what: str = "") -> str:
        """Return a name nothing else has: for topics, groups, folders."""
        return "-".join(part for part in (self.id.lower(), what, uuid.uuid4().hex[:8]) if part)

    def trial(
        self, workload: Stream | None = None, *, compares: bool = True, golden: Golden | None = None, **changes: Any
    ) -> Trial:
        """Return a trial on fresh topics of the shared services; `changes` are fields of `Setup`.

        Args:
            workload: the stream; None = `self.workload`.
            compares: against the golden run of the workload, which is run first if need be; without, `judge`
                compares the audit with the oracle only.
            golden: another run to compare with.
        """
        workload = workload or self.workload
        if compares and golden is None:
            assert isinstance(workload, Workload), "only these have an undisturbed run of their own"
            golden = self.shared.golden(workload)[0]
        name = self.fresh()
        given: dict[str, Any] = {
            "name": name,
            "folder": self.folder / name,
            "workload": workload,
            "servers": changes.get("servers") or self.shared.kafka.bootstrap_servers,
            "redis_url": changes.get("redis_url") or self.shared.redis.url,
            "faults": self.faults,
        }
        return Trial(Setup(**(given | changes)), golden)

    def show(self, done: int, trial: Trial | None = None) -> None:
        """Write a line to standard error where another tenth of the faults is done."""
        line = f"{self.id}: {done} of {self.faults}"
        if trial is not None:
            committed = sum(trial.watch.newest().values())
            line += f", {committed:,} of {trial.workload.records:,} records committed"
        self._display.show(done, line)
