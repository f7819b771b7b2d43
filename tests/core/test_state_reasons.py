"""The words for why keys are not ready: of many keys and of one, from one table."""

from __future__ import annotations

import pytest

from streamae.batches import KeyState
from streamae.core.state_reasons import AT_A_WINDOW, PRIOR, REASONS, RULE, SCORES, of_many, of_one


def test_every_state_has_a_reason_and_only_ready_has_none() -> None:
    """A state without words would be a number that nobody can act on."""
    assert {state for state, _ in REASONS} == set(KeyState)
    assert [state for state, words in REASONS if not words] == [KeyState.READY]


def test_a_state_at_a_window_has_a_reason_of_that_state() -> None:
    """No event says one state and the reason of another."""
    assert {state: REASONS[reason][0] for state, reason in AT_A_WINDOW.items()} == {state: state for state in KeyState}


@pytest.mark.parametrize(
    ("state", "count", "words"),
    [
        (KeyState.LEARNING, 12, "no verdict until it has 64 scores of its own (12 so far)"),
        (KeyState.LEARNING, 64, "no verdict: its scores are too few for threshold.rule"),
        (KeyState.PROVISIONAL, 0, "judged by the training data until it has 64 scores of its own (0 so far)"),
        (KeyState.READY, 640, ""),
        (KeyState.RESUMING, 640, "back after a gap: its window has just filled anew"),
        (KeyState.STARVED, 3, "too many values are missing for any window to be scored: window.max_imputed_share"),
    ],
)
def test_one_key_is_told_how_far_it_is(state: KeyState, count: int, words: str) -> None:
    """A person on call reads what it waits for, in numbers, and never that a key with enough scores has too few."""
    assert of_one(state, count, 64) == words


def test_of_many_keys_the_setting_is_named() -> None:
    """They have come unequally far: what they all need is a setting, and no place stays open in the sentence."""
    assert of_many(SCORES) == "no verdict until they have threshold.min_windows scores of their own"
    assert of_many(PRIOR) == "judged by the training data until they have threshold.min_windows scores of their own"
    assert not any(set("{}") & set(of_many(reason)) for reason in range(len(REASONS)))


@pytest.mark.parametrize(
    ("state", "count", "reason"),
    [(KeyState.LEARNING, 1, SCORES), (KeyState.LEARNING, 64, RULE), (KeyState.PROVISIONAL, 1, PRIOR)],
)
def test_an_event_uses_the_words_of_the_status(state: KeyState, count: int, reason: int) -> None:
    """Who knows one knows the other: but for the number the sentences differ in whom they are about."""
    one = of_one(state, count, 64).removesuffix(f" ({count} so far)")
    many = of_many(reason).replace("they have", "it has").replace("their", "its")
    assert one == many.replace("threshold.min_windows", "64")
