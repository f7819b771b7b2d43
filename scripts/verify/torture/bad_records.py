"""Records that no detector can use, of every kind that people and programs make, each with the reason it must get.

A bad record is made from the newest good record of its key, so that nothing but its fault tells it from the next one.
Odd records beside them look broken and are not: each says the same as the good record it is made from.
Must not know: how records are decoded.
"""

from __future__ import annotations

import base64
import gzip
import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from scripts.verify.torture.workload import FEATURES, STEP_MS

REJECTED_IF_MISSING = FEATURES[-1]  # window.missing_overrides of the workers: this feature has the policy `reject`
MAX_RECORD_BYTES, MAX_KEY_BYTES = 262_144, 256  # input.max_record_bytes and max_key_bytes of the workers
HUGE_BYTES = 10_000_000  # at least
DAY_MS = 86_400_000

Entry = tuple[bytes | None, bytes | None]  # key and value
Make = Callable[["Place", Random], "Entry | bytes | None"]


@dataclass(frozen=True)
class Place:
    """Where a bad record goes: behind this good record of its key.

    Attributes:
        key: record key.
        content: of the newest good record of the key; its time is under `ts`.
        now_ms: processing time, for times in the future.
    """

    key: bytes
    content: Mapping[str, Any]
    now_ms: int

    def text(self, *, after_ms: int = 1, **fields: Any) -> str:
        """Return a good record a little later, with `fields` replaced or, when `...`, left out."""
        content = {**self.content, "ts": self.content["ts"] + after_ms, **fields}
        return json.dumps({name: value for name, value in content.items() if value is not ...})

    def raw(self, **fields: str) -> str:
        """Return the same with fields replaced by JSON text, right or wrong."""
        marks = {name: f"<{name}>" for name in fields}
        text = self.text(after_ms=1, **marks)
        for name, mark in marks.items():
            text = text.replace(json.dumps(mark), fields[name])
        return text


@dataclass(frozen=True)
class Kind:
    """One way of being unusable.

    Attributes:
        name: for people.
        reason: what the dead letter must say.
        make: returns the value, or key and value.
        weight: how often it comes, compared with others; the large ones are rare.
    """

    name: str
    reason: str
    make: Make
    weight: float = 1.0

    def entry(self, place: Place, random: Random) -> Entry:
        """Return one bad record for this place."""
        made = self.make(place, random)
        return made if isinstance(made, tuple) else (place.key, made)


A, B = FEATURES


def _set(name: str, value: Any) -> Make:
    """Return the record with one field replaced."""
    return lambda place, _random: place.text(**{name: value}).encode()


def _raw(name: str, text: str) -> Make:
    """Return the record with one field replaced by JSON text."""
    return lambda place, _random: place.raw(**{name: text}).encode()


def _value(value: bytes | None) -> Make:
    return lambda _place, _random: value


def _around(before: bytes = b"", after: bytes = b"", encoding: str = "utf-8") -> Make:
    """Return a good record with something before or after it, or in another encoding."""
    return lambda place, _random: before + place.text().encode(encoding) + after


def _padded(size: int) -> Make:
    """Return a good record blown up by a field nobody asked for to more than `size` bytes."""
    return lambda place, _random: place.text(note="x" * size).encode()


def _incompressible(size: int) -> Make:
    """Return a good record blown up by more than `size` bytes that no compression makes much smaller."""
    return lambda place, random: place.text(note=base64.b64encode(random.randbytes(size)).decode()).encode()


def _binary(_place: Place, random: Random) -> bytes:
    """Return what a producer with another serialiser writes."""
    return b"\x00" + struct.pack(">I", random.randrange(1_000)) + random.randbytes(40)


