"""Record bytes in, columns out: JSON of the user's own shape becomes one `RecordBatch` per poll.

Every message is parsed on its own against a type generated from the field mapping, so a bad one harms no other;
numbers are converted once per batch. Whatever cannot be used comes back as `Rejected` with a reason, and no bytes
make `decode` raise. Of duplicate JSON keys the last wins; fields outside the mapping are ignored, but the message
must be valid UTF-8 and JSON as a whole. This module must not know where bytes come from, nor what a row is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from operator import attrgetter
from typing import Any, cast

import msgspec
import numpy as np

from streamae.batches import Doubles, Flags, Ints, Partition, RawRecord, RecordBatch, Rejected
from streamae.connectors.event_times import EARLIEST_MS, LATEST_MS, UNREADABLE, read_times
from streamae.connectors.value_layouts import CategoryValues, Findings, Leaf, value_layout
from streamae.errors import ConfigError
from streamae.reasons import Reason
from streamae.settings.data import InputSettings

MAX_SIZE = 1e30  # larger values are refused: beyond any measurement, and safely below the end of float32
MAX_DETAIL = 512

OUT_OF_RANGE = {"key": Reason.KEY_TOO_LARGE, "time": Reason.BAD_TIME, "category": Reason.WRONG_TYPE}
_CONSTANTS = (b"NaN", b"Infinity")  # written by JavaScript and Python although JSON has no such thing
_NAMED = 5  # features named one by one in a detail


class Codec:
    r"""Decodes records by a field mapping. Keeps nothing between calls.

    Fields are dotted paths into nested objects; `\.` is a dot that belongs to a name.

    Args:
        settings: the field mapping, and the bounds of what is taken. `value_fields`: wide: F fields in the features'
            order or, for F > 1, one field with an array of F numbers; long: the features' names as records spell them,
            in order; empty = the features' own names.
        features: F names of the numeric features, in the bundle's order.
        required: F + C flags: refuse a record in which this is absent or null; otherwise it becomes NaN.
        categories: C category fields, whose codes follow the F values; not for the long layout.

    Raises:
        ConfigError: the mapping contradicts itself or does not fit the features.
    """

    def __init__(
        self,
        settings: InputSettings,
        features: Sequence[str],
        required: Sequence[bool],
        categories: CategoryValues | None = None,
    ) -> None:
        self._settings, self._categories = settings, categories or CategoryValues((), ())
        self._features = (*features, *self._categories.names)
        self._required = np.flatnonzero(required)
        self._min_time_ms = max(settings.min_time_ms, EARLIEST_MS)
        self._is_long = settings.layout == "long"
        self._layout = value_layout(settings, features)
        key_field, time_field = settings.key_field, settings.time_field
        leaves = [Leaf(key_field, "key", str | int | None, None)] if key_field is not None else []
        if time_field is not None:
            leaves.append(Leaf(time_field, "time", int | float | str | None, None))
        leaves += self._layout.leaves + self._categories.leaves
        record_type, places = _record_type([(_split(leaf.path), leaf) for leaf in leaves])
        self._roles = {f"`$.{'.'.join(_split(leaf.path))}`": leaf.attribute for leaf in leaves}
        self._parse: Callable[[bytes], Any] = msgspec.json.Decoder(record_type).decode
        self._get_values = attrgetter(*(places[leaf.attribute] for leaf in self._layout.leaves))
        self._get_words = [attrgetter(places[leaf.attribute]) for leaf in self._categories.leaves]
        self._get_key = attrgetter(places.get("key", "__class__"))
        self._get_time = attrgetter(places.get("time", "__class__"))

    def decode(self, records: dict[Partition, Sequence[RawRecord]]) -> tuple[RecordBatch, list[Rejected]]:
        """Return the usable records as columns, in the given order, and the others with the reason.

        Never raises for any content of a record. Records of ignored feature names are in neither.
        """
        raws: list[RawRecord] = []
        partitions: list[Partition] = []
        parsed: list[Any] = []
        rejected: list[Rejected] = []
        for partition, of_partition in records.items():
            before = len(raws)
            clean = self._parse_clean(of_partition)
            if clean is None:
                self._parse_each(of_partition, raws, parsed, rejected)
            else:
                raws += of_partition
                parsed += clean
            partitions += repeat(partition, len(raws) - before)
        findings = Findings()
        keys = self._keys(raws, parsed, findings)
        times = self._times(raws, parsed, findings)
        values = self._values(parsed, findings)
        rejected += [
            Rejected(raws[i], reason, detail[:MAX_DETAIL])
            for i, (reason, detail) in findings.faults.items()
            if i not in findings.ignored
        ]
        return _batch(raws, partitions, keys, times, values, findings), rejected

    def _parse_clean(self, records: Sequence[RawRecord]) -> list[Any] | None:
        """Parse records that are all fine, several times as fast as one by one; None as soon as one may not be."""
        contents = [raw.value for raw in records]
        if None in contents:
            return None
        values = cast("list[bytes]", contents)
        if max(map(len, values), default=0) > self._settings.max_record_bytes or not b"".join(values).isascii():
            return None
        try:
            return list(map(self._parse, values))
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None

    def _parse_each(
        self, records: Sequence[RawRecord], raws: list[RawRecord], parsed: list[Any], rejected: list[Rejected]
    ) -> None:
        """Parse records one by one: those that can be parsed go to `raws` and `parsed`, the others to `rejected`."""
        parse, limit = self._parse, self._settings.max_record_bytes
        for raw in records:
            value = raw.value
            if value is None or len(value) > limit:
                rejected.append(self._refuse_size(raw))
                continue
            try:
                if not value.isascii():
                    value.decode()  # fields outside the mapping are skipped unread: check them here
                parsed.append(parse(value))
            except (msgspec.MsgspecError, ValueError, RecursionError) as error:
                rejected.append(self._refuse_content(raw, value, error))
            else:
                raws.append(raw)

    def _keys(self, raws: list[RawRecord], parsed: list[Any], findings: Findings) -> list[bytes]:
        """Return N keys; b"" where a record has none and is refused."""
        found: list[Any]
        if self._settings.key_field is None:
            found = [raw.key for raw in raws]
            missing = "the record has no Kafka key and input.key_field is not set"
        else:
            found = list(map(self._get_key, parsed))
            missing = f"the key field `{self._settings.key_field}` is absent or null"
        for i in _absent(found):
            findings.refuse(i, Reason.MISSING_KEY, missing)
            found[i] = b"" if self._settings.key_field is None else ""
        if self._settings.key_field is None:
            keys: list[bytes] = found
        elif set(map(type, found)) == {str}:
            keys = list(map(str.encode, found))
        else:
            keys = [str(key).encode() for key in found]
        if max(map(len, keys), default=0) > self._settings.max_key_bytes:
            for i in [i for i, key in enumerate(keys) if len(key) > self._settings.max_key_bytes]:
                detail = f"the key has {len(keys[i])} bytes, input.max_key_bytes is {self._settings.max_key_bytes}"
                findings.refuse(i, Reason.KEY_TOO_LARGE, detail)
        return keys

    def _times(self, raws: list[RawRecord], parsed: list[Any], findings: Findings) -> Ints:
        """Return (N,) int64 event times in ms; without meaning where the record is refused."""
        stamps = np.array([raw.timestamp for raw in raws], np.int64)
        if self._settings.time_field is None:
            times, absent = stamps, np.flatnonzero(stamps < 0).tolist()
            missing = "the record has no Kafka timestamp and input.time_field is not set"
        else:
            found = list(map(self._get_time, parsed))
            absent = _absent(found)
            for i in absent:
                found[i] = 0
            times = read_times(found, self._settings.time_unit)
            missing = f"the time field `{self._settings.time_field}` is absent or null"
        for i in absent:
            findings.refuse(i, Reason.MISSING_TIME, missing)
        bad = (times < self._min_time_ms) | (times > LATEST_MS)
        bad |= (stamps >= 0) & (times - np.clip(stamps, 0, LATEST_MS) > self._settings.max_future_ms)
        for i in np.flatnonzero(bad).tolist():
            findings.refuse(i, Reason.BAD_TIME, self._time_detail(int(times[i]), int(stamps[i])))
        return times

    def _time_detail(self, time_ms: int, stamp_ms: int) -> str:
        if time_ms == UNREADABLE:
            return f"`{self._settings.time_field}` is neither ISO 8601 nor a number of {self._settings.time_unit} before the year 10000"
        if time_ms < self._min_time_ms:
            return f"the event time is {self._min_time_ms - time_ms} ms before input.min_time_ms {self._min_time_ms}"
        if time_ms > LATEST_MS:
            return "the event time is after the year 9999"
        ahead = time_ms - stamp_ms
        return f"the event time is {ahead} ms past the Kafka timestamp, input.max_future_ms is {self._settings.max_future_ms}"

    def _values(self, parsed: list[Any], findings: Findings) -> Doubles:
        """Return (N, F + C) float64, NaN = missing; without meaning where the record is refused."""
        values = self._layout.read(map(self._get_values, parsed), len(parsed), findings)
        if self._get_words:
            columns = [list(map(get, parsed)) for get in self._get_words]
            values = np.concatenate([values, self._categories.read(columns)], axis=1)
        large = np.abs(values) > MAX_SIZE
        for i in _rows(large):
            named = self._named(np.flatnonzero(large[i]))
            findings.refuse(i, Reason.NOT_FINITE, f"larger than {MAX_SIZE:g} in size: {named}")
        if len(self._required) and not self._is_long:
            missing = np.isnan(values[:, self._required])
            for i in _rows(missing):
                named = self._named(self._required[missing[i]])
                findings.refuse(i, Reason.MISSING_FEATURE, f"absent or null, with policy reject: {named}")
        return values

    def _named(self, indices: Iterable[int]) -> str:
        names = [self._features[i] for i in indices]
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        return ", ".join(names[:_NAMED]) + more

    def _refuse_size(self, raw: RawRecord) -> Rejected:
        if raw.value is None:
            return Rejected(raw, Reason.TOMBSTONE, "the record has no value")
        detail = f"the value has {len(raw.value)} bytes, input.max_record_bytes is {self._settings.max_record_bytes}"
        return Rejected(raw, Reason.TOO_LARGE, detail)

    def _refuse_content(self, raw: RawRecord, value: bytes, error: Exception) -> Rejected:
        """Turn the parser's error into a reason; its text holds types, paths and positions, never content."""
        text = str(error)
        if isinstance(error, UnicodeDecodeError):
            return Rejected(raw, Reason.NOT_JSON, f"not UTF-8: {error.reason} at byte {error.start}")
        if isinstance(error, RecursionError):
            return Rejected(raw, Reason.NOT_JSON, "nested too deeply")
        if not isinstance(error, msgspec.ValidationError):
            position = re.search(r"\(byte (\d+)\)$", text)
            at = int(position[1]) if position else len(value)
            if value.startswith(_CONSTANTS, at):  # the minus of -Infinity is still a number to the parser
                return Rejected(raw, Reason.NOT_FINITE, f"NaN or Infinity, which JSON does not have, at byte {at}")
            return Rejected(raw, Reason.NOT_JSON, text)
        if " - at " not in text:
            return Rejected(raw, Reason.NOT_JSON, f"the value is not a JSON object: {text}")
        reason = Reason.WRONG_TYPE
        if "out of range" in text:
            role = self._roles.get(text.rpartition(" - at ")[2], "").partition("_")[0]
            reason = OUT_OF_RANGE.get(role, Reason.NOT_FINITE)
        elif "of length" in text:
            reason = Reason.WRONG_LENGTH
        return Rejected(raw, reason, text[:MAX_DETAIL])


