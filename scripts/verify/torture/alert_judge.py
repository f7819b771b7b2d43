"""What receivers were told, held against the episodes that there were.

The rule is PagerDuty's: what begins after it has ended is a new incident, and what ends where nothing is open is nothing. So an episode that is told twice, or runs
into the next one of its key, is counted wrong.

Must not know: receivers, or product code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

MOST_NAMED = 3


class Word(NamedTuple):
    """One thing that a receiver was told, in the order of arrival.

    Attributes:
        key: of the stream.
        episode: its name.
        is_end: whether it was told as over.
        sequence: of the change.
    """

    key: str
    episode: str
    is_end: bool
    sequence: int


@dataclass
class Verdict:
    """What came of it; `incidents` must be `episodes`, all others but `words` nothing.

    Attributes:
        episodes: there were.
        incidents: the receiver has opened.
        open: incidents that were not ended.
        lost: episodes that were never told.
        unknown: things told that belong to no episode.
        disordered: things told after something newer of their key.
        words: told at all.
    """

    episodes: int
    incidents: int = 0
    open: int = 0
    lost: list[str] = field(default_factory=list)
    unknown: list[Word] = field(default_factory=list)
    disordered: list[Word] = field(default_factory=list)
    words: int = 0

    def complaints(self, receiver: str) -> list[str]:
        """Return a sentence for each thing that is wrong."""
        checks = [
            (self.incidents != self.episodes, f"{self.incidents} incidents of {self.episodes} episodes"),
            (self.open, f"{self.open} incidents are open"),
            (self.lost, f"{len(self.lost)} episodes were never told: {self.lost[:MOST_NAMED]}"),
            (self.unknown, f"{len(self.unknown)} were told of what is no episode: {self.unknown[:MOST_NAMED]}"),
            (self.disordered, f"{len(self.disordered)} were told out of order: {self.disordered[:MOST_NAMED]}"),
        ]
        return [f"{receiver}: {text}" for is_wrong, text in checks if is_wrong]


def judge(episodes: Mapping[str, Sequence[str]], words: Iterable[Word]) -> Verdict:
    """Hold what one receiver was told against the episodes of each key, in their order."""
    verdict = Verdict(sum(map(len, episodes.values())))
    seen: set[str] = set()
    open_keys: set[str] = set()
    newest: dict[str, tuple[int, bool, int]] = {}
    for word in words:
        verdict.words += 1
        of_key = episodes.get(word.key, ())
        if word.episode not in of_key:
            verdict.unknown.append(word)
            continue
        if word.is_end and word.key not in open_keys:
            continue  # said again: it changes nothing
        place = (of_key.index(word.episode), word.is_end, word.sequence)
        if place < newest.get(word.key, place):
            verdict.disordered.append(word)
        newest[word.key] = max(place, newest.get(word.key, place))
        if word.is_end:
            open_keys.discard(word.key)
            continue
        seen.add(word.episode)
        if word.key not in open_keys:
            open_keys.add(word.key)
            verdict.incidents += 1
    verdict.open = len(open_keys)
    verdict.lost = [name for of_key in episodes.values() for name in of_key if name not in seen]
    return verdict


def missing_changes(expected: Mapping[str, int], words: Iterable[Word]) -> tuple[int, int, int]:
    """Hold what a receiver of every change was told against the number of changes of each episode.

    Returns:
        Changes never told, changes whose first telling came after that of a later one, and changes told again.
    """
    firsts: dict[str, list[int]] = {name: [] for name in expected}
    again = 0
    for word in words:
        told = firsts.setdefault(word.episode, [])
        if word.sequence in told:
            again += 1
        else:
            told.append(word.sequence)
    missing = sum(len(set(range(count)) - set(firsts[name])) for name, count in expected.items())
    disordered = sum(told != sorted(told) for told in firsts.values())
    return missing, disordered, again
