"""`python -m scripts.bench [SUBJECT] [--quick]`: is it as fast as it should be, here?

engine: speed of the embedded engine against a naive loop, and bytes a key. scoring: the shipped score against that of
a plain autoencoder, and the share of the threshold layer. transactions: what one costs on a real broker. delivery:
exactly-once against at-least-once on a real broker. checkpoints: the longest command on a real Redis. alerts: scoring
with and without the alert process beside it. pages: whom the demo's stream would wake by the shipped routes, against
the truth. silence: what it costs that silence is an event. lateness: what it costs to wait for late records.

Engine and naive loop take turns in one process on the same records; rates are per second of CPU time, figures are
medians over rounds, so that a busy neighbour hits both or neither. Exit code 1 when a target is missed. At stride 1
every record completes a window.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

from scripts.bench import alerts, checkpoints, delivery, lateness, pages, scoring, silence, transactions
from scripts.bench.embedded import EmbeddedEngine, NullModel
from scripts.bench.inputs import Traffic, untrained_bundle
from scripts.bench.memory import ForgetfulStore, bytes_per_key
from scripts.bench.naive import NaiveDetector, Score, network_score, null_score
from streamae.engine.stages import WindowModel
from streamae.model.bundle import Bundle
from streamae.observe import logs
from streamae.settings.data import WindowSettings

WINDOW_SIZE, FEATURES, HIDDEN_SIZE, KEYS = 32, 8, 64, 1_000
WAITING_ROWS = WindowSettings().lateness_rows
PIPELINE_TARGET, HOST_TARGET, BYTES_TARGET = 5.0, 10.0, 6 * 1_024


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured."""

    rounds: int
    rows: int  # of all keys, per round, with the network
    naive_records: int  # of a round's records that the naive loop takes, with the network
    null_rows: int  # of all keys, per round, without the network
    many_keys: int  # for the weighing


FULL = Effort(rounds=9, rows=4, naive_records=1_000, null_rows=20, many_keys=50_000)
QUICK = Effort(rounds=3, rows=2, naive_records=300, null_rows=10, many_keys=10_000)


@dataclass(frozen=True, slots=True)
class Rates:
    """Medians over rounds: records a second on each side, and the ratio within a round."""

    engine: float
    naive: float
    ratio: float


class Contest:
    """An engine and a naive loop with warm windows, fed the same traffic."""

    def __init__(self, bundle: Bundle, threads: int, score: Score, model: WindowModel | None, keys: int = KEYS) -> None:
        window_size = bundle.architecture.window_size
        self.threads = threads
        self.traffic = Traffic(keys, bundle.features)
        self.engine = EmbeddedEngine(bundle, keys, threads, ForgetfulStore(), model)
        self.naive = NaiveDetector(bundle.features, window_size, score)
        self._run(self.traffic.rows(window_size - 1), keys * window_size, engine_first=True)
        self._run(self.traffic.rows(1), 100, engine_first=True)

    def rates(self, rounds: int, rows: int, naive_records: int) -> Rates:
        """Take turns; who begins alternates."""
        taken = [self._run(self.traffic.rows(rows), naive_records, engine_first=i % 2 == 0) for i in range(rounds)]
        return Rates(
            median(engine for engine, _ in taken),
            median(naive for _, naive in taken),
            median(engine / naive for engine, naive in taken),
        )

    def stage_shares(self, rows: int) -> dict[str, float]:
        """Return the share of each stage in the time of the engine, in [0, 1]."""
        engine = self.engine.engine
        plain, watches = engine.stages, {name: Stopwatch() for name in ("decode", "windows", "model", "decision")}
        engine.stages = replace(
            plain,
            reading=watched(plain.reading, watches["decode"]),
            grid=watched(plain.grid, watches["windows"]),
            windows=watched(plain.windows, watches["windows"]),
            runner=watched(plain.runner, watches["model"]),
            decision=watched(plain.decision, watches["decision"]),
            episodes=watched(plain.episodes, watches["decision"]),
        )
        records = self.traffic.rows(rows)
        torch.set_num_threads(self.threads)
        self.engine.produce(records)
        seconds = timed(self.engine.consume)
        engine.stages = plain
        shares = {name: watch.seconds / seconds for name, watch in watches.items()}
        return shares | {"rest (poll, keys, score, commit)": 1.0 - sum(shares.values())}

    def _run(self, records: list[Any], naive_records: int, *, engine_first: bool) -> tuple[float, float]:
        """Return records a second of engine and naive loop over one round."""
        self.engine.produce(records)
        rates: dict[bool, float] = {}
        for is_engine in (True, False) if engine_first else (False, True):
            if is_engine:
                torch.set_num_threads(self.threads)
                rates[is_engine] = len(records) / timed(self.engine.consume)
            else:
                torch.set_num_threads(1)  # its best: more threads make a batch of one slower
                part = records[:naive_records]
                rates[is_engine] = len(part) / timed(partial(self._feed, part))
        return rates[True], rates[False]

    def _feed(self, records: list[Any]) -> None:
        for record in records:
            self.naive.consume(record)


