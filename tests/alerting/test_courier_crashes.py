"""Random lives of one courier: whatever fails in whatever order, each episode is one incident that ends.

The receiver keeps PagerDuty's rule: a trigger after a resolve is a new incident.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import pytest

from streamae.alerting.alert import Action, Notice
from streamae.alerting.receiver import Delivered, Outcome, Retry
from streamae.batches import Partition
from streamae.errors import RetryableError
from tests.alerting.couriers import TOPIC, House, Recorder, event

AWAY = RetryableError("away")
KEYS = ("a", "b", "c", "d")
STEPS = 150


class KilledError(BaseException):
    """The process dies here."""


class Incidents(Recorder):
    """A receiver with PagerDuty's rule, that can be away and can be the place where the process dies.

    Attributes:
        count: incidents ever opened, by key of the stream.
        open: those that are.
        dies_after: of the next call, so many notices are taken before the process dies; None = it does not.
    """

    def __init__(self) -> None:
        super().__init__("pager")
        self.count: Counter[str] = Counter()
        self.open: set[str] = set()
        self.dies_after: int | None = None
        self.is_away = False

    def send(self, notices: Sequence[Notice], now_ms: int) -> list[Outcome]:
        if self.is_away:
            return [Retry("503")] * len(notices)
        for number, notice in enumerate(notices):
            if self.dies_after == number:
                break
            self._take(notice)
        if self.dies_after is not None:
            self.dies_after = None
            raise KilledError
        return [Delivered()] * len(notices)

    def _take(self, notice: Notice) -> None:
        key = notice.alert.identity.get("key", "")
        if notice.action is Action.RESOLVE:
            self.open.discard(key)
        elif key not in self.open:
            self.open.add(key)
            self.count[key] += 1


class Life:
    """One random life, drawn from a seed."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.pager = Incidents()
        self.house = House(self.pager, partitions=2)
        self.texts = self.house.texts["pager"]
        self.episodes: Counter[str] = Counter()
        self.open: dict[str, int] = {}  # by key, the sequence of its newest change
        self.began_ms: dict[str, int] = {}
        self.house.begin(max_poll_records=3)
        self.turn(3)

    def turn(self, turns: int = 1) -> None:
        """Turn; a process that dies is followed by the next one."""
        for _ in range(turns):
            try:
                self.house.turn()
            except KilledError:
                self.restart()

    def restart(self) -> None:
        """Begin the next process."""
        self.house.begin(max_poll_records=self.draw.choice([1, 3, None]))

    def publish(self, key: str, *, closed: bool = False) -> None:
        """Let something happen to a key."""
        sequence = self.open.get(key, -1) + 1
        kind = "closed" if closed else "updated" if sequence else "opened"
        if kind == "opened":
            self.episodes[f"key-{key}"] += 1
            self.began_ms[key] = self.house.wall_ms + sum(self.episodes.values())
        episode = f"{key}-{self.episodes[f'key-{key}']}"
        times = {"start_time_ms": self.began_ms[key], "end_time_ms": self.began_ms[key] + sequence}
        content = event(episode, kind, sequence, key=f"key-{key}", **times)
        self.house.happens(content, partition=KEYS.index(key) % 2)
        if closed:
            del self.open[key]
        else:
            self.open[key] = sequence

    def happen(self) -> None:
        """Let one thing happen."""
        match self.draw.choice(["publish"] * 6 + ["close"] * 3 + ["turn"] * 8 + ["fault"] * 3):
            case "publish":
                self.publish(self.draw.choice(KEYS))
            case "close" if self.open:
                self.publish(self.draw.choice(sorted(self.open)), closed=True)
            case "turn":
                self.turn(self.draw.randint(1, 4))
            case "fault":
                self.fail()

    def fail(self) -> None:
        """Let one thing fail. Redis and the process are never both lost while something told is not committed."""
        match self.draw.choice(["kill", "in_send", "after_save", "redis", "emptied", "commit", "pager", "expel"]):
            case "kill":
                self.drain_if_stateless()
                self.restart()
            case "in_send":
                self.drain_if_stateless()
                self.pager.dies_after = self.draw.randint(0, 2)
            case "after_save" if not self.house.couriers[0].report.is_stateless:
                self.texts.fail_at("after_save", KilledError())
            case "redis":
                self.pager.dies_after = None
                self.texts.fail_at("before_save", AWAY, self.draw.randint(1, 3))
                self.turn(50)  # an idle store is asked twice a minute
            case "emptied" if self.is_all_committed():
                self.pager.dies_after = None
                self.texts.flush()
                self.restart()
            case "commit":
                self.house.broker.fail_at(self.draw.choice(["before_commit", "poll"]), AWAY, 2)
            case "pager":
                self.pager.is_away = not self.pager.is_away
            case "expel":
                self.house.broker.expel(self.house.sources[0])

    def is_all_committed(self) -> bool:
        """Tell whether the group has committed everything: what was told beyond that only Redis knows."""
        self.pager.dies_after = None
        self.turn(3)
        ends = {Partition(TOPIC, index): len(self.house.broker.records(TOPIC, index)) for index in range(2)}
        return all(self.house.broker.committed(self.house.group(), at) == end for at, end in ends.items())

    def drain_if_stateless(self) -> None:
        """Have offsets committed while nothing is remembered."""
        self.turn(1)
        if self.house.couriers[0].report.is_stateless:
            self.turn(12)

    def end(self) -> None:
        """Heal everything, and let everything be over."""
        self.pager.is_away, self.pager.dies_after = False, None
        for key in sorted(self.open):
            self.publish(key, closed=True)
        self.turn(150)
        self.restart()
        self.turn(20)


@pytest.mark.parametrize("seed", range(24))
def test_each_episode_is_one_incident_that_ends(seed: int) -> None:
    """Incidents = episodes, none left open, none lost, none twice."""
    life = Life(seed)
    for _ in range(STEPS):
        life.happen()
    life.end()
    assert life.pager.open == set()
    assert life.pager.count == life.episodes
