"""The judge of what receivers were told: it finds each thing that can go wrong, and nothing where all is well."""

from __future__ import annotations

import pytest

from scripts.verify.torture.alert_judge import Word, judge, missing_changes

EPISODES = {"m-1": ["a", "b"], "m-2": ["c"]}


def begin(key: str, episode: str, sequence: int = 0) -> Word:
    """Return a word of an episode that is open."""
    return Word(key, episode, False, sequence)


def end(key: str, episode: str, sequence: int = 9) -> Word:
    """Return a word of an episode that is over."""
    return Word(key, episode, True, sequence)


WELL = [begin("m-1", "a"), begin("m-2", "c"), end("m-1", "a"), begin("m-1", "b"), end("m-1", "b"), end("m-2", "c")]


def test_what_went_well_is_not_complained_of() -> None:
    """Every episode began once and ended, also where things were told twice."""
    twice = [word for word in WELL for _ in range(2)]
    for words in (WELL, twice):
        verdict = judge(EPISODES, words)
        assert (verdict.incidents, verdict.open, verdict.complaints("x")) == (3, 0, [])


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (WELL[:-1], "1 incidents are open"),
        ([word for word in WELL if word.episode != "c"], "1 episodes were never told"),
        ([*WELL, begin("m-2", "c"), end("m-2", "c")], "4 incidents of 3 episodes"),
        ([word for word in WELL if word != end("m-1", "a")], "2 incidents of 3 episodes"),
        ([*WELL, begin("m-3", "z")], "1 were told of what is no episode"),
        ([begin("m-1", "b"), begin("m-1", "a"), *WELL[1:]], "were told out of order"),
        ([begin("m-2", "c", 2), begin("m-2", "c", 1), *WELL], "2 were told out of order"),
    ],
)
def test_each_fault_is_found(words: list[Word], complaint: str) -> None:
    """Open, lost, told anew after its end, run into the next one, invented, out of order."""
    assert any(complaint in each for each in judge(EPISODES, words).complaints("x"))


def test_ends_where_nothing_is_open_are_nothing() -> None:
    """Receivers take them and do nothing: an end is repeated for a while, also one of an older episode."""
    assert judge(EPISODES, [*WELL, end("m-1", "a", -1), end("m-1", "b")]).complaints("x") == []


def test_changes_that_are_missing_late_or_told_again_are_counted() -> None:
    """A receiver of every change gets each of them, first in order."""
    words = [begin("m", "a", sequence) for sequence in (0, 1, 1, 2)]
    assert missing_changes({"a": 3}, words) == (0, 0, 1)
    assert missing_changes({"a": 4, "b": 1}, words) == (2, 0, 1)
    assert missing_changes({"a": 3}, [words[0], words[3], words[1]]) == (0, 1, 0)
