"""The tables of refused records in docs/errors.md, made of the closed sets of reasons.

`python -m scripts.settings_table` writes them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from streamae.reasons import REMEDIES, Fruitless, Reason

CAUSES: dict[Reason | Fruitless, str] = {  # what it mostly is, where somebody meets it for the first time
    Reason.NOT_JSON: "the topic holds Avro or Protobuf (byte 0 in front: a registry's framing), plain text, or an array"
    " of records",
    Reason.WRONG_TYPE: "numbers written as text, `n/a` where there is no value, a path that ends at an object or a list",
    Reason.TOO_LARGE: "another kind of message in the same topic, or many readings in one message",
    Reason.TOMBSTONE: "deletions in a compacted topic",
    Reason.MISSING_KEY: "the producer sets no key, and no field is named",
    Reason.KEY_TOO_LARGE: "the key is a whole object, or a text that somebody typed",
    Reason.MISSING_TIME: "records of another kind, or the time stands under another path",
    Reason.BAD_TIME: "another unit, a form of text that can be read in two ways, a device whose clock is not set",
    Reason.MISSING_FEATURE: "records of another kind, or with one metric each; a sensor that is away under"
    " `window.missing = reject`",
    Reason.NOT_FINITE: "NaN or infinity where there is no value, or a register read as the wrong kind of number",
    Reason.WRONG_LENGTH: "the array gained or lost a value since training",
    Reason.UNKNOWN_FEATURE: "the topic carries more metrics than were trained",
    Reason.LATE: "several devices under one key, a producer that repeats the past, partitions that were joined, records"
    " that overtake each other on the way",
    Reason.DUPLICATE: "a producer that sends again what it is not sure of, a file that was read twice",
    Reason.EQUAL_TIME: "`window.equal_time` is not `keep`: several transactions or readings of one moment, times cut to"
    " the second, several devices under one key",
    Reason.CLOCK_JUMP: "a device whose clock ran away or was set wrongly; the first record after a long pause of all keys",
    Reason.TOO_MANY_KEYS: "the key is a session or an order, not a device",
    Fruitless.STARVED: "a sensor that is away for good, tags that speak on change, a grid that is too fine",
    Fruitless.GAP: "trained on a faster stream than is served",
    Fruitless.BAD_VALUES: "another spelling of numbers than in training",
}
_SETTING = re.compile(r"\b(?:input|window|limits)\.[a-z_]+(?: = [a-z_]+)?")


def dead_letters_table() -> str:
    """Return why records are refused: what is wrong, what it mostly is, what to look at."""
    return _table("reason", Reason)


def fruitless_table() -> str:
    """Return why records that are taken come to nothing, in the same way."""
    return _table("word", Fruitless)


def _table(title: str, words: Iterable[Reason | Fruitless]) -> str:
    rows = [
        f"| `{word}` | {_coded(word.meaning)} | {_coded(CAUSES[word])} | {_coded(REMEDIES[word])} |" for word in words
    ]
    return "\n".join([f"| {title} | what is wrong | mostly | what to do |", "|---|---|---|---|", *rows])


def _coded(text: str) -> str:
    """Set the settings in a sentence in backquotes, if none stand there yet."""
    return text if "`" in text else _SETTING.sub(lambda found: f"`{found[0]}`", text)
