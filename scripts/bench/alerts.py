"""What the alert process takes from scoring beside it: the real engine on a real broker, with and without it, in turns.

Meanwhile, on both sides, changes of episodes flow at a steady pace; where the process runs, one of its receivers is
well and the other answers nothing but errors. It shares the broker and the machine with the engine, nothing else. Each
pair gives a ratio of records a second of wall time, and one of records a second of the engine's CPU time; the mean over
pairs counts, with its 95 % interval by bootstrap.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory
from threading import Event, Thread

import numpy as np

from scripts.bench import delivery
from scripts.bench.inputs import Traffic, untrained_bundle
from scripts.services.http_server import HttpServer, Reply
from scripts.verify.torture.alert_episodes import EpisodeProducer, Step, episode
from scripts.verify.torture.alert_site import PARTITIONS, AlertSite, Receivers
from scripts.verify.torture.context import Context, Shared
from scripts.verify.torture.workers import wait_until

CHANGES_PER_S = 10.0  # of both sides: 864,000 a day
DRAWS = 10_000
LEAST_RATIO = 0.95  # what must not be shown to be missed
READY_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Turn:
    """One reading of the topic: records a second of wall time, and of the engine's CPU time."""

    wall: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Findings:
    """Pairs of turns, with the alert process and without."""

    pairs: list[tuple[Turn, Turn]]
    alerts_cpu_share: float

    def is_met(self) -> bool:
        """Whether it is not shown that more is lost than is allowed."""
        return self.interval("wall")[2] >= LEAST_RATIO

    def interval(self, what: str) -> tuple[float, float, float]:
        """Return the mean ratio, and its 95 % interval."""
        logs = np.log([getattr(beside, what) / getattr(alone, what) for beside, alone in self.pairs])
        means = np.random.default_rng(0).choice(logs, (DRAWS, len(logs))).mean(axis=1)
        low, high = np.exp(np.quantile(means, (0.025, 0.975)))
        return float(np.exp(logs.mean())), float(low), float(high)

    def table(self) -> str:
        """Return the figures as a text of some lines."""
        lines = [f"{'records/s of':14}{'pairs':>6}{'with : without, medians':>28}{'ratio (95 % interval)':>28}"]
        for name, what in (("wall time", "wall"), ("CPU time", "cpu")):
            sides = [median(getattr(pair[side], what) for pair in self.pairs) for side in (0, 1)]
            mean, low, high = self.interval(what)
            rates = f"{sides[0]:,.0f} : {sides[1]:,.0f}"
            lines.append(f"{name:14}{len(self.pairs):>6}{rates:>28}{f'{mean:.3f} ({low:.3f}..{high:.3f})':>28}")
        lines.append(f"the alert process used {self.alerts_cpu_share:.1%} of one core meanwhile")
        lines.append(f"target: the interval of wall time reaches {LEAST_RATIO}")
        return "\n".join(lines)


def measure(pairs: int, rows: int, threads: int) -> Findings:
    """Take `pairs` pairs over `rows` records of each of the keys.

    Raises:
        ServiceUnavailableError: there is no broker, Redis or Alertmanager on this machine.
        TimeoutError: an engine did not get through.
    """
    bundle = untrained_bundle(delivery.WINDOW_SIZE, delivery.FEATURES, delivery.HIDDEN_SIZE)
    with TemporaryDirectory() as folder, Shared(Path(folder)) as shared, HttpServer(Reply(500)) as broken:
        servers = shared.kafka.bootstrap_servers
        records = Traffic(delivery.KEYS, bundle.features).rows(rows)
        delivery.fill(servers, records)
        turns = delivery.Turns(servers, bundle, len(records), threads)
        context = Context("alerts", 0, 0, size="full", shared=shared)
        with AlertSite(context, receivers=partial(_receivers, broken)) as site:
            site.begin()
            turns.run("exactly_once", None)  # imports, first allocations, the brokers' caches
            with _flowing(site):
                side = _Side(site, turns, len(records))
                found = [side.pair(number) for number in range(pairs)]
        return Findings(found, side.alerts_cpu_s / side.beside_s)


class _Side:
    """Takes turns with and without the process, and adds up what that costs itself."""

    def __init__(self, site: AlertSite, turns: delivery.Turns, records: int) -> None:
        self._site, self._turns, self._records = site, turns, records
        self.alerts_cpu_s = self.beside_s = 0.0

    def pair(self, number: int) -> tuple[Turn, Turn]:
        """Return a turn with the process and one without, every other time the other way round."""
        order = (True, False) if number % 2 == 0 else (False, True)
        taken = {is_beside: self.turn(is_beside=is_beside) for is_beside in order}
        return taken[True], taken[False]

    def turn(self, *, is_beside: bool) -> Turn:
        """Read the topic once."""
        if not is_beside:
            return self._run()
        process = self._site.start()
        wait_until(lambda: process.metric("alerts_failing", receiver="broken") == 1, "it to run", READY_TIMEOUT_S, 0.3)
        wait_until(process.is_caught_up, "it to read", READY_TIMEOUT_S, 0.3)
        before_s, cpu_s = time.monotonic(), process.cpu_s()
        turn = self._run()
        self.beside_s += time.monotonic() - before_s
        self.alerts_cpu_s += process.cpu_s() - cpu_s
        process.terminate()
        process.wait()
        return turn

    def _run(self) -> Turn:
        cpu_s = time.thread_time()
        wall = self._turns.run("exactly_once", None)
        return Turn(wall, self._records / (time.thread_time() - cpu_s))


@contextmanager
def _flowing(site: AlertSite) -> Iterator[None]:
    """Have episodes open and close meanwhile."""
    stop = Event()
    producer = EpisodeProducer(site.servers, site.topic, PARTITIONS, Random(0), is_plain=True)

    def flow() -> None:
        number = 0
        while True:
            one = episode(f"host-{number % 500:03d}".encode(), number, 0)
            for change in one.changes:
                producer.write([Step(one.key, change)])
                if stop.wait(1 / CHANGES_PER_S):
                    return
            number += 1

    thread = Thread(target=flow, name="episodes", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _receivers(broken: HttpServer, site: AlertSite) -> Receivers:
    return [{"name": "broken", "kind": "webhook", "url": broken.url}, site.pager_table("pager")]
