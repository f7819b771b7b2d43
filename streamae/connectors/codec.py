"""Record bytes in, columns out: JSON of the user's own shape becomes one `RecordBatch` per poll.

Every message is parsed on its own against a type generated from the field mapping, so a bad one harms no other;
numbers are converted once per batch. Only a message that this refuses is parsed again, leniently, and only where a
bad value is to cost no more than itself. Whatever cannot be used comes back as `Rejected` with a reason, and no bytes
make `decode` raise. Of duplicate JSON keys the last wins; fields outside the mapping are ignored, but the message
must be valid UTF-8 and JSON as a whole. This module must not know where bytes come from, nor what a row is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import repeat
from operator import attrgetter
from typing import Any, cast

import msgspec
import numpy as np

from streamae.batches import Doubles, Flags, Ints, Partition, RawRecord, RecordBatch, Rejected
from streamae.connectors.cell_values import MAX_SIZE, NumberRules
from streamae.connectors.record_times import RecordTimes
from streamae.connectors.record_type import Leaf, dotted, record_type, split_path
from streamae.connectors.repeated_hours import nearest
from streamae.connectors.side_fields import KafkaKeyField, OnlyFields, as_text, truths
from streamae.connectors.undecodable import refuse_content, refuse_size
from streamae.connectors.value_layouts import CategoryValues, Findings, value_layout
from streamae.reasons import Reason
from streamae.settings.data import InputSettings

__all__ = ["MAX_SIZE", "Codec"]

MAX_DETAIL = 512
MAX_ID = 256  # characters of a record's own id that are carried
BOM = b"\xef\xbb\xbf"  # some producers begin every text with it
_NAMED = 5  # features named one by one in a detail
_PARSE_ERRORS = (msgspec.MsgspecError, ValueError, RecursionError)


class Codec:
    r"""Decodes records by a field mapping. Keeps nothing between calls.

    Fields are dotted paths into nested objects; `\.` is a dot that belongs to a name.

    Args:
        settings: the field mapping, how cells are spelt, and the bounds of what is taken. `value_fields`: wide: F fields
            or, for F > 1, one field with an array of F numbers; long: the features' names as records spell them; which
            is which says `map_fields`, and a list that fits by its order only is taken so; empty = the features' names.
        features: F names of the numeric features, in the bundle's order.
        required: F + C flags: refuse a record in which this is absent or null; otherwise it becomes NaN.
        categories: C category fields, whose codes follow the F values; not for the long layout.
        has_labels: read `label_field` too; the live stream has no use for it.

    Raises:
        ConfigError: the mapping contradicts itself or does not fit the features.
    """

    def __init__(
        self,
        settings: InputSettings,
        features: Sequence[str],
        required: Sequence[bool],
        categories: CategoryValues | None = None,
        *,
        has_labels: bool = False,
    ) -> None:
        self._settings, self._categories = settings, categories or CategoryValues((), ())
        self._features = (*features, *self._categories.names)
        self._required = np.flatnonzero(required)
        self._record_times = RecordTimes(settings)
        self._is_long = settings.layout == "long"
        self._keeps_spoiled = settings.bad_value == "missing"
        rules = NumberRules.of(settings)
        self._is_typed = not rules.from_text  # the parser has seen to it that values are numbers
        self._layout = value_layout(settings, features, rules)
        self._only = OnlyFields(settings.only)
        self._kafka_key = KafkaKeyField.of(settings.key_field)
        leaves = [*self._named_leaves(has_labels=has_labels), *self._categories.leaves, *self._only.leaves]
        strict = [*leaves, *self._layout.leaves]
        kind, places = record_type([(split_path(leaf.path), leaf) for leaf in strict])
        self._roles = {f"`$.{dotted(leaf.path)}`": leaf.attribute for leaf in strict}
        self._parse: Callable[[bytes], Any] = msgspec.json.Decoder(kind).decode
        lenient = [*leaves, *(leaf._replace(type=leaf.lenient_type) for leaf in self._layout.leaves)]
        self._lenient_type, _ = record_type([(split_path(leaf.path), leaf) for leaf in lenient])
        self._parse_leniently: Callable[[bytes], Any] = msgspec.json.Decoder(self._lenient_type).decode
        self._get_values = attrgetter(*(places[leaf.attribute] for leaf in self._layout.leaves))
        self._get_words = [attrgetter(places[leaf.attribute]) for leaf in self._categories.leaves]
        self._get_only = [attrgetter(places[leaf.attribute]) for leaf in self._only.leaves]
        self._getters = {name: attrgetter(place) for name, place in places.items()}

    def _named_leaves(self, *, has_labels: bool) -> list[Leaf]:
        """Return the fields that are no features: key, time, date, label, id; those that are set."""
        settings, any_time = self._settings, int | float | str | None
        fields = [
            Leaf(None if self._kafka_key else settings.key_field, "key", str | int | None, None),
            Leaf(settings.time_field, "time", any_time, None),
            Leaf(settings.date_field, "date", str | None, None),
            Leaf(settings.label_field if has_labels else None, "label", Any, None),
            Leaf(settings.id_field, "id", Any, None),
        ]
        return [leaf for leaf in fields if leaf.path is not None]

    def decode(self, records: dict[Partition, Sequence[RawRecord]]) -> tuple[RecordBatch, list[Rejected]]:
        """Return the usable records as columns, in the given order, and the others with the reason.

        Never raises for any content of a record. Records of ignored feature names are in neither.
        """
        raws: list[RawRecord] = []
        partitions: list[Partition] = []
        parsed: list[Any] = []
        rejected: list[Rejected] = []
        findings = Findings(keeps_spoiled=self._keeps_spoiled, is_typed=self._is_typed)
        for partition, of_partition in records.items():
            before = len(raws)
            clean = self._parse_clean(of_partition)
            if clean is None:
                self._parse_each(of_partition, raws, parsed, rejected, findings)
            else:
                raws += of_partition
                parsed += clean
            partitions += repeat(partition, len(raws) - before)
        if self._get_only:
            findings.ignored.update(self._only.others([list(map(get, parsed)) for get in self._get_only]))
        keys = self._keys(raws, parsed, findings)
        times = self._times(raws, parsed, findings)
        values = self._values(parsed, findings)
        ids = self._ids(parsed)
        rejected += [
            Rejected(
                raws[i],
                reason,
                detail[:MAX_DETAIL],
                None if reason is Reason.MISSING_KEY else keys[i],
                None if ids is None else ids[i],
            )
            for i, (reason, detail) in findings.faults.items()
            if i not in findings.ignored
        ]
        labels = self._labels(parsed)
        offsets = np.array([raw.offset for raw in raws], np.int64)
        whole = RecordBatch(raws, partitions, keys, offsets, times, values, labels, ids)
        return _usable(whole, findings), rejected

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
        except _PARSE_ERRORS:
            return None

    def _parse_each(
        self,
        records: Sequence[RawRecord],
        raws: list[RawRecord],
        parsed: list[Any],
        rejected: list[Rejected],
        findings: Findings,
    ) -> None:
        """Parse records one by one: those that can be parsed go to `raws` and `parsed`, the others to `rejected`."""
        parse, limit = self._parse, self._settings.max_record_bytes
        for raw in records:
            value = raw.value
            if value is None or len(value) > limit:
                rejected.append(refuse_size(raw, limit))
                continue
            try:
                if not value.isascii():
                    value.decode()  # fields outside the mapping are skipped unread: check them here
                    value = value.removeprefix(BOM)
                parsed.append(parse(value))
            except _PARSE_ERRORS as error:
                if self._only.excludes(value):
                    findings.dropped += 1
                    continue
                is_text = not isinstance(error, UnicodeDecodeError)
                again = self._parse_again(value) if self._keeps_spoiled and is_text else None
                if again is None:
                    rejected.append(refuse_content(raw, value, error, self._roles))
                    continue
                findings.is_typed = False
                parsed.append(again)
            raws.append(raw)

    def _parse_again(self, value: bytes) -> Any:
        """Parse what was refused with any content of the features' fields; None where that does not help."""
        try:
            return self._parse_leniently(value)
        except _PARSE_ERRORS:
            try:  # NaN and Infinity, which Python and JavaScript write, and numbers that are as large
                return msgspec.convert(json.loads(value.decode()), self._lenient_type)
            except _PARSE_ERRORS:
                return None

    def _keys(self, raws: list[RawRecord], parsed: list[Any], findings: Findings) -> list[bytes]:
        """Return N keys; b"" where a record has none and is refused."""
        found: list[Any]
        field = self._settings.key_field
        if field is None:
            found = [raw.key for raw in raws]
            missing = "the record has no Kafka key and input.key_field is not set"
        elif self._kafka_key is not None:
            found = [self._kafka_key.read(raw.key) for raw in raws]
            missing = f"the Kafka key is no JSON with `{field}`"
        else:
            found = list(map(self._getters["key"], parsed))
            if not self._is_typed:  # an empty cell of a table is no key
                found = [None if key == "" else key for key in found]
            missing = f"the key field `{field}` is absent or null"
        for i in _absent(found):
            findings.refuse(i, Reason.MISSING_KEY, missing)
            found[i] = b"" if field is None else ""
        if field is None:
            keys: list[bytes] = found
        elif set(map(type, found)) == {str}:
            keys = _encoded(found)
        else:
            keys = _encoded(list(map(str, found)))
        if max(map(len, keys), default=0) > self._settings.max_key_bytes:
            for i in [i for i, key in enumerate(keys) if len(key) > self._settings.max_key_bytes]:
                detail = f"the key has {len(keys[i])} bytes, input.max_key_bytes is {self._settings.max_key_bytes}"
                findings.refuse(i, Reason.KEY_TOO_LARGE, detail)
        return keys

    def _times(self, raws: list[RawRecord], parsed: list[Any], findings: Findings) -> Ints:
        """Return (N,) int64 event times in ms; without meaning where the record is refused."""
        stamps = np.array([raw.timestamp for raw in raws], np.int64)
        cells = None
        if self._settings.time_field is None:
            times, absent = stamps, np.flatnonzero(stamps < 0).tolist()
        else:
            get_date = self._getters.get("date")
            dates = None if get_date is None else list(map(get_date, parsed))
            cells = self._record_times.cells(list(map(self._getters["time"], parsed)), dates)
            earlier, later, absent = self._record_times.read(cells)
            times = nearest(earlier, later, stamps)
        for i in absent:
            findings.refuse(i, Reason.MISSING_TIME, self._record_times.missing)
        for i, (reason, detail) in self._record_times.faults(times, stamps, cells):
            findings.refuse(i, reason, detail)
        return times

    def _values(self, parsed: list[Any], findings: Findings) -> Doubles:
        """Return (N, F + C) float64, NaN = missing; without meaning where the record is refused."""
        values = self._layout.read(map(self._get_values, parsed), findings)
        if self._get_words:
            columns = [list(map(get, parsed)) for get in self._get_words]
            values = np.concatenate([values, self._categories.read(columns)], axis=1)
        large = np.abs(values) > MAX_SIZE
        for i in _rows(large):
            columns_ = np.flatnonzero(large[i])
            detail = f"larger than {MAX_SIZE:g} in size: {self._named(columns_)}"
            for column in columns_.tolist():
                findings.spoil(i, self._features[column], Reason.NOT_FINITE, detail)
            values[i, columns_] = np.nan
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

    def _labels(self, parsed: list[Any]) -> Flags | None:
        get = self._getters.get("label")
        return None if get is None else truths(list(map(get, parsed)))

    def _ids(self, parsed: list[Any]) -> list[str | None] | None:
        """Return N ids, None where a record has none; None where nobody asks for them."""
        get = self._getters.get("id")
        return None if get is None else list(map(_id, map(get, parsed)))


