"""Whether detectors are alive: an event of theirs was read, or the offsets that their group commits have moved.

Only what can be seen is judged: a detector whose group has never shown offsets is left alone, and time in which the
cluster did not answer is no silence.

Must not know: Kafka, clocks, or what is told of a silent detector.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from streamae.batches import Partition

LOOK_INTERVAL_MS = 60_000
LONGEST_GAP_MS = 3 * LOOK_INTERVAL_MS  # between two looks; what is longer counts as no time at all


@dataclass(frozen=True, slots=True)
class Standing:
    """How all known detectors are.

    Attributes:
        alive: a sign of them was seen lately.
        silent: no sign for long; with the wall-clock time (ms) of the last one, or since when one is waited for.
        given_up: those of `silent` whose open alerts are to end.
        unseen: of these no offsets were ever seen: nobody can tell.
    """

    alive: frozenset[str] = frozenset()
    silent: Mapping[str, int] = field(default_factory=dict)
    given_up: frozenset[str] = frozenset()
    unseen: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Known:
    """What is known of one detector: its last sign on both clocks, and the offsets that were seen last."""

    sign_ms: int
    sign_wall_ms: int
    has_shown: bool = False  # a sign, not only that it is waited for
    offsets: Mapping[Partition, int] | None = None


class SignsOfLife:
    """Keeps the last sign of each detector. `now_ms` is monotonic, `wall_ms` since the epoch. For one thread.

    Args:
        stale_ms: without a sign for so long a detector is silent.
        give_up_ms: so long after that its alerts are to end.
    """

    def __init__(self, stale_ms: int, give_up_ms: int) -> None:
        self._stale_ms, self._give_up_ms = stale_ms, give_up_ms
        self._known: dict[str, _Known] = {}
        self._looked_ms: int | None = None

    @property
    def known(self) -> frozenset[str]:
        """All detectors, whose offsets are to be looked at."""
        return frozenset(self._known)

    def expect(self, detectors: Iterable[str], now_ms: int, wall_ms: int) -> None:
        """Get to know detectors, such as those of open alerts: from now on they are waited for."""
        for detector in detectors:
            self._known.setdefault(detector, _Known(now_ms, wall_ms))

    def heard(self, detector: str, now_ms: int, wall_ms: int) -> None:
        """An event of it was read."""
        known = self._known.setdefault(detector, _Known(now_ms, wall_ms))
        known.sign_ms, known.sign_wall_ms, known.has_shown = now_ms, wall_ms, True

    def looked(self, offsets: Mapping[str, Mapping[Partition, int]], now_ms: int, wall_ms: int) -> None:
        """Take what groups have committed; a group is called like its detector."""
        unseen_ms = 0 if self._looked_ms is None else now_ms - self._looked_ms - LONGEST_GAP_MS
        self._looked_ms = now_ms
        for detector, known in self._known.items():
            found = offsets.get(detector) or known.offsets
            if known.offsets is not None and found != known.offsets:
                known.sign_ms, known.sign_wall_ms, known.has_shown = now_ms, wall_ms, True
            elif unseen_ms > 0:
                known.sign_ms = min(now_ms, known.sign_ms + unseen_ms)
            known.offsets = found

    def standing(self) -> Standing:
        """Return how all were when the cluster was last looked at."""
        alive, silent, given_up, unseen = set(), {}, set(), set()
        for detector, known in self._known.items():
            quiet_ms = 0 if self._looked_ms is None else self._looked_ms - known.sign_ms
            if quiet_ms <= self._stale_ms:
                if known.has_shown:
                    alive.add(detector)
            elif known.offsets is None:
                unseen.add(detector)
            else:
                silent[detector] = known.sign_wall_ms
                if quiet_ms > self._stale_ms + self._give_up_ms:
                    given_up.add(detector)
        return Standing(frozenset(alive), silent, frozenset(given_up), frozenset(unseen))
