"""Why something is as it is, in closed sets: each is a metric label, a word of the log, and a line of the documentation.

Must not know: who finds out which of them holds.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Explained(StrEnum):
    """A closed set of words, each with what it means in a sentence for people.

    Attributes:
        meaning: of the word.
    """

    meaning: str

    def __new__(cls, word: str, meaning: str = "") -> Self:
        """Make a member that equals its word."""
        member = str.__new__(cls, word)
        member._value_ = word
        member.meaning = meaning
        return member


class Reason(Explained):
    """Why a record became a dead letter."""

    NOT_JSON = "not_json", "not decodable as JSON, or not an object"
    WRONG_TYPE = "wrong_type", "a field has another type than configured"
    TOO_LARGE = "too_large", "the value is longer than input.max_record_bytes"
    TOMBSTONE = "tombstone", "there is no value at all"
    MISSING_KEY = "missing_key", "neither the key field nor the Kafka key is there"
    KEY_TOO_LARGE = "key_too_large", "the key is longer than input.max_key_bytes"
    MISSING_TIME = "missing_time", "there is no event time"
    BAD_TIME = "bad_time", "the event time cannot be read, lies before input.min_time_ms or too far in the future"
    MISSING_FEATURE = "missing_feature", "a feature is absent and its policy is reject"
    NOT_FINITE = "not_finite", "a value is NaN, infinite, or beyond 1e30 in size"
    WRONG_LENGTH = "wrong_length", "the array of values has another length than the features"
    UNKNOWN_FEATURE = "unknown_feature", "long layout: the name is that of no feature"
    LATE = "late", "event time is before the newest of this key"
    DUPLICATE = "duplicate", "it says the same as a record of this key at its newest event time"
    EQUAL_TIME = "equal_time", "it says something else than the record of this key at its newest event time"
    CLOCK_JUMP = "clock_jump", "event time is further ahead than window.max_jump_ms, and no other record confirms it"
    TOO_MANY_KEYS = "too_many_keys", "limits.max_keys reached and no key idle for long enough"


class Fruitless(Explained):
    """Why a record that was taken in comes to nothing."""

    STARVED = "starved", "too many values of its key are missing for any window to be scored"
    GAP = "gap", "its key falls silent each time before a window is full"
    BAD_VALUES = "bad_values", "half of its features or more are missing, since fields held no number"


REMEDIES: dict[Reason | Fruitless, str] = {  # where most records of a stream come to nothing: what to look at
    Reason.NOT_JSON: "look at input.topics: are these JSON objects, one a message, without a prefix?",
    Reason.WRONG_TYPE: "look at input.value_fields; numbers as text: input.numbers = text, a stray word in a field that"
    " is a number otherwise: input.missing_values, or input.bad_value = missing",
    Reason.TOO_LARGE: "look at input.topics, then raise input.max_record_bytes",
    Reason.TOMBSTONE: "look at input.topics: a compacted topic of deletions has nothing to score",
    Reason.MISSING_KEY: "set input.key_field to the field that names the device, or let the producer set the Kafka key",
    Reason.KEY_TOO_LARGE: "look at input.key_field: it should name a device; else raise input.max_key_bytes",
    Reason.MISSING_TIME: "look at input.time_field; unset, the Kafka timestamp is the event time",
    Reason.BAD_TIME: "look at input.time_field, input.time_unit, input.time_format, and at input.min_time_ms and"
    " input.max_future_ms",
    Reason.MISSING_FEATURE: "look at input.value_fields and input.layout; window.missing = previous bears holes",
    Reason.NOT_FINITE: "look at input.value_fields, and at what the producer writes where it has no value:"
    " input.missing_values, or input.bad_value = missing",
    Reason.WRONG_LENGTH: "look at input.value_fields: the array has other values than the bundle has features",
    Reason.UNKNOWN_FEATURE: "look at input.name_field and input.value_fields; input.unknown_features = ignore leaves"
    " records of other things out, input.only picks some by a field",
    Reason.LATE: "look at input.key_field (several devices under one key?), at input.time_field, and at a producer"
    " that sends the past again; records that overtake each other on the way: window.lateness_ms",
    Reason.DUPLICATE: "look at a producer, or a bridge before it, that sends records twice; records that look alike and"
    " are not the same: input.id_field tells them apart",
    Reason.EQUAL_TIME: "window.equal_time = keep takes each as a row; look at input.key_field (several devices under one"
    " key?); records of one moment that belong together: window.grid_ms; one metric a record: input.layout = long",
    Reason.CLOCK_JUMP: "look at the clock of the device; a key that is often silent for longer than that: raise"
    " window.max_jump_ms",
    Reason.TOO_MANY_KEYS: "look at input.key_field (is it a random number?), then raise limits.max_keys or add a process",
    Fruitless.STARVED: "look at input.value_fields and at the features that are missing; features that speak on change:"
    " window.missing = hold; rarer than window.grid_ms: a longer grid",
    Fruitless.GAP: "records are further apart than window.max_gap_ms: raise it, or look at input.time_unit",
    Fruitless.BAD_VALUES: "look at input.value_fields, input.numbers, input.decimal_mark and input.missing_values",
}


class CloseReason(Explained):
    """Why an episode was closed."""

    QUIET = "quiet", "back to normal"
    GAP = "gap", "the key fell silent"
    MAINTENANCE = "maintenance", "its alerts are suspended for a time"
    MUTED = "muted", "for good"
    SILENT = "silent", "the key has said nothing for too long, by the time of its stream"
    RETURNED = "returned", "a silent key is heard again"
    ENDED = "ended", "nobody waits for a silent key any longer"
    STATE_LOST = "state_lost", "what was stored of the key cannot be read"


STARTS = {  # of a start: what it means, where somebody should know
    "first": "",
    "bootstrap": "",  # as first, with records before it that are read silently
    "clean": "",
    "replay": "",
    "long_replay": "state was not saved for long, or the committed offset was moved forward",
    "no_state": "the store holds nothing of this partition",
    "incomplete": "the store lost keys of this partition",
    "other_settings": "state was stored with another model, or of rows or windows made otherwise",
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
