"""Fields that are no features: which records are meant at all, labels, and keys inside of a JSON Kafka key.

Must not know: features, times, or what is done with a record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np

from streamae.batches import Flags
from streamae.connectors.record_type import Leaf, record_type, split_path

KAFKA_KEY = "$key."  # begin of a key field that lies in the Kafka key, which is JSON
FALSE_WORDS = frozenset({"", "false", "no", "n", "f", "normal", "benign", "ok", "nan", "null", "none"})


class OnlyFields:
    """Which records are meant, by the text of some of their fields (`input.only`)."""

    def __init__(self, only: Mapping[str, str | tuple[str, ...]]) -> None:
        self.leaves = [Leaf(path, f"only_{i}", Any, None) for i, path in enumerate(only)]
        self._wanted = [frozenset((text,) if isinstance(text, str) else text) for text in only.values()]
        kind, places = record_type([(split_path(leaf.path), leaf) for leaf in self.leaves])
        self._parse: Callable[[bytes], Any] = msgspec.json.Decoder(kind).decode
        self._get = [attrgetter(places[leaf.attribute]) for leaf in self.leaves]

    def others(self, columns: Sequence[Sequence[Any]]) -> Iterator[int]:
        """Yield the indices of records that are not meant; `columns`: N cells of each field."""
        for wanted, column in zip(self._wanted, columns, strict=True):
            yield from (i for i, cell in enumerate(column) if as_text(cell) not in wanted)

    def excludes(self, value: bytes) -> bool:
        """Tell whether a message that cannot be used is not meant anyway."""
        if not self.leaves:
            return False
        try:
            record = self._parse(value)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return False
        return any(True for _ in self.others([[get(record)] for get in self._get]))


class KafkaKeyField:
    """One field of a JSON Kafka key."""

    def __init__(self, path: str) -> None:
        kind, places = record_type([(split_path(path), Leaf(path, "key", str | int | None, None))])
        self._parse: Callable[[bytes], Any] = msgspec.json.Decoder(kind).decode
        self._get = attrgetter(places["key"])

    @classmethod
    def of(cls, key_field: str | None) -> KafkaKeyField | None:
        """Return the field that `input.key_field` means; None where it is no field of the Kafka key."""
        is_one = key_field is not None and key_field.startswith(KAFKA_KEY)
        return cls(key_field.removeprefix(KAFKA_KEY)) if is_one and key_field is not None else None

    def read(self, key: bytes | None) -> Any:
        """Return the key, None where there is none."""
        if key is None:
            return None
        try:
            return self._get(self._parse(key))
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None


def as_text(cell: Any) -> str | None:
    """Return a cell as people write it in settings; None where there is nothing.

    Example:
        >>> as_text(True), as_text(3), as_text(None)
        ('true', '3', None)
    """
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return None if cell is None else str(cell)


def truths(cells: Sequence[Any]) -> Flags:
    """Return (N,) bool of labels: anything but zero, no, and nothing is an anomaly.

    Example:
        >>> truths([0, 1.0, "0", "true", None, "attack"]).tolist()
        [False, True, False, True, False, True]
    """
    words = [(as_text(cell) or "").strip().lower() for cell in cells]
    is_true = {word: word not in FALSE_WORDS and not _is_zero(word) for word in set(words)}
    return np.array([is_true[word] for word in words], np.bool_)


def _is_zero(word: str) -> bool:
    try:
        return float(word) == 0
    except ValueError:
        return False
