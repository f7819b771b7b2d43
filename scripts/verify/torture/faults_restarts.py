"""T2: orderly rolling restarts. T15: settings read again under load, valid and invalid ones in turn."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from scripts.verify.torture.context import Context
from scripts.verify.torture.report import Result, percentile
from scripts.verify.torture.trial import Trial
from scripts.verify.torture.workers import Worker, wait_until, write_settings

SLOTS, STABLE = 3, frozenset({0, 1})
DRAIN_LIMIT_S = 10.0
LONGEST_RECOVERY_S = 60.0
RELOAD_TIMEOUT_S = 20.0
INVALID = ({"threshold": {"k": -1.0}}, {"threshold": {"no_such_setting": 1}}, {"window": {"stride": 0}})


@dataclass(frozen=True)
class Stop:
    """One orderly stop: when (UTC, as in the log), with which partitions to the end, how long it took."""

    at: str
    partitions: frozenset[int]
    seconds: float


def restarts(context: Context) -> Result:
    """T2: terminate, wait, start again; what the next owner finds must be complete."""
    stops: list[Stop] = []
    with context.trial(stable=STABLE) as trial:
        trial.begin()
        for number in range(context.faults):
            slot = number % SLOTS
            trial.await_owned(SLOTS)
            stops.append(_stop(trial, slot))
            since = trial.watch.newest()
            trial.workers.start(slot)
            trial.await_progress(sorted(stops[-1].partitions), since, LONGEST_RECOVERY_S)
            trial.fault_done()
            context.show(number + 1, trial)
        trial.finish()
        result = trial.judge()
        taken_over = [line for stop in stops for line in _next_starts(trial, stop)]
    replayed = sum(max(0, line["replay_until"] - line["offset"]) for line in taken_over)
    drains_s = [stop.seconds for stop in stops]
    result.figures |= {
        "restarts": len(stops),
        "drain_p50_s": percentile(drains_s, 0.5),
        "drain_p99_s": percentile(drains_s, 0.99),
        "taken_over": len(taken_over),
        "replayed_records": replayed,
    }
    unclean = [line for line in taken_over if line["reason"] != "clean"]
    result.expect(len(taken_over) >= len(stops), "hardly a stopped worker had a partition to leave")
    result.require(not unclean, f"{len(unclean)} partitions were not left clean, e.g. {unclean[:2]}")
    result.require(result.figures["drain_p99_s"] < DRAIN_LIMIT_S, f"drain p99 is not below {DRAIN_LIMIT_S} s")
    return result


def _stop(trial: Trial, slot: int) -> Stop:
    """Stop a worker; a partition that the group takes away just then is not its to leave clean."""
    worker, partitions = trial.workers[slot], set(trial.partitions_of(slot))
    at, started_s = datetime.now(UTC).isoformat(), time.monotonic()
    worker.terminate()
    trial.exit_codes.append(worker.wait())
    seconds = time.monotonic() - started_s
    return Stop(at, frozenset(partitions.intersection(trial.partitions_of(slot))), seconds)


def _next_starts(trial: Trial, stop: Stop) -> list[dict[str, object]]:
    """Return how each partition of a stopped worker was next taken over."""
    lines = sorted(trial.workers.logged("partition_started"), key=lambda line: line["ts"])
    found: dict[int, dict[str, object]] = {}
    for line in lines:
        if line["ts"].replace("Z", "+00:00") > stop.at and line["partition"] in stop.partitions:
            found.setdefault(line["partition"], line)
    return list(found.values())


def reloads(context: Context) -> Result:
    """T15: SIGHUP with a changed setting, and every other time with a broken file."""
    done = {"settings_reloaded": 0, "settings_reload_failed": 0}
    with context.trial() as trial:
        trial.begin()
        for number in range(context.faults):
            worker = trial.workers[number % SLOTS]
            is_valid = number // SLOTS % 2 == 0
            change = (
                {"threshold": {"margin": 1.5 + 0.25 * (number % 5)}} if is_valid else INVALID[number % len(INVALID)]
            )
            event = "settings_reloaded" if is_valid else "settings_reload_failed"
            _reload(worker, change, event)
            done[event] += 1
            trial.fault_done()
            context.show(number + 1, trial)
        for worker in trial.workers:
            write_settings(worker.settings_file, worker.sections)
        trial.finish()
        result = trial.judge()
    result.figures |= {"reloaded": done["settings_reloaded"], "refused": done["settings_reload_failed"]}
    result.require(all(done.values()), "not both kinds of reload took place")
    return result


def _reload(worker: Worker, change: dict[str, dict[str, object]], event: str) -> None:
    """Write changed settings, ask for a reload and wait for the event."""
    sections = {name: dict(values) for name, values in worker.sections.items()}
    for section, values in change.items():
        sections[section] = sections.get(section, {}) | values
    write_settings(worker.settings_file, sections)
    before = len(worker.logged(event))
    worker.reload()
    wait_until(lambda: len(worker.logged(event)) > before, f"{event} of {worker.name}", RELOAD_TIMEOUT_S, 0.02)
