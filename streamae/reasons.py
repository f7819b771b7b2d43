"""Why something is as it is, in closed sets: each is a metric label, a word of the log, and a line of the documentation.

Must not know: who finds out which of them holds.
"""

from __future__ import annotations

from enum import StrEnum

STARTS = {  # of a start: what it means, where somebody should know
    "first": "",
    "bootstrap": "",  # as first, with records before it that are read silently
    "clean": "",
    "replay": "",
    "long_replay": "state was not saved for long, or the committed offset was moved forward",
    "no_state": "the store holds nothing of this partition",
    "incomplete": "the store lost keys of this partition",
    "other_settings": "state was stored with another model, window or key layout",
    "moved_back": "the committed offset lies before the stored state: it was moved back",
    "state_expired": "the broker no longer keeps all records between the stored state and the committed offset",
    "truncated": "the log ends before the committed offset: the broker lost records",
    "expired": "the broker deleted records that were never processed",
    "recreated": "the topic is not the one the state came from: it was deleted and created again",
    "offsets_lost": "the group's offset is gone while stored state is there: it expired or was deleted",
}
LOUD_STARTS = frozenset(reason for reason, meaning in STARTS.items() if meaning)


class Problem(StrEnum):
    """What may be wrong with a store: a closed set, also a metric label."""

    EVICTS = "evicts"  # deletes keys when its memory is full
    NEARLY_FULL = "nearly_full"  # soon refuses to save
    REPLICA = "replica"  # refuses to save, and lags behind
    OLD = "old"  # scripts may be stopped half way
    HIDDEN = "hidden"  # does not say: this user may not ask
