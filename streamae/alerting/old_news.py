"""What happened before anybody was there to tell: what is said of it in one alert, and what is told all the same.

Must not know: what was told before, or offsets beyond those it keeps for its episodes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from streamae.alerting.alert import Alert, Cause, Labels, SeverityClass
from streamae.alerting.case import Line, News, line_of
from streamae.alerting.change import Change
from streamae.alerting.identity import own_alert
from streamae.alerting.texts import one_line
from streamae.batches import Record

SHOWN_KEYS = 10
LONGEST_KEY = 100


@dataclass(slots=True)
class OldEpisode:
    """An episode of which there is old news only.

    Attributes:
        change: the newest.
        identity: its labels.
        news: as it would be told.
        is_superseded: another one of its line began after it.
    """

    change: Change
    identity: Labels
    news: News
    is_superseded: bool = False

    def is_told(self, now_ms: int, max_age_ms: int) -> bool:
        """Tell whether it is told like fresh news: it is open and young."""
        is_open = self.news.ending is None and not self.is_superseded
        return is_open and now_ms - self.change.stamped_ms < max_age_ms

    def slim(self) -> None:
        """Keep of what is only counted what that takes: a topic can hold a million such episodes."""
        at = self.change.at
        raw = Record(*at.partition, at.offset, self.change.stamped_ms, None, None)
        self.change = replace(self.change, event={}, raw=raw)
        self.news = replace(self.news, body=None)


@dataclass(slots=True)
class Count:
    """What a summary counts.

    Attributes:
        episodes, still_open: how many.
        classes: how many of each.
        keys: episodes by key.
    """

    episodes: int = 0
    still_open: int = 0
    classes: Counter[SeverityClass] = field(default_factory=Counter)
    keys: Counter[str] = field(default_factory=Counter)

    def add(self, old: OldEpisode) -> None:
        """Count an episode."""
        self.episodes += 1
        self.still_open += old.news.ending is None and not old.is_superseded
        self.classes[old.news.severity] += 1
        self.keys[old.change.key] += 1

    def alert(self, now_ms: int, labels: Labels) -> Alert:
        """Return the summary, with the keys that most of them are of."""
        noisiest = [f"{one_line(key, LONGEST_KEY)} ({count})" for key, count in self.keys.most_common(SHOWN_KEYS)]
        if more := len(self.keys) - len(noisiest):
            noisiest.append(f"and {more:,} more")
        extra = {
            "episodes": f"{self.episodes:,}",
            "still open": f"{self.still_open:,}",
            **{each.word: f"{self.classes[each]:,}" for each in sorted(self.classes, reverse=True)},
            "keys": ", ".join(noisiest),
        }
        summary = (
            f"{self.episodes:,} older {'episode was' if self.episodes == 1 else 'episodes were'} not told one by one,"
            f" {self.still_open:,} of them still open"
        )
        return own_alert(Cause.SUMMARY, summary, now_ms, labels=labels, extra=extra)


class OldNews:
    """Episodes of which there is old news only, until the backlog is read."""

    def __init__(self) -> None:
        self._episodes: dict[str, OldEpisode] = {}
        self._newest: dict[Line, str] = {}  # of each line

    def __len__(self) -> int:
        return len(self._episodes)

    def get(self, episode_id: str) -> OldEpisode | None:
        """Return what is kept of an episode."""
        return self._episodes.get(episode_id)

    def put(self, old: OldEpisode) -> None:
        """Keep an episode in its newest state."""
        line = line_of(old.identity)
        known = self._episodes.get(old.change.episode_id)
        newest = self._episodes.get(self._newest.get(line, ""))
        is_behind = newest is not None and newest.change.start_ms > old.change.start_ms
        old.is_superseded = is_behind or (known is not None and known.is_superseded)
        if not old.is_superseded:
            self.supersede(line, old.change)
            self._newest[line] = old.change.episode_id
        self._episodes[old.change.episode_id] = old
        if old.news.ending is not None or old.is_superseded:
            old.slim()

    def supersede(self, line: Line, change: Change) -> None:
        """Count the newest episode of a line as over, since that of `change` began after it."""
        newest = self._episodes.get(self._newest.get(line, ""))
        if newest is not None and newest.change.episode_id != change.episode_id:
            newest.is_superseded |= newest.change.start_ms <= change.start_ms
            if newest.is_superseded:
                newest.slim()

    def pop(self, episode_id: str) -> OldEpisode | None:
        """Give up an episode, since there is fresh news of it."""
        return self._episodes.pop(episode_id, None)

    def take_all(self) -> Iterator[OldEpisode]:
        """Give up all of them."""
        episodes, self._episodes, self._newest = self._episodes, {}, {}
        yield from episodes.values()
