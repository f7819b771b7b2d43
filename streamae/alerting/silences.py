"""Who does not want to hear of what, and until when: messages are withheld, episodes go on.

Patterns are those of the settings: `*` = any text, `?` = a character, `[ab]` = one of them; capitals count. An alert
without a label that a silence names is not covered: nobody silences by chance what the alerts say of themselves.

Must not know: where silences are kept, or what is done with what they withhold.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import translate
from functools import lru_cache

from streamae.alerting.alert import Labels


@dataclass(frozen=True, slots=True)
class Silence:
    """One silence; wall clock, milliseconds since the epoch.

    Attributes:
        id: its name, also where orders are kept.
        labels: by label, a pattern; all must fit. The pattern of keys is that of the label `key`. Never empty.
        starts_ms, ends_ms: it holds from the first, and no longer at the second.
        who, why: for whoever asks later.
        ended_by, ended_why: who has ended it early, "" = nobody; and why.
        elsewhere: by receiver that silences by itself, the name it has there.
    """

    id: str
    labels: Labels
    starts_ms: int
    ends_ms: int
    who: str
    why: str
    ended_by: str = ""
    ended_why: str = ""
    elsewhere: Labels = field(default_factory=dict)

    def is_active(self, now_ms: int) -> bool:
        """Tell whether it holds now."""
        return self.starts_ms <= now_ms < self.ends_ms


class Silences:
    """Silences as they are at one moment: a snapshot, which any thread may read.

    Args:
        silences: one of each id.
    """

    def __init__(self, silences: Iterable[Silence] = ()) -> None:
        self._all = tuple(sorted(silences, key=lambda each: (each.ends_ms, each.id)))
        self._matchers = [(each, matcher(each.labels)) for each in self._all]

    def __iter__(self) -> Iterator[Silence]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def covers(self, labels: Labels, now_ms: int) -> bool:
        """Tell whether an alert with these labels is silenced now."""
        return any(each.is_active(now_ms) and is_meant(labels) for each, is_meant in self._matchers)

    def active(self, now_ms: int) -> tuple[Silence, ...]:
        """Return those that hold now, the one that ends first at the head."""
        return tuple(each for each in self._all if each.is_active(now_ms))


def matcher(patterns: Labels) -> Callable[[Labels], bool]:
    """Return a function that tells whether labels fit all patterns.

    Example:
        >>> is_meant = matcher({"key": "rack-7-*", "team": "core"})
        >>> is_meant({"key": "rack-7-1", "team": "core", "cause": "anomaly"}), is_meant({"key": "rack-7-1"})
        (True, False)
    """
    compiled = [(name, _compiled(pattern)) for name, pattern in patterns.items()]

    def is_meant(labels: Labels) -> bool:
        return all((text := labels.get(name)) is not None and found.match(text) for name, found in compiled)

    return is_meant


@lru_cache(maxsize=1_024)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern))