NOT_JSON = [
    Kind("empty value", "not_json", _value(b"")),
    Kind("blank value", "not_json", _value(b" \n")),
    Kind("zero byte", "not_json", _value(b"\x00")),
    Kind("invalid UTF-8", "not_json", _value(b"\xff\xfe{")),
    Kind("overlong UTF-8", "not_json", _around(after=b"\xc0\x80")),
    Kind(
        "invalid UTF-8 in an unread field", "not_json", lambda p, _: p.raw(note='"?"').encode().replace(b"?", b"\xe9")
    ),
    Kind("UTF-16", "not_json", _around(encoding="utf-16")),
    Kind("two byte order marks", "not_json", _around(before=b"\xef\xbb\xbf\xef\xbb\xbf")),
    Kind("lone surrogate in an unread field", "not_json", _raw("note", '"\\ud800"')),
    Kind("lone surrogate in the time", "not_json", _raw("ts", '"\\udfff"')),
    Kind("cut off", "not_json", lambda p, r: p.text().encode()[: r.randrange(1, len(p.text()))]),
    Kind("trailing text", "not_json", _around(after=b"x")),
    Kind("two records in one", "not_json", lambda p, _: (p.text() * 2).encode()),
    Kind("depth bomb", "not_json", _value(b'{"x":' + b"[" * 100_000), 0.1),
    Kind("depth bomb that is closed", "not_json", _raw("note", "[" * 50_000 + "]" * 50_000), 0.1),
    Kind("array", "not_json", lambda p, _: b"[" + p.text().encode() + b"]"),
    Kind("text", "not_json", lambda p, _: json.dumps(p.text()).encode()),
    Kind("number", "not_json", _value(b"17")),
    Kind("boolean", "not_json", _value(b"true")),
    Kind("null", "not_json", _value(b"null")),
    Kind("single quotes", "not_json", lambda p, _: p.text().replace('"', "'").encode()),
    Kind("comment", "not_json", _around(after=b" // ok")),
    Kind("trailing comma", "not_json", lambda p, _: p.text().encode()[:-1] + b",}"),
    Kind("hexadecimal number", "not_json", _raw(A, "0x1f")),
    Kind("leading zero", "not_json", _raw(A, "007")),
    Kind("control character in text", "not_json", _raw("note", '"\x01"')),
    Kind("compressed", "not_json", lambda p, _: gzip.compress(p.text().encode(), 1, mtime=0)),
    Kind("binary", "not_json", _binary),
    Kind("CSV", "not_json", lambda p, _: ",".join(map(str, p.content.values())).encode()),
]

WRONG_VALUES = [
    Kind("NaN", "not_finite", _raw(A, "NaN")),
    Kind("Infinity", "not_finite", _raw(A, "Infinity")),
    Kind("-Infinity", "not_finite", _raw(B, "-Infinity")),
    Kind("1e999", "not_finite", _raw(A, "1e999")),
    Kind("beyond float32", "not_finite", _raw(A, "1e39")),
    Kind("a number of 400 digits", "not_finite", _raw(B, "9" * 400)),
    Kind("numeric text", "wrong_type", _set(A, "30.0")),
    Kind("text for a number", "wrong_type", _set(B, "n/a")),
    Kind("object for a number", "wrong_type", _set(A, {"value": 1})),
    Kind("array for a number", "wrong_type", _set(B, [1.0])),
    Kind("the same field twice, second one wrong", "wrong_type", lambda p, _: _twice(p, '"x"')),
    Kind("missing field", "missing_feature", _set(REJECTED_IF_MISSING, ...)),
    Kind("null field", "missing_feature", _set(REJECTED_IF_MISSING, None)),
    Kind("no feature at all", "missing_feature", lambda p, _: json.dumps({"ts": p.content["ts"] + 1}).encode()),
]