def _batch(
    raws: list[RawRecord],
    partitions: list[Partition],
    keys: list[bytes],
    times: Ints,
    values: Doubles,
    findings: Findings,
) -> RecordBatch:
    """Build the batch of the records that were neither refused nor ignored."""
    dropped = findings.ignored.union(findings.faults)
    if dropped:
        kept = [i for i in range(len(raws)) if i not in dropped]
        raws, partitions = [raws[i] for i in kept], [partitions[i] for i in kept]
        keys, times, values = [keys[i] for i in kept], times[kept], values[kept]
    offsets = np.array([raw.offset for raw in raws], np.int64)
    return RecordBatch(raws, partitions, keys, offsets, times, values.astype(np.float32))


def _absent(column: list[Any]) -> list[int]:
    """Return the indices of None; quick for a column without any."""
    if type(None) not in set(map(type, column)):
        return []
    return [i for i, cell in enumerate(column) if cell is None]


def _rows(mask: Flags) -> list[int]:
    """Return the rows of (N, F) in which any is set; quick when none is, because F is short."""
    rows: list[int] = np.flatnonzero(mask.any(axis=1)).tolist() if mask.any() else []
    return rows


def _split(path: str) -> tuple[str, ...]:
    r"""Return the names of a dotted path.

    Example:
        >>> _split(r"body.cpu\.load")
        ('body', 'cpu.load')
    """
    return tuple(name.replace("\\.", ".") for name in re.split(r"(?<!\\)\.", path))


