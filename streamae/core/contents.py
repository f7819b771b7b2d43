"""What a record says, in 64 bits: two records of one time with equal digests are one record that came twice.

Content is the decoded values, codes of categories and, where records have ids of their own, the id: not how it was
spelt, nor where it stood. Must not know keys, times, or what becomes of a repeated record.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from streamae.batches import Digests, Doubles

CHUNK, CELLS = 2_048, 16_384  # most records and values looked at at once: what fits into a processor's cache
GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # odd: steps of it visit all 64-bit numbers


def contents_of(values: Doubles, ids: Sequence[str | None] | None = None) -> Digests:
    """Return the digests (N,) uint64 of records, never 0; equal bits on every machine, so that they can be stored.

    Args:
        values: (N, I) inputs, which count as float64; all NaN are one missing value, and -0 is 0.
        ids: N own ids, None where a record has none; None = nobody asked for them.

    Example:
        >>> same = contents_of(np.array([[0.0, np.nan], [-0.0, -np.nan], [np.nan, 0.0]]))
        >>> bool(same[0] == same[1]), bool(same[0] == same[2])
        (True, False)
    """
    found, salts = np.zeros(len(values), dtype=np.uint64), _salts(values.shape[1])
    size = min(CHUNK, max(1, CELLS // values.shape[1]))
    for start in range(0, len(values), size):
        some = slice(start, start + size)
        plain = np.add(values[some].T, 0.0, dtype=np.float64, order="C")  # (I, n): sums down columns are quick
        plain[np.isnan(plain)] = np.nan
        bits = plain.view(np.uint64)
        bits += salts
        of_all = np.add.reduce(_mix(bits), axis=0)
        if ids is not None:
            of_all += _of_texts(ids[some])
        found[some] = _mix(of_all)
    return np.maximum(found, np.uint64(1), out=found)


def _of_texts(texts: Sequence[str | None]) -> Digests:
    """Return a digest (N,) of each text: a sum over its letters, each mixed with its place."""
    ended = ["\0" if text is None else text + "\n" for text in texts]  # never empty, and none is not ""
    letters = np.frombuffer("".join(ended).encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64)
    lengths = np.fromiter(map(len, ended), dtype=np.int64, count=len(ended))
    starts = np.cumsum(lengths) - lengths
    places = np.arange(1, len(letters) + 1, dtype=np.uint64)
    places -= np.repeat(starts.astype(np.uint64), lengths)
    places *= GOLDEN
    letters += places
    return _mix(np.add.reduceat(_mix(letters), starts) + GOLDEN)


@cache
def _salts(columns: int) -> Digests:
    """Return a number (I, 1) for each column, so that the same values in another order are another content."""
    found = _mix(np.arange(1, columns + 1, dtype=np.uint64)[:, None] * GOLDEN)
    found.setflags(write=False)  # they are shared
    return found


def _mix(numbers: Digests) -> Digests:
    """Make each number, in place, one of which each bit depends on all bits of what it was.

    Reference:
        Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", the finaliser of SplitMix64.
    """
    shifted = np.empty_like(numbers)
    for bits, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        np.right_shift(numbers, np.uint64(bits), out=shifted)
        numbers ^= shifted
        numbers *= np.uint64(factor)
    return numbers