WRONG_TIMES = [
    Kind("no time", "missing_time", _set("ts", ...)),
    Kind("null time", "missing_time", _set("ts", None)),
    Kind("empty object", "missing_time", _value(b"{}")),
    Kind("array for the time", "wrong_type", lambda p, _: p.text(ts=[p.content["ts"]]).encode()),
    Kind("boolean for the time", "wrong_type", _set("ts", True)),
    Kind("unreadable time", "bad_time", _set("ts", "yesterday")),
    Kind("time as digits in text", "bad_time", lambda p, _: p.text(ts=str(p.content["ts"])).encode()),
    Kind("negative time", "bad_time", _set("ts", -5)),
    Kind("time in the far future", "bad_time", lambda p, _: p.text(ts=p.now_ms + 30 * DAY_MS).encode()),
    Kind("time beyond all calendars", "bad_time", _raw("ts", "9" * 30)),
    Kind("time 1e999", "bad_time", _raw("ts", "1e999")),
    Kind("late", "late", lambda p, _: p.text(after_ms=-3 * STEP_MS).encode()),
    Kind("the same again", "duplicate", lambda p, _: p.text(after_ms=0).encode()),
    Kind("the same again with another note", "duplicate", lambda p, _: p.text(after_ms=0, note="again").encode()),
    Kind("something else at the same time", "equal_time", lambda p, _: p.text(after_ms=0, **{A: 30}).encode()),
]

WRONG_SIZES = [
    Kind("tombstone", "tombstone", _value(None)),
    Kind("just over the limit", "too_large", _padded(MAX_RECORD_BYTES), 0.02),
    Kind("no key", "missing_key", lambda p, _: (None, p.text().encode())),
    Kind("key just over the limit", "key_too_large", lambda p, _: (b"k" * (MAX_KEY_BYTES + 1), p.text().encode())),
    Kind("huge key", "key_too_large", lambda p, r: (r.randbytes(100_000), p.text().encode()), 0.05),
    Kind("one key too many", "too_many_keys", lambda p, r: (b"stranger-%d" % r.randrange(10**9), p.text().encode())),
]

KINDS = [*NOT_JSON, *WRONG_VALUES, *WRONG_TIMES, *WRONG_SIZES]
HUGE = Kind(
    "10 MB", "too_large", _incompressible(HUGE_BYTES)
)  # a few of these a run, whatever the number of the others

WRONG_ARRAYS = [  # for records whose features are one array, in a field of this name
    Kind("array too short", "wrong_length", _set("values", [1.0])),
    Kind("array too long", "wrong_length", _set("values", [1.0] * 3)),
    Kind("empty array", "wrong_length", _set("values", [])),
    Kind("text in the array", "wrong_type", _set("values", [1.0, "2"])),
    Kind("number for the array", "wrong_type", _set("values", 1.0)),
    Kind("null for the array", "missing_feature", _set("values", None)),
    Kind("no array", "missing_feature", _set("values", ...)),
    Kind("infinite in the array", "not_finite", _raw("values", "[1.0, 1e999]")),
]


def _twice(place: Place, second: str) -> bytes:
    """Return a record in which one field stands twice."""
    return place.text().encode()[:-1] + f', "{A}": {second}}}'.encode()


def odd(content: Mapping[str, Any], random: Random) -> bytes:
    """Return a record that looks unusual and says exactly what `content` says."""
    plain = json.dumps(dict(content))
    first = next(iter(content))
    return random.choice([
        plain.encode() + b" \r\n\t",
        plain.replace(f'"{first}"', '"' + "".join(f"\\u{ord(letter):04x}" for letter in first) + '"').encode(),
        (f'{{"{A}": 77, ' + plain[1:]).encode(),  # of two the last counts
        (plain[:-1] + ', "note": "\\ud83d\\ude00 \u00e9", "x": [[[[1e999, null, {}]]]]}').encode(),
        json.dumps(dict(reversed(list(content.items()))), indent=4).encode(),
        json.dumps({name: value * 1.0 if name in FEATURES else value for name, value in content.items()}).encode(),
    ])  # fmt: skip


def schedule(count: int, random: Random, kinds: list[Kind] | None = None, huge: int = 0) -> list[Kind]:
    """Return `count` kinds in random order: each of `kinds` at least once, `huge` times 10 MB, the rest by weight."""
    kinds = KINDS if kinds is None else kinds
    if count < len(kinds) + huge:
        raise ValueError(f"{count} records cannot hold {len(kinds) + huge} kinds")
    chosen = [*kinds, *[HUGE] * huge]
    chosen += random.choices(kinds, [kind.weight for kind in kinds], k=count - len(chosen))
    random.shuffle(chosen)
    return chosen
