"""When a detector counts as silent, and when nobody can tell."""

from __future__ import annotations

from streamae.alerting.detectors import LONGEST_GAP_MS, LOOK_INTERVAL_MS, SignsOfLife, Standing
from streamae.batches import Partition

STALE_MS, GIVE_UP_MS = 600_000, 3_600_000
WALL_MS = 1_700_000_000_000
HERE = Partition("records", 0)


class Watched:
    """Signs of life under a clock that is moved by hand, looked at each minute."""

    def __init__(self) -> None:
        self.signs = SignsOfLife(STALE_MS, GIVE_UP_MS)
        self.now_ms = 5_000

    @property
    def wall_ms(self) -> int:
        """The wall clock that belongs to `now_ms`."""
        return WALL_MS + self.now_ms

    def pass_time(self, spent_ms: int, **offsets: int) -> None:
        """Let time go by with a look each minute; each group stands at its offset all the while."""
        end_ms = self.now_ms + spent_ms
        while self.now_ms < end_ms:
            self.now_ms = min(end_ms, self.now_ms + LOOK_INTERVAL_MS)
            self.look(**offsets)

    def look(self, **offsets: int) -> None:
        """Look once."""
        self.signs.looked({name: {HERE: offset} for name, offset in offsets.items()}, self.now_ms, self.wall_ms)

    def hear(self, detector: str) -> None:
        """Read an event."""
        self.signs.heard(detector, self.now_ms, self.wall_ms)


def test_neither_events_nor_offsets_for_long_is_silence() -> None:
    """The operator is told since when, and not a minute before `stale_ms` is over."""
    watched = Watched()
    watched.hear("pumps")
    heard_ms = watched.wall_ms
    watched.pass_time(STALE_MS, pumps=7)
    assert watched.signs.standing().alive == {"pumps"}
    watched.pass_time(LOOK_INTERVAL_MS, pumps=7)
    assert watched.signs.standing().silent == {"pumps": heard_ms}
    assert watched.signs.standing().given_up == set()


def test_moving_offsets_are_a_sign_of_life() -> None:
    """A detector that finds nothing wrong for hours is not silent."""
    watched = Watched()
    watched.hear("pumps")
    for offset in range(7, 60):
        watched.pass_time(STALE_MS - 2 * LOOK_INTERVAL_MS, pumps=offset)
        assert watched.signs.standing().alive == {"pumps"}


def test_an_event_is_a_sign_of_life() -> None:
    """Offsets that stand still mean nothing while events come."""
    watched = Watched()
    for _ in range(5):
        watched.hear("pumps")
        watched.pass_time(STALE_MS, pumps=7)
        assert watched.signs.standing().alive == {"pumps"}


def test_alerts_are_given_up_later_and_one_sign_takes_it_all_back() -> None:
    """After `give_up_ms` more the open alerts are to end; a detector that comes back is simply alive."""
    watched = Watched()
    watched.hear("pumps")
    watched.pass_time(STALE_MS + GIVE_UP_MS + LOOK_INTERVAL_MS, pumps=7)
    assert watched.signs.standing().given_up == {"pumps"}
    watched.look(pumps=8)
    standing = watched.signs.standing()
    assert (standing.alive, standing.silent, standing.given_up) == ({"pumps"}, {}, set())


def test_who_never_showed_offsets_is_not_judged() -> None:
    """A detector of another cluster, or one whose group we may not see, would be silent for ever."""
    watched = Watched()
    watched.hear("files")
    watched.pass_time(10 * STALE_MS, pumps=7)
    standing = watched.signs.standing()
    assert (standing.unseen, standing.silent) == ({"files"}, {})


def test_a_cluster_that_does_not_answer_makes_nobody_silent() -> None:
    """Kafka away for an hour is one trouble, not one alert a detector."""
    watched = Watched()
    watched.hear("pumps")
    watched.look(pumps=7)
    watched.now_ms += 6 * STALE_MS
    assert watched.signs.standing().silent == {}
    watched.look(pumps=7)
    assert watched.signs.standing().silent == {}
    watched.pass_time(STALE_MS - LONGEST_GAP_MS, pumps=7)
    assert watched.signs.standing().alive == {"pumps"}
    watched.pass_time(LONGEST_GAP_MS + LOOK_INTERVAL_MS, pumps=7)
    assert watched.signs.standing().silent.keys() == {"pumps"}


def test_a_detector_of_open_alerts_is_waited_for_from_the_start() -> None:
    """After a restart the detector may be dead already: nothing of it will ever be read."""
    watched = Watched()
    watched.signs.expect(["pumps"], watched.now_ms, watched.wall_ms)
    watched.pass_time(STALE_MS, pumps=7)
    assert watched.signs.standing() == Standing(), "an alert that says it is silent must not be taken back"
    watched.pass_time(LOOK_INTERVAL_MS, pumps=7)
    assert watched.signs.standing().silent.keys() == {"pumps"}
