"""What concerns all receivers: when all is well, who is silent, what operators order, and what is missing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from streamae.alerting.detectors import LOOK_INTERVAL_MS
from streamae.alerting.orders import Orders
from streamae.alerting.owners import Owners
from streamae.alerting.silences import Silence, Silences
from streamae.alerting.watcher import MOST_LAG_MS, READABLE_MS, Watcher
from streamae.alerting.world import Refusals, Report
from streamae.batches import Partition
from streamae.errors import DataError, RetryableError
from streamae.observe.alert_metrics import AlertMetrics
from streamae.settings.alerts import AlertSettings

WALL_MS = 1_700_000_000_000
HERE = Partition("records", 0)
SILENCE = Silence("s-1", {"key": "rack-7-*"}, WALL_MS, WALL_MS + 10**9, "ann", "reboot")


class Cluster:
    """A cluster whose answers are set."""

    def __init__(self) -> None:
        self.offsets = {"pumps": {HERE: 7}}
        self.gone: list[str] = []
        self.error: RetryableError | None = None
        self.asked: list[str] = []

    def offsets_of(self, groups: Iterable[str]) -> dict[str, dict[Partition, int]]:
        if self.error:
            raise self.error
        self.asked = list(groups)
        return {group: self.offsets.get(group, {}) for group in groups}

    def missing(self, topics: Iterable[str]) -> list[str]:
        if self.error:
            raise self.error
        return [topic for topic in topics if topic in self.gone]

    def close(self) -> None:
        self.error = RetryableError("closed")


class Follower:
    """Orders that are set; `changed` is answered once."""

    def __init__(self) -> None:
        self.silences: list[Silence] = []
        self.changed = 0
        self.error: Exception | None = None

    def step(self, timeout_ms: int = 0) -> int:
        if self.error:
            raise self.error
        changed, self.changed = self.changed, 0
        return changed

    def orders(self, now_ms: int) -> Orders:
        return Orders(Silences(self.silences))

    def close(self) -> None:
        self.error = RetryableError("closed")


class Watched:
    """A watcher with its surroundings, turned each ten seconds."""

    def __init__(self, owners: Path | None = None, detectors: tuple[str, ...] = ()) -> None:
        self.cluster, self.follower, self.metrics = Cluster(), Follower(), AlertMetrics(["pager"])
        self.report = Report("pager", partitions=3, is_caught_up=True)
        self.beats: list[int] = []
        self.answer = ""
        self.now_ms = 0
        self.watcher = Watcher(
            AlertSettings(stale_ms=600_000, give_up_ms=3_600_000, detectors=detectors),
            Owners.read(owners, {}),
            self.cluster,
            self.follower,
            lambda: [self.report],
            self.metrics,
            ["anomalies", "letters"],
            self.beat,
        )

    def beat(self, wall_ms: int) -> str:
        """Take the heartbeat."""
        self.beats.append(wall_ms)
        return self.answer

    def step(self, turns: int = 1, *, keeps_reporting: bool = True) -> None:
        """Turn it so many times."""
        for _ in range(turns):
            if keeps_reporting:
                self.report = replace(self.report, at_ms=self.now_ms)
            self.watcher.step(self.now_ms, WALL_MS + self.now_ms)
            self.now_ms += 10_000


def test_the_heart_beats_once_a_minute_while_all_is_well() -> None:
    """Somebody outside notices when it stops."""
    watched = Watched()
    watched.step(31)
    assert [after - before for before, after in zip(watched.beats, watched.beats[1:], strict=False)] == [60_000] * 5
    assert watched.watcher.world.is_well


def test_the_heart_stops_when_alerts_cannot_be_delivered() -> None:
    """A process that is alive and reaches nobody must not look well."""
    for is_ill in (
        {"failing_since_ms": 5},
        {"lag_ms": MOST_LAG_MS},
        {"partitions": 0},
        {"is_caught_up": False},
    ):
        watched = Watched()
        watched.step(7)
        count = len(watched.beats)
        watched.report = replace(watched.report, **is_ill)  # type: ignore[arg-type]  # of several types
        watched.step(20)
        assert (len(watched.beats), watched.watcher.world.is_well) == (count, False), is_ill


def test_no_cluster_is_asked_for_a_group_that_cannot_be() -> None:
    """Detectors' names come from events: one that no request can hold would hide all others."""
    watched = Watched()
    heard = {"pumps": WALL_MS, "": WALL_MS, "x" * 40_000: WALL_MS}
    watched.report = replace(watched.report, heard=heard, watched=frozenset({"", "y" * 40_000}))
    watched.step(7)
    assert watched.cluster.asked == ["pumps"]