def _record_type(leaves: list[tuple[tuple[str, ...], Leaf]]) -> tuple[type[msgspec.Struct], dict[str, str]]:
    """Generate the type of a record (or of an object inside it), and the attribute path of each leaf.

    An absent or null inner object stands for one without any of its fields.

    Raises:
        ConfigError: two leaves share a path, or one lies inside the other.
    """
    branches: dict[str, list[tuple[tuple[str, ...], Leaf]]] = {}
    fields: list[tuple[str, Any, Any]] = []
    names: dict[str, str] = {}  # attribute -> name in the JSON, which need not be a Python identifier
    places: dict[str, str] = {}
    empties: list[tuple[str, msgspec.Struct]] = []
    for (name, *rest), leaf in leaves:
        if rest:
            branches.setdefault(name, []).append((tuple(rest), leaf))
        else:
            fields.append((leaf.attribute, leaf.type, leaf.default))
            names[leaf.attribute] = name
            places[leaf.attribute] = leaf.attribute
    for number, (name, inner) in enumerate(branches.items()):
        inner_type, inner_places = _record_type(inner)
        attribute = f"inner_{number}"
        fields.append((attribute, inner_type | None, None))
        names[attribute] = name
        places |= {leaf: f"{attribute}.{place}" for leaf, place in inner_places.items()}
        empties.append((attribute, inner_type()))

    def fill(record: msgspec.Struct) -> None:
        for attribute, empty in empties:
            if getattr(record, attribute) is None:
                setattr(record, attribute, empty)

    namespace = {"__post_init__": fill} if empties else {}
    try:
        return msgspec.defstruct("Record", fields, rename=names, namespace=namespace, gc=False), places
    except ValueError as error:  # two of one name, or a quote, backslash or control character in one
        raise ConfigError([f"input: {error} (fields: {', '.join(names.values())})"]) from error
