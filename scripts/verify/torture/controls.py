"""Negative controls: each takes one guard away in a scenario that needs it, and must be found out by the checkers.

Every scenario is also run with the guard in place and must then pass, so that what is caught is the missing guard.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from confluent_kafka import ConsumerGroupTopicPartitions
from confluent_kafka import TopicPartition as At
from redis import Redis

from scripts.verify.torture import oracle, outputs
from scripts.verify.torture.checkers import compare, compare_state
from scripts.verify.torture.context import WORKLOADS, Context
from scripts.verify.torture.faults_time import RULES, undisturbed
from scripts.verify.torture.faults_time import SIZES as TIME_SIZES
from scripts.verify.torture.outputs import ADMIN_TIMEOUT_S, admin_of
from scripts.verify.torture.report import Result
from scripts.verify.torture.time_judge import Right
from scripts.verify.torture.time_stream import TimeStream
from scripts.verify.torture.trial import START_TIMEOUT_S, Leftovers, Trial
from scripts.verify.torture.workers import Worker, wait_until
from streamae.fail_points import VARIABLE

SMALL = WORKLOADS["smoke"]
BEGINNING = 5 * SMALL.keys  # records; enough for commits and checkpoints of every partition
HALF = SMALL.records // 2
LAST_PART = SMALL.keys // 2  # records that touch only half of the keys
OFTEN = {"output": {"commit_interval_ms": 20}, "state": {"checkpoint_interval_ms": 50}}
SLOW_READS = {"input": {"max_poll_records": 100}}
HELD_CALL = 8  # of the second round of checkpoints of six partitions
LOST_BUCKETS = 12
CHECKERS = ("audit", "events", "state", "committed offsets", "silences")  # how their complaints begin

Scenario = Callable[[Context, Sequence[str]], Result]


def control(guard: str, scenario: Scenario, context: Context) -> Result:
    """Run a scenario with and without a guard; passes when only the run without it is found out."""
    intact, broken = scenario(context, ()), scenario(context, ("--without", guard))
    caught = [complaint for complaint in broken.complaints if complaint.startswith(CHECKERS)]
    result = Result({"complaints_without": len(caught), "complaints_with": len(intact.complaints)})
    result.figures["caught_by"] = "; ".join(complaint.split(",")[0] for complaint in caught)
    result.complaints += [f"with the guard in place: {complaint}" for complaint in intact.complaints]
    result.require(caught, f"nothing was noticed without {guard}: the checkers are blind")
    return result


def late_checkpoint(context: Context, arguments: Sequence[str]) -> Result:
    """A worker stops before saving state; when it goes on, another one has long saved newer state."""
    hold = ("--hold", f"before_checkpoint:{HELD_CALL}:0")
    with context.trial(SMALL, sections=OFTEN | SLOW_READS, arguments=arguments) as trial:
        late = _start_held(trial, hold, {VARIABLE: f"in_checkpoint:{HELD_CALL}"})  # saves once, and dies
        late.is_doomed = True
        almost = SMALL.records - LAST_PART
        trial.producer.write_to(almost)
        trial.workers.start(1)
        trial.await_committed(almost)
        trial.await_stored(almost)
        late.thaw()
        late.wait()
        trial.finish()
        return trial.judge()


def zombie_commit(context: Context, arguments: Sequence[str]) -> Result:
    """A worker stops before a transaction; when it goes on, the group has expelled it and others are far ahead."""
    hold = ("--hold", f"before_transaction:{HELD_CALL}:5")
    with context.trial(SMALL, sections=OFTEN | SLOW_READS, arguments=arguments) as trial:
        zombie = _start_held(trial, hold)
        trial.producer.write_to(HALF)
        trial.workers.start(1)
        trial.await_committed(HALF)
        zombie.thaw()
        wait_until(lambda: zombie.logged("rebalanced", assigned=[]), "the zombie to see its loss", START_TIMEOUT_S)
        trial.finish()
        result = trial.judge()
        refusals = zombie.logged("retrying", kind="MembershipError")
    result.require(refusals or arguments, "the zombie was never refused")
    return result


def lost_buckets(context: Context, arguments: Sequence[str]) -> Result:
    """Between two owners the store loses some keys."""
    with context.trial(SMALL, arguments=arguments) as trial:
        _start_first(trial, HALF)
        trial.await_committed(HALF)
        trial.workers.stop()
        _delete_buckets(trial)
        trial.workers.start(0)
        trial.finish()
        result = trial.judge()
        noticed = trial.workers.logged("state_lost") + trial.workers.logged("partition_started", reason="incomplete")
    result.require(noticed or arguments, "no loss was noticed")
    return result


def state_from_the_future(context: Context, arguments: Sequence[str]) -> Result:
    """An operator moves the group back: stored state is ahead of what is read again."""
    with context.trial(SMALL, arguments=arguments) as trial:
        _start_first(trial, SMALL.records)
        trial.await_committed()
        trial.workers.stop()
        trial.watch.close()
        servers, setup = trial.setup.checked_servers, trial.setup
        before = len(outputs.read(servers, setup.scores_topic))
        _move_group(trial, SMALL.ends(HALF))
        trial.workers.start(0)
        wait_until(lambda: trial.watch.committed() == SMALL.ends(), "all to be committed again", START_TIMEOUT_S)
        trial.workers.stop()
        left = Leftovers.of(trial)
    back = SMALL.ends(HALF)
    wanted = [one for one in oracle.expected_audit(SMALL) if one.identity[1] >= back[int(one.identity[0])]]
    seen: set[tuple[int | str, ...]] = set()
    again = [one for one in left.audit if one.identity in seen or seen.add(one.identity)]  # type: ignore[func-returns-value]
    golden = context.shared.golden(SMALL)[0]
    result = Result({"again": len(left.audit) - before})
    result.complaints += compare("audit after the reset", wanted, again).complaints()
    result.complaints += compare_state(golden.state, left.state).complaints()
    return result


def silent_keys(context: Context, arguments: Sequence[str]) -> Result:
    """Keys fall silent, at records in the midst of a poll."""
    stream = TimeStream(TIME_SIZES["smoke"])
    return undisturbed(context, stream, Right.of(stream, RULES), arguments)[0]


def careless_reader(context: Context) -> Result:
    """Whoever reads uncommitted sees what dead workers have left: the difference is the proof that it is there."""
    with context.trial(SMALL, sections=OFTEN | SLOW_READS) as trial:
        worker = _start_first(trial, SMALL.records, {VARIABLE: "after_flush:5"})
        worker.is_doomed = True
        worker.wait(START_TIMEOUT_S)
        trial.workers.start(0)
        trial.finish()
        result = trial.judge()
        careless = Leftovers.of(trial, "read_uncommitted")
    wrong = compare("audit read uncommitted", oracle.expected_audit(SMALL), careless.audit)
    result.figures["duplicates_uncommitted"] = wrong.counts.get("duplicated", 0)
    result.require(wrong, "read_uncommitted shows no difference: the checkers are blind")
    return result


without_cas = partial(control, "cas", late_checkpoint)
without_key_count = partial(control, "key_count", lost_buckets)
without_generation = partial(control, "generation", zombie_commit)
without_future = partial(control, "future", state_from_the_future)
without_crossing_offset = partial(control, "crossing_offset", silent_keys)


def _start_first(trial: Trial, records: int, env: dict[str, str] | None = None) -> Worker:
    """Write the first records, then start the watch and one worker."""
    trial.create_topics()
    trial.watch.start()
    trial.producer.write_to(records)
    return trial.workers.start(0, env=env)


def _start_held(trial: Trial, hold: Sequence[str], env: dict[str, str] | None = None) -> Worker:
    """Start one worker, feed it until it stops at its hold."""
    trial.create_topics()
    trial.watch.start()
    held = trial.workers.start(0, arguments=hold, env=env)
    trial.producer.write_to(BEGINNING)

    def is_frozen() -> bool:
        if not held.is_frozen() and trial.producer.written < HALF:
            trial.producer.write_to(trial.producer.written + SMALL.keys // 4)
        return held.is_frozen()

    wait_until(is_frozen, f"{held.name} to stop at {' '.join(hold)}", START_TIMEOUT_S, 0.1)
    return held


def _delete_buckets(trial: Trial) -> None:
    """Delete some buckets of key state, as an eviction would."""
    client = Redis.from_url(trial.setup.direct_redis_url or trial.setup.redis_url)
    try:
        found = sorted(client.scan_iter(f"torture:{{{trial.setup.name}:*:b:*", count=10_000))
        client.delete(*found[:: max(1, len(found) // LOST_BUCKETS)])
    finally:
        client.close()


def _move_group(trial: Trial, to: dict[int, int]) -> None:
    """Set the committed offsets of the group, which must have no members."""
    name = trial.setup.name
    places = [At(name, index, offset) for index, offset in to.items()]
    admin = admin_of(trial.setup.checked_servers)
    (future,) = admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(name, places)]).values()
    future.result(ADMIN_TIMEOUT_S)