def test_the_heart_stops_when_a_courier_stands_still_or_the_cluster_is_away() -> None:
    """A hanging thread has left its last report, which said that all was well."""
    watched = Watched()
    watched.step()
    watched.step(READABLE_MS // 10_000 + 2, keeps_reporting=False)
    assert not watched.watcher.world.is_well
    watched = Watched()
    watched.step()
    watched.cluster.error = RetryableError("away")
    watched.step(READABLE_MS // 10_000 + 2)
    assert not watched.watcher.world.is_well
    watched.cluster.error = None
    watched.step(LOOK_INTERVAL_MS // 10_000)
    assert watched.watcher.world.is_well


def test_a_heartbeat_that_is_refused_is_told() -> None:
    """Its address may be wrong from the first day."""
    watched = Watched()
    watched.answer = "404 Not Found"
    watched.step()
    assert watched.watcher.problems == ["404 Not Found"]
    watched.answer = ""
    watched.step(7)
    assert watched.watcher.problems == []


def test_detectors_that_were_heard_or_have_open_alerts_are_watched() -> None:
    """Silence of one that nobody ever heard of means nothing; offsets that move keep it alive."""
    watched = Watched()
    watched.report = replace(watched.report, heard={"pumps": WALL_MS}, watched=frozenset({"press"}))
    watched.step(7)
    assert watched.cluster.asked == ["press", "pumps"]
    watched.step(70)
    standing = watched.watcher.world.standing
    assert (set(standing.silent), standing.unseen) == ({"pumps"}, {"press"})
    assert b"streamae_alerts_detectors_silent 1.0" in watched.metrics.render()[0]
    watched.cluster.offsets = {"pumps": {HERE: 8}}
    watched.step(7)
    assert watched.watcher.world.standing.silent == {}


def test_detectors_that_the_settings_name_are_watched_from_the_start() -> None:
    """One that died while nobody listened has nothing open and is heard of by nobody, and is missed all the same."""
    watched = Watched(detectors=("pumps", "press"))
    watched.step(77)
    standing = watched.watcher.world.standing
    assert (set(standing.silent), standing.unseen) == ({"pumps"}, {"press"})


def test_the_same_news_twice_is_one_sign_of_life() -> None:
    """Reports are repeated each second; only a newer event says that the detector lives."""
    watched = Watched()
    watched.report = replace(watched.report, heard={"pumps": WALL_MS})
    watched.step(80)
    assert set(watched.watcher.world.standing.silent) == {"pumps"}
    watched.report = replace(watched.report, heard={"pumps": WALL_MS + 790_000})
    watched.step()
    assert watched.watcher.world.standing.silent == {}


def test_orders_reach_the_couriers_as_one_snapshot() -> None:
    """What did not change stays the very same object, so that nobody looks at it again."""
    watched = Watched()
    watched.step()
    before = watched.watcher.world.orders
    watched.step()
    assert watched.watcher.world.orders is before
    watched.follower.silences, watched.follower.changed = [SILENCE], 1
    watched.step()
    assert list(watched.watcher.world.orders.silences) == [SILENCE]
    assert b"streamae_alerts_silences 1.0" in watched.metrics.render()[0]


def test_an_orders_topic_that_is_missing_stops_nobody() -> None:
    """Alerts go on without it; what was ordered before still holds."""
    watched = Watched()
    watched.follower.silences, watched.follower.changed = [SILENCE], 1
    watched.step()
    watched.follower.error = DataError("there is no topic orders")
    watched.step()
    assert watched.watcher.problems == ["there is no topic orders"]
    assert list(watched.watcher.world.orders.silences) == [SILENCE]


def test_missing_topics_are_named_until_they_are_there() -> None:
    """The operator reads what to create."""
    watched = Watched()
    watched.cluster.gone = ["letters"]
    watched.step()
    assert watched.watcher.problems == ["topics are missing: create letters"]
    watched.cluster.gone = []
    watched.step(LOOK_INTERVAL_MS // 10_000)
    assert watched.watcher.problems == []


def test_owners_are_read_again_when_their_file_changes(tmp_path: Path) -> None:
    """A new team gets its alerts without a restart; a broken file changes nothing and is told."""
    path = tmp_path / "owners.csv"
    path.write_text("pattern,team\n*,core\n", encoding="utf-8")
    watched = Watched(path)
    watched.step()
    path.write_text("pattern,team\npress-*,metal\n", encoding="utf-8")
    watched.step(2)
    assert watched.watcher.world.owners.labels_of("press-1") == {"team": "metal"}
    path.write_text("broken\n", encoding="utf-8")
    watched.step(2)
    assert watched.watcher.world.owners.labels_of("press-1") == {"team": "metal"}
    assert "line 1" in watched.watcher.problems[0]


def test_refusals_of_one_receiver_are_known_to_the_others() -> None:
    """That a page was refused is told by whoever is left."""
    watched = Watched()
    watched.report = replace(watched.report, refusals=Refusals(2, WALL_MS, "400 Bad Request"))
    watched.step()
    assert watched.watcher.world.refusals == {"pager": Refusals(2, WALL_MS, "400 Bad Request")}
