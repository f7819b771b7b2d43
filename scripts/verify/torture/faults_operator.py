"""T16: what operators do to a group and its topics behind the back of the program.

Each episode has a topic and a group of its own. Half of a stream is processed, the worker is stopped in order, the
operator acts, the rest is written, and a new worker goes on. What it must publish follows from the policy alone, and
it must say which case it found, in one loud line a partition.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, TopicCollection
from confluent_kafka import TopicPartition as At
from confluent_kafka.admin import AdminClient

from scripts.verify.torture import oracle, outputs
from scripts.verify.torture.bad_input import Writer
from scripts.verify.torture.checkers import Differences, Output, compare_state
from scripts.verify.torture.context import Context
from scripts.verify.torture.outputs import ADMIN_TIMEOUT_S
from scripts.verify.torture.report import Result
from scripts.verify.torture.trial import Leftovers, Trial
from scripts.verify.torture.workers import Sections, TimedOutError, wait_until
from scripts.verify.torture.workload import START_MS, STEP_MS, Workload

WORKLOAD = Workload(keys=60, rows=48, partitions=3)
CUT_ROW = 24  # half of the stream is processed before the operator acts
STEP_TIMEOUT_S = 90.0
SHORT_REBUILD = 10  # state.rebuild_max_records, below every step forward: the replay counts as a long one
LOUD = {"warning", "error"}

Moved = dict[int, int]  # offset by partition


@dataclass
class Episode:
    """One episode: the trial, and what must come of it.

    Attributes:
        trial: topics, group, worker.
        writer: of the input.
        rng: for how far things are moved.
        before: outputs of the first half, in any order.
        workload: what the topic holds in the end.
        reason: that the new worker must give, for each partition.
        expected: outputs of the whole topic in the end, repeated where the policy repeats them.
        compares_state: whether the state in the end must be that of the undisturbed run of `workload`.
        goes_on: whether the partitions start at all.
    """

    trial: Trial
    writer: Writer
    rng: Random
    before: list[Output]
    workload: Workload = WORKLOAD
    reason: str = ""
    expected: list[Output] = field(default_factory=list)
    compares_state: bool = True
    goes_on: bool = True

    @property
    def cut(self) -> Moved:
        """Offset up to which everything was processed."""
        return _ends(WORKLOAD, CUT_ROW)

    @property
    def admin(self) -> AdminClient:
        """Client for what operators do."""
        return outputs.admin_of(self.trial.setup.checked_servers)

    def moved(self, direction: int) -> Moved:
        """Return offsets before or behind the cut, different ones for each partition, at least a row away."""
        least, most = self.trial.workload.keys, min(self.cut.values()) - self.trial.workload.keys
        return {index: offset + direction * self.rng.randint(least, most) for index, offset in self.cut.items()}

    def write_rest(self) -> None:
        """Write the second half."""
        self.writer.write(self.trial.workload.produced(CUT_ROW * self.trial.workload.keys, self.trial.workload.records))

    def set_offsets(self, offsets: Moved) -> None:
        """Move the group, and see that it has moved."""
        group = self.trial.setup.name
        places = [At(group, index, offset) for index, offset in offsets.items()]  # the topic has the group's name
        admin = self.admin
        for future in admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, places)]).values():
            future.result(ADMIN_TIMEOUT_S)
        wait_until(lambda: self.trial.watch.committed() == offsets, f"the group to be at {offsets}", ADMIN_TIMEOUT_S)


def offsets_back(episode: Episode) -> Sections:
    """Offsets set back: what was published since is published again; the state is that of the place gone back to."""
    target = episode.moved(-1)
    episode.set_offsets(target)
    episode.write_rest()
    episode.reason = "moved_back"
    episode.expected += [output for output in episode.before if _offset(output) >= target[_partition(output)]]
    return {}


def offsets_forward(episode: Episode) -> Sections:
    """Offsets set forward: outputs in between are skipped, as asked for, but the state takes those records in."""
    target = episode.moved(+1)
    episode.write_rest()
    episode.set_offsets(target)
    episode.reason = "long_replay"
    cut = episode.cut
    episode.expected = [
        output
        for output in episode.expected
        if not cut[_partition(output)] <= _offset(output) < target[_partition(output)]
    ]
    return {"state": {"rebuild_max_records": SHORT_REBUILD}}


def topic_recreated(episode: Episode) -> Sections:
    """Topic deleted and created again: nothing of the former one counts, all of the new one is published."""
    topic, admin, servers = episode.trial.setup.name, episode.admin, episode.trial.setup.checked_servers
    former = _topic_id(admin, topic)
    for future in admin.delete_topics([topic]).values():
        future.result(ADMIN_TIMEOUT_S)
    wait_until(
        lambda: topic not in admin.list_topics(timeout=ADMIN_TIMEOUT_S).topics, "the topic to go", STEP_TIMEOUT_S
    )
    outputs.create_topics(servers, {topic: WORKLOAD.partitions})
    assert _topic_id(admin, topic) != former, "the topic is the same one"
    rows = episode.rng.choice([CUT_ROW // 2, 2 * CUT_ROW])  # shorter or longer than what was processed
    episode.workload = replace(WORKLOAD, rows=rows, seed=WORKLOAD.seed + 1)
    Writer(servers, topic).write(episode.workload.produced(0, episode.workload.records))
    episode.reason = "recreated"
    episode.expected = episode.before + oracle.expected_audit(episode.workload)
    return {}


def group_deleted(episode: Episode) -> Sections:
    """Group deleted: by policy it goes on where the state stands, or begins as a new one and publishes all again."""
    admin, group = episode.admin, episode.trial.setup.name
    for future in admin.delete_consumer_groups([group]).values():
        future.result(ADMIN_TIMEOUT_S)
    wait_until(lambda: not any(episode.trial.watch.committed().values()), "the group to be gone", ADMIN_TIMEOUT_S)
    episode.write_rest()
    episode.reason = "offsets_lost"
    policy = episode.rng.choice(["resume", "start"])
    if policy == "start":
        episode.expected += episode.before
    return {"input": {"on_lost_offsets": policy}}


def records_expired(episode: Episode) -> Sections:
    """Retention passed the committed offset: keys begin anew behind the hole, or the partition waits for somebody."""
    target, admin = episode.moved(+1), episode.admin
    episode.write_rest()
    places = [At(episode.trial.setup.name, index, offset) for index, offset in target.items()]
    for future in admin.delete_records(places).values():
        future.result(ADMIN_TIMEOUT_S)
    episode.reason, episode.compares_state = "expired", False
    policy = episode.rng.choice(["rebuild", "halt"])
    episode.goes_on = policy != "halt"
    episode.expected = episode.before + (_expected_behind(WORKLOAD, target) if episode.goes_on else [])
    return {"state": {"on_loss": policy}}


ACTIONS: tuple[Callable[[Episode], Sections], ...] = (
    offsets_back,
    offsets_forward,
    topic_recreated,
    group_deleted,
    records_expired,
)


def operator(context: Context) -> Result:
    """T16: each action `context.faults` times."""
    result = Result({"episodes": 0})
    for number in range(context.faults):
        for action in ACTIONS:
            try:
                complaints = _play(context, action, result.figures)
            except TimedOutError as error:
                complaints = [str(error)]
            result.complaints += [f"{action.__name__} {number}: {complaint}" for complaint in complaints]
        context.show(number + 1)
    result.require(
        all(result.figures.get(action.__name__) == context.faults for action in ACTIONS), "not every action was done"
    )
    return result


def _play(context: Context, action: Callable[[Episode], Sections], figures: dict[str, Any]) -> list[str]:
    with context.trial(WORKLOAD, compares=False, workers=1) as trial:
        trial.create_topics()
        trial.watch.start()
        writer = Writer(trial.setup.checked_servers, trial.setup.name)
        writer.write(WORKLOAD.produced(0, CUT_ROW * WORKLOAD.keys))
        trial.workers.start(0)
        cut = _ends(WORKLOAD, CUT_ROW)
        _await_end(trial, cut)
        codes = trial.workers.stop()
        whole = oracle.expected_audit(WORKLOAD)
        before = [output for output in whole if _offset(output) < cut[_partition(output)]]
        episode = Episode(trial, writer, context.rng, before, expected=list(whole))
        sections = action(episode)
        event = "partition_started" if episode.goes_on else "partition_halted"
        with context.trial(WORKLOAD, compares=False, name=trial.setup.name, sections=sections) as after:
            worker = after.workers.start(0)
            wait_until(
                lambda: len(worker.logged(event)) >= WORKLOAD.partitions, f"{event}: {worker.log}", STEP_TIMEOUT_S
            )
            if episode.goes_on:
                _await_end(after, _ends(episode.workload, episode.workload.rows))
            codes += after.workers.stop()
            ended = trial.workers.unexpected_ends() + after.workers.unexpected_ends()
        lines = worker.logged(event)
        left = Leftovers.of(trial)
    differences = _repeated("audit", episode.expected, left.audit).complaints()
    if episode.compares_state:
        differences += compare_state(context.shared.golden(episode.workload)[0].state, left.state).complaints()
    figures["episodes"] += 1
    figures[action.__name__] = figures.get(action.__name__, 0) + 1
    figures["windows"] = figures.get("windows", 0) + len(left.audit)
    wrong = [line for line in lines if line["reason"] != episode.reason or line["level"] not in LOUD]
    if wrong or len(lines) != WORKLOAD.partitions:
        differences.append(f"not said loudly that it is {episode.reason}: {lines}")
    if any(codes):
        differences.append(f"exit codes after SIGTERM: {codes}")
    return differences + ended


def _await_end(trial: Trial, ends: Moved) -> None:
    """Wait until everything is committed and stored.

    Raises:
        TimedOutError: it is not, or the worker has ended.
    """

    def is_there() -> bool:
        if ended := trial.workers.unexpected_ends():
            raise TimedOutError("; ".join(ended))
        return trial.watch.committed() == ends and trial.state.offsets() == ends

    wait_until(is_there, f"{trial.setup.name} committed and stored up to {ends}", STEP_TIMEOUT_S)


def _repeated(what: str, expected: Sequence[Output], found: Sequence[Output]) -> Differences:
    """Compare outputs of which some must be there more than once."""
    differences = Differences(what)
    wanted, seen = Counter(expected), Counter(found)
    for output in (wanted - seen).elements():
        differences.note("lost", output)
    for output in (seen - wanted).elements():
        differences.note("too many", output)
    return differences


def _expected_behind(workload: Workload, first: Moved) -> list[Output]:
    """Return the outputs of the records from these offsets on, when nothing is known of those before."""
    seen: Counter[int] = Counter()
    smoothed: dict[int, float] = {}
    found = []
    for number, (key, offset) in enumerate(zip(workload.order.tolist(), workload.offsets.tolist(), strict=True)):
        partition, row = key % workload.partitions, number // workload.keys
        if offset < first[partition]:
            continue
        seen[key] += 1
        if seen[key] >= oracle.WINDOW:
            error = float((workload.values[row, key].astype(float) ** 2).mean())
            former = smoothed.get(key, error)
            smoothed[key] = former + oracle.SMOOTHING * (error - former)
            content = (START_MS + row * STEP_MS, smoothed[key])
            found.append(Output((partition, offset), workload.key(key), content))
    return found


def _ends(workload: Workload, rows: int) -> Moved:
    """Return the number of records by partition of the first rows of a workload."""
    return replace(workload, rows=rows).ends()


def _partition(output: Output) -> int:
    return int(output.identity[0])


def _offset(output: Output) -> int:
    return int(output.identity[1])


def _topic_id(admin: AdminClient, topic: str) -> str:
    (future,) = admin.describe_topics(TopicCollection([topic])).values()
    return str(future.result(ADMIN_TIMEOUT_S).topic_id)