@dataclass
class Stopwatch:
    """Adds up seconds."""

    seconds: float = 0.0


class Timed:
    """Stands before an object and times its methods."""

    def __init__(self, inner: Any, watch: Stopwatch) -> None:
        self._inner, self._watch = inner, watch

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._inner, name)
        if not callable(attribute):
            return attribute

        def call(*arguments: Any, **named: Any) -> Any:
            started = time.process_time()
            try:
                return attribute(*arguments, **named)
            finally:
                self._watch.seconds += time.process_time() - started

        return call


def watched(stage: Any, watch: Stopwatch) -> Any:
    """Return a stand-in for `stage` that times its methods."""
    return Timed(stage, watch)


def timed(action: Callable[[], object]) -> float:
    """Return the CPU seconds of `action` over all threads: what a busy neighbour takes does not count."""
    started = time.process_time()
    action()
    return time.process_time() - started


def hardware(threads: int) -> str:
    """Name the machine in one line."""
    model = next(
        (line.partition(":")[2].strip() for line in _cpu_lines() if line.startswith("model name")), platform.processor()
    )
    load = os.getloadavg()[0]
    return f"{model}, {os.cpu_count()} cores, torch {torch.__version__}, {threads} threads, load {load:.1f} at start"


def _cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


@dataclass(frozen=True, slots=True)
class Findings:
    """All figures of one run."""

    pipeline: Rates
    host: Rates
    pipeline_shares: dict[str, float]
    host_shares: dict[str, float]
    key_bytes: float
    waiting_bytes: float  # of a key whose rows wait for late ones, at a window of `WINDOW_SIZE`
    many_keys: int

    def missed(self) -> list[str]:
        """Name the targets that are missed."""
        checks = {
            "whole pipeline": self.pipeline.ratio >= PIPELINE_TARGET,
            "host path": self.host.ratio >= HOST_TARGET,
            "bytes a key": max(self.key_bytes, self.waiting_bytes) <= BYTES_TARGET,
        }
        return [name for name, is_met in checks.items() if not is_met]

    def table(self) -> str:
        """Return the figures as a text of some lines."""
        lines = [f"{'':16}{'records/CPU s, engine : naive':>32}{'ratio':>10}{'target':>10}"]
        for name, rates, target in (
            ("whole pipeline", self.pipeline, PIPELINE_TARGET),
            ("host path", self.host, HOST_TARGET),
        ):
            both = f"{rates.engine:,.0f} : {rates.naive:,.0f}"
            lines.append(f"{name:16}{both:>32}{rates.ratio:>9.1f}x{target:>9.0f}x")
        keys, waiting = f"window 64, {self.many_keys:,} keys", f"window {WINDOW_SIZE}, {WAITING_ROWS} rows waiting"
        lines.append(f"{'bytes a key':16}{keys:>32}{self.key_bytes:>10,.0f}{BYTES_TARGET:>10,}")
        lines.append(f"{'':16}{waiting:>32}{self.waiting_bytes:>10,.0f}{BYTES_TARGET:>10,}")
        lines += ["", f"{'share of CPU time':34}{'whole pipeline':>16}{'host path':>18}"]
        for name, share in self.pipeline_shares.items():
            lines.append(f"{name:34}{share:>16.1%}{self.host_shares[name]:>18.1%}")
        return "\n".join(lines)