def _id(cell: Any) -> str | None:
    """Return a record's own id as text that can be written anywhere; None where there is none."""
    return (as_text(cell) or "")[:MAX_ID].encode(errors="backslashreplace").decode() or None


def _encoded(keys: list[str]) -> list[bytes]:
    """Return keys as bytes; half a surrogate pair, which JSON may hold, stays what it is."""
    try:
        return list(map(str.encode, keys))
    except UnicodeEncodeError:
        return [key.encode(errors="surrogatepass") for key in keys]


def _usable(whole: RecordBatch, findings: Findings) -> RecordBatch:
    """Return the records that were neither refused nor ignored, and what was found of all."""
    if findings.spoiled:
        is_spoiled = np.zeros(len(whole), np.bool_)
        is_spoiled[list(findings.spoiled)] = True
        whole = replace(whole, is_spoiled=is_spoiled, bad_values=findings.bad_values())
    dropped = findings.ignored.union(findings.faults)
    if dropped:
        whole = whole.take(np.array([i for i in range(len(whole)) if i not in dropped], np.int64))
    ignored = len(findings.ignored) + findings.dropped
    return replace(whole, ignored=ignored) if ignored else whole


def _absent(column: list[Any]) -> list[int]:
    """Return the indices of None; quick for a column without any."""
    if type(None) not in set(map(type, column)):
        return []
    return [i for i, cell in enumerate(column) if cell is None]


def _rows(mask: Flags) -> list[int]:
    """Return the rows of (N, F) in which any is set; quick when none is, because F is short."""
    rows: list[int] = np.flatnonzero(mask.any(axis=1)).tolist() if mask.any() else []
    return rows
