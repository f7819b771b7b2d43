"""T20: a stream in which time goes wrong, while workers are killed, Redis goes back in time, and stored states are damaged.

All that is told must be what an undisturbed run of the same stream told, and what an oracle makes of the records alone;
only keys whose stored state this test has damaged are judged apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Sequence
from functools import partial
from random import Random
from typing import Any

from scripts.services import RedisPair
from scripts.verify.torture.context import Context, Size
from scripts.verify.torture.faults_kills import HITS, SLOTS, STABLE, Kill, Killer
from scripts.verify.torture.faults_redis import EVERYTHING, LOSS_REASONS, StoreFaults
from scripts.verify.torture.oracle import WINDOW
from scripts.verify.torture.report import Result
from scripts.verify.torture.time_judge import Right, TimeLeft, judge_by_golden, judge_by_oracle, state_lost
from scripts.verify.torture.time_oracle import Rules
from scripts.verify.torture.time_stream import LATENESS_MS, MAX_JUMP_MS, TimeStream
from scripts.verify.torture.trial import START_TIMEOUT_S, Trial
from scripts.verify.torture.workload import STEP_MS, Workload
from streamae.fail_points import POINTS

SIZES: dict[Size, Workload] = {
    "full": Workload(keys=1_200, rows=120),
    "quick": Workload(keys=300, rows=90),
    "smoke": Workload(keys=90, rows=60),
}
SHARES = {"kill at a point": 6, "restart": 2, "time travel": 2, "damage": 3}  # of 20; all others are kills at any time
MOST_HITS = 3  # a part of the stream between two faults holds few commits where the machine is slow
REACHED = [
    point for point in POINTS if point != "in_shadow_replay"
]  # all that was written may be saved: T1 has that one
RULES = Rules(
    max_jump_ms=MAX_JUMP_MS,
    lateness_ms=LATENESS_MS,
    max_gap_ms=3_600_000,
    window=WINDOW,
    max_step_ms=2 * STEP_MS,
    raster_ms=STEP_MS,
    after_ms=10 * STEP_MS,
    forget_ms=35 * STEP_MS,
    after_gaps={"key-*[02468]": 12.0},
)
CLOSE_MS = 11 * STEP_MS  # between the limits of both kinds of keys: some episodes close before, some with the silence


def sections(rules: Rules = RULES) -> dict[str, dict[str, Any]]:
    """Return the settings of the workers that say what the rules say."""
    return {
        "window": {
            "max_jump_ms": rules.max_jump_ms,
            "lateness_ms": rules.lateness_ms,
            "max_gap_ms": rules.max_gap_ms,
            "late": "dead_letter",
            "duplicate": "dead_letter",
            "equal_time": "keep",
        },
        "silence": {
            "after_ms": rules.after_ms,
            "overrides": [{"keys": keys, "after_gaps": factor} for keys, factor in rules.after_gaps.items()],
            "max_step_ms": rules.max_step_ms,
            "raster_ms": rules.raster_ms,
            "forget_ms": rules.forget_ms,
        },
        "episode": {"merge_gap_windows": 5, "close_after_ms": CLOSE_MS},
        "state": {"rebuild_max_records": EVERYTHING},
    }


def schedule(faults: int, rng: Random) -> list[str]:
    """Return the kinds of faults in random order, each kind at least once.

    Halfway there is damage in any case: most of the keys that are meant for it have an open episode then.
    """
    counts = {name: max(1, faults * share // 20) for name, share in SHARES.items()}
    counts["kill"] = faults - sum(counts.values())
    if counts["kill"] < 1:
        raise ValueError(f"{faults} faults cannot hold all {len(counts)} kinds")
    names = [name for name, count in counts.items() for _ in range(count)]
    rng.shuffle(names)
    names.remove("damage")
    names.insert(faults // 2, "damage")
    return names


class Damage:
    """Damages stored states of keys meant for it, while the worker that owned them is away.

    Attributes:
        victims: keys that are meant for it.
        times: how often the state of each key was damaged.
    """

    def __init__(self, trial: Trial, stream: TimeStream, rng: Random) -> None:
        self.trial, self.rng = trial, rng
        self.victims = {stream.key(index) for index in stream.roles["damaged"]}
        self.times: Counter[bytes] = Counter()
        self._last = b""

    def inject(self) -> None:
        """Stop a worker in order, so that all it knew is saved, change what is stored of its keys, start it again."""
        slot = self.rng.choice(sorted(STABLE))
        worker = self.trial.workers[slot]
        worker.terminate()
        self.trial.exit_codes.append(worker.wait())
        owned = self.trial.partitions_of(slot)
        stored, committed = self.trial.state.offsets(), self.trial.watch.committed()
        saved = {index for index in owned if stored.get(index) == committed.get(index)}
        # What is not saved its successor replays, and of that more may have been told than the store knows.
        self.trial.state.mutate(partial(self._damaged, saved))
        since = self.trial.watch.newest()
        self.trial.workers.start(slot)
        self.trial.await_progress(owned, since, START_TIMEOUT_S)
        self.trial.fault_done()

    def _damaged(self, partitions: Container[int], partition: int, key: bytes, value: bytes) -> bytes | None:
        if partition not in partitions or key not in self.victims:
            return None
        self.times[key] += 1
        self._last, other = value, self._last
        return damaged(value, other, self.rng)


def damaged(value: bytes, other: bytes, rng: Random) -> bytes:
    """Return something else in place of a stored value: changed, cut, longer, empty, noise, or that of another key."""
    place = rng.randrange(max(1, len(value)))  # it may have been emptied before, and not been read since
    flipped = (
        value[:place] + bytes(byte ^ 1 << rng.randrange(8) for byte in value[place : place + 1]) + value[place + 1 :]
    )
    kinds = (flipped, value[:place], value + rng.randbytes(rng.randint(1, 64)), b"", rng.randbytes(len(value)), other)
    return rng.choice([kind for kind in kinds if kind != value])


def time_torture(context: Context) -> Result:
    """T20: see the module."""
    stream = stream_of(context)
    right = Right.of(stream, RULES)
    result, golden = undisturbed(context, stream, right)
    if result.complaints:
        result.complaints = [f"undisturbed: {complaint}" for complaint in result.complaints]
        return result
    with (
        RedisPair() as pair,
        context.trial(stream, compares=False, redis_url=pair.url, stable=STABLE, sections=sections()) as trial,
    ):
        killer, store = Killer(trial, context.rng), StoreFaults(trial, pair, context.rng)
        damage = Damage(trial, stream, context.rng)
        acts: dict[str, Callable[[], object]] = {
            "kill": partial(_kill, killer),
            "kill at a point": partial(_kill_at_a_point, killer),
            "restart": partial(store.inject, "restart"),
            "time travel": partial(_travel, trial, store),
            "damage": damage.inject,
        }
        done: Counter[str] = Counter()
        trial.begin()
        for name in schedule(context.faults, context.rng):
            acts[name]()
            done[name] += 1
            context.show(done.total(), trial)
        trial.finish()
        left = TimeLeft.of(trial)
        trial.judge_run(result)
        named = trial.workers.logged("state_cannot_be_read")
        starts = trial.workers.logged("partition_started")
    touched = dict(damage.times)
    judge_by_oracle(result, right, left, touched)
    judge_by_golden(result, golden, left, touched)
    result.complaints += killer.complaints + store.complaints
    closed = state_lost(left)
    strangers = {key for line in named for key in line["keys"]} - {key.decode() for key in touched}
    result.require(not strangers, f"states that nobody damaged could not be read: {sorted(strangers)[:3]}")
    result.require(set(closed) <= touched.keys(), "episodes of keys that nobody damaged were closed as lost")
    result.figures |= {
        "kills": done["kill"] + done["kill at a point"],
        "points": len({*killer.points} - {"random"}),
        "restarts": done["restart"],
        "roll_backs": done["time travel"],
        "damaged_states": sum(touched.values()),
        "found_damaged": sum(line["count"] for line in named),
        "state_lost": len(closed),
        "replays": sum(line["reason"] == "replay" for line in starts),
        "rebuilt": sum(line["reason"] in LOSS_REASONS for line in starts),
    }
    result.require(done.total() == context.faults, "not every fault was carried out")
    result.expect(named, "no damaged state was ever read")
    result.expect(closed, "no damaged key had an open episode")
    result.expect(result.figures["replays"], "nothing was replayed: the kills met no unsaved state")
    return result


def stream_of(context: Context) -> TimeStream:
    """Return the stream of a run of this size."""
    size = SIZES[context.size]
    return TimeStream(Workload(size.keys, size.rows, size.partitions, context.seed))


def undisturbed(
    context: Context, stream: TimeStream, right: Right, arguments: Sequence[str] = ()
) -> tuple[Result, TimeLeft]:
    """Let the stream flow without a fault; return what the oracle says of that, and what was left."""
    setup: dict[str, Any] = {"sections": sections(), "arguments": arguments, "stable": STABLE}
    with context.trial(stream, compares=False, faults=0, **setup) as trial:
        trial.begin()
        trial.finish()
        left = TimeLeft.of(trial)
        kinds = Counter(str(output.identity[3]) for output in right.silences)
        reasons = Counter(letter.reason for letter in right.letters.values())
        result = Result({"records": stream.records, "windows": len(left.scores), "events": len(left.events)})
        result.figures |= {f"silences_{kind}": count for kind, count in sorted(kinds.items())} | dict(reasons)
        trial.judge_run(result)
        judge_by_oracle(result, right, left)
    result.require(kinds.keys() >= {"opened", "returned", "ended"}, f"the stream has silences of few kinds: {kinds}")
    result.require(
        reasons.keys() == {"clock_jump", "duplicate", "late"}, f"the stream has dead letters of few kinds: {reasons}"
    )
    return result, left


def _kill(killer: Killer) -> None:
    for _ in killer.play([Kill(killer.rng.randrange(SLOTS))]):
        pass


def _travel(trial: Trial, store: StoreFaults) -> None:
    """Let Redis go back in time while the group is at rest: whoever takes a partition over then has nothing to notice."""
    trial.await_owned(SLOTS)
    store.inject("time travel")


def _kill_at_a_point(killer: Killer) -> None:
    """Let the worker that is started for one that was just killed die at the fail point that was met least."""
    slot, least = killer.rng.randrange(SLOTS), min(killer.points[point] for point in REACHED)
    point = killer.rng.choice([point for point in REACHED if killer.points[point] == least])
    kill = Kill(slot, point, killer.rng.randint(1, min(HITS.get(point, MOST_HITS), MOST_HITS)))
    killer.trial.workers[slot].kill()
    worker = killer.trial.workers.start(slot, env=kill.env)
    worker.is_doomed = True
    for _ in killer.play([kill]):
        pass
