"""Words to numbers: the values of a category field that training knew, and buckets for all others.

Codec and training share this, so that a word has one code wherever it comes from. A code is the number of a column:
known values first, in their order, then the buckets; NaN = missing. Knows nothing about records or other fields.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np

from streamae.batches import Doubles

MAX_WORD = 64  # characters; longer values are never learnt, only hashed, so that names in events stay readable
NAN = float("nan")


class Vocabulary:
    """What training knew of one category field. Immutable.

    Example:
        >>> shop = Vocabulary("shop", ("bakery", "fuel"), buckets=1)
        >>> shop.codes(["fuel", None, "casino"]).tolist(), shop.names
        ([1.0, nan, 2.0], ('shop=bakery', 'shop=fuel', 'shop~other'))
    """

    def __init__(self, field: str, known: Sequence[str], buckets: int) -> None:
        """Fix the codes.

        Args:
            field: name of the field.
            known: values with a code of their own, in the order of the codes.
            buckets: codes that share all other values, chosen by a hash that is the same everywhere.

        Raises:
            ValueError: no bucket, or a known value is empty, too long or stands twice.
        """
        if buckets < 1:
            raise ValueError(f"category {field!r} has {buckets} buckets, at least 1 is needed")
        if len(set(known)) != len(known):
            raise ValueError(f"category {field!r}: a known value stands twice")
        if not all(0 < len(word) <= MAX_WORD for word in known):
            raise ValueError(f"category {field!r}: a known value is empty or longer than {MAX_WORD} characters")
        self.field, self.known, self.buckets = field, tuple(known), buckets

    @classmethod
    def learn(cls, field: str, words: Iterable[str | None], *, cap: int, buckets: int) -> Vocabulary:
        """Know the `cap` most frequent values of training data, equally frequent ones by name; None is none of them."""
        counts = Counter(word for word in words if word and len(word) <= MAX_WORD)
        kept = sorted(counts, key=lambda word: (-counts[word], word))[:cap]
        return cls(field, sorted(kept), buckets)

    def __len__(self) -> int:
        """Return the number of codes."""
        return len(self.known) + self.buckets

    @cached_property
    def names(self) -> tuple[str, ...]:
        """A feature's name for each code: `field=value`, then `field~other` or, of several, `field~other.1` and on."""
        others = [""] if self.buckets == 1 else [f".{number}" for number in range(1, self.buckets + 1)]
        return (*(f"{self.field}={word}" for word in self.known), *(f"{self.field}~other{end}" for end in others))

    def codes(self, values: Sequence[str | int | bool | None]) -> Doubles:
        """Return (N,) float64 codes; NaN for None and "". Integers and truth values count as the JSON text for them."""
        return np.fromiter(map(self._codes.__getitem__, values), np.float64, len(values))

    @cached_property
    def _codes(self) -> _Codes:
        return _Codes(self.known, self.buckets)


class _Codes(dict[str | int | bool | None, float]):
    """Code by value. Looking a value up never makes the dictionary grow, however many there are."""

    def __init__(self, known: Sequence[str], buckets: int) -> None:
        super().__init__({word: float(code) for code, word in enumerate(known)})
        self._first, self._buckets = len(known), buckets

    def __missing__(self, value: str | int | bool | None) -> float:
        if value is None or value == "":
            return NAN
        if not isinstance(value, str):
            return self[str(value).lower() if isinstance(value, bool) else str(value)]
        digest = hashlib.blake2s(value.encode("utf-8", "surrogatepass"), digest_size=4).digest()
        return float(self._first + int.from_bytes(digest, "little") % self._buckets)