def measure(effort: Effort, threads: int) -> Findings:
    """Run both contests, then weigh."""
    bundle = untrained_bundle(WINDOW_SIZE, FEATURES, HIDDEN_SIZE)
    contest = Contest(bundle, threads, network_score(bundle), None)
    pipeline = contest.rates(effort.rounds, effort.rows, effort.naive_records)
    pipeline_shares = contest.stage_shares(effort.rows * 2)
    contest = Contest(bundle, threads, null_score, NullModel())
    host = contest.rates(effort.rounds, effort.null_rows, effort.null_rows * KEYS)
    host_shares = contest.stage_shares(effort.null_rows)
    many = effort.many_keys
    waiting = bytes_per_key(many, "--window", str(WINDOW_SIZE), "--waiting", str(WAITING_ROWS))
    return Findings(pipeline, host, pipeline_shares, host_shares, bytes_per_key(many), waiting, many)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print one table, return 1 when a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m scripts.bench", description=__doc__)
    parser.add_argument(
        "subject",
        nargs="?",
        choices=(
            "engine",
            "scoring",
            "transactions",
            "delivery",
            "checkpoints",
            "alerts",
            "pages",
            "silence",
            "lateness",
        ),
        default="engine",
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds and keys: about half a minute")
    parser.add_argument("--threads", type=int, default=1, help="torch threads of the engine (%(default)s)")
    chosen = parser.parse_args(arguments)
    logs.configure("warning")
    machine = hardware(chosen.threads)
    if chosen.subject == "scoring":
        return report_service(machine, scoring.measure(scoring.QUICK if chosen.quick else scoring.FULL))
    if chosen.subject == "transactions":
        return report_service(machine, transactions.measure(50 if chosen.quick else 500))
    if chosen.subject == "delivery":
        return report_service(machine, delivery.measure(*((1, 50) if chosen.quick else (7, 150)), chosen.threads))
    if chosen.subject == "checkpoints":
        return report_service(
            machine, checkpoints.measure(checkpoints.SIZES[:-1] if chosen.quick else checkpoints.SIZES)
        )
    if chosen.subject == "alerts":
        return report_service(machine, alerts.measure(*((2, 10) if chosen.quick else (12, 60)), chosen.threads))
    if chosen.subject == "pages":
        return report_service(machine, pages.measure(*(pages.QUICK if chosen.quick else pages.FULL)))
    if chosen.subject == "silence":
        return report_service(machine, silence.measure(silence.QUICK if chosen.quick else silence.FULL, chosen.threads))
    if chosen.subject == "lateness":
        return report_service(machine, lateness.measure(*(lateness.QUICK if chosen.quick else lateness.FULL)))
    return report(machine, measure(QUICK if chosen.quick else FULL, chosen.threads))


def report_service(
    machine: str,
    findings: transactions.Figures
    | delivery.Findings
    | checkpoints.Figures
    | scoring.Figures
    | alerts.Findings
    | pages.Figures
    | silence.Findings
    | lateness.Findings,
) -> int:
    """Print figures of one subject; return the exit code."""
    is_met = findings.is_met()
    print(f"{machine}\n\n{findings.table()}\n\n{'target met' if is_met else 'target MISSED'}")
    return 0 if is_met else 1


def report(machine: str, findings: Findings) -> int:
    """Print everything; return the exit code."""
    print(f"{machine}\nwindow {WINDOW_SIZE}, stride 1, {FEATURES} features, hidden {HIDDEN_SIZE}, {KEYS:,} keys, JSON")
    print(f"host path: a null model on both sides\n\n{findings.table()}\n")
    missed = findings.missed()
    print(f"MISSED: {', '.join(missed)}" if missed else "all targets met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
