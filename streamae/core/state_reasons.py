"""Why keys are not ready, in words: the one place for what `streamae status` says of many keys and an event of one.

Must not know who is told, nor how it is found out which of the reasons holds.
"""

from __future__ import annotations

from streamae.batches import KeyState

REASONS: tuple[tuple[KeyState, str], ...] = (  # by their number below
    (KeyState.LEARNING, "{their} first window is filling"),
    (KeyState.LEARNING, "{their} own level is not known yet: features.scaling = key"),
    (KeyState.LEARNING, "no verdict until {they_have} {needed} scores of {their} own"),
    (KeyState.LEARNING, "no verdict: {their} scores are too few for threshold.rule"),
    (KeyState.PROVISIONAL, "{their} first window is filling"),
    (KeyState.PROVISIONAL, "judged by the training data until {they_have} {needed} scores of {their} own"),
    (KeyState.READY, ""),
    (KeyState.RESUMING, "back after a gap: {their} window is filling anew"),
    (KeyState.RESUMING, "back after a gap: {their} window has just filled anew"),
    (KeyState.STARVED, "too many values are missing for any window to be scored: window.max_imputed_share"),
)
FIRST, LEVEL, SCORES, RULE, FIRST_OF_PRIOR, PRIOR, READY, REFILLING, RESUMED, STARVED = range(len(REASONS))
AT_A_WINDOW = {  # of a key that has a full one now
    KeyState.LEARNING: SCORES,
    KeyState.PROVISIONAL: PRIOR,
    KeyState.READY: READY,
    KeyState.RESUMING: RESUMED,
    KeyState.STARVED: STARVED,
}


def of_many(reason: int) -> str:
    """Return the words of a reason, by its number, for the keys it holds for; "" where they are ready.

    Example:
        >>> of_many(SCORES)
        'no verdict until they have threshold.min_windows scores of their own'
    """
    return REASONS[reason][1].format(their="their", they_have="they have", needed="threshold.min_windows")


def of_one(state: KeyState, count: int, needed: int) -> str:
    """Return why a key with a full window is not ready; "" where it is.

    Args:
        state: of the key at this window.
        count: scores that it has learnt so far.
        needed: with how many it is ready.

    Example:
        >>> of_one(KeyState.PROVISIONAL, 12, 64)
        'judged by the training data until it has 64 scores of its own (12 so far)'
    """
    reason = AT_A_WINDOW[state]
    if reason == SCORES and count >= needed:
        reason = RULE
    words = REASONS[reason][1].format(their="its", they_have="it has", needed=needed)
    return f"{words} ({count} so far)" if reason in (SCORES, PRIOR) else words
