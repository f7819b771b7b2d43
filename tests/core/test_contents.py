"""Digests of what records say: equal where they say the same, in whatever batch they come, and never the digest of none."""

from __future__ import annotations

import itertools

import numpy as np

from streamae.core.contents import CHUNK, contents_of
from tests.core_batches import NAN

IDS = ["a", "b", "ab", "ba", "", None, "a\0", "\u00e9", "e\u0301", "\U0001f600", "x" * 256, "\n", "a\n"]


def test_the_same_content_has_one_digest_however_it_is_spelt_in_bits() -> None:
    """Minus zero and the many kinds of NaN say nothing else than zero and missing."""
    odd = np.array([0x7FF8000000000000, 0xFFF8000000000000, 0x7FF8000000000123], dtype=np.uint64).view(np.float64)
    found = contents_of(np.column_stack([[0.0, -0.0, 0.0], odd]))
    assert len(set(found.tolist())) == 1


def test_other_values_other_places_and_other_ids_are_other_contents() -> None:
    """What differs in one value, in its place, or in the id alone is another record."""
    values = np.array(list(itertools.product([0.0, 1.0, -1.0, 1e-300, NAN, 1 / 3], repeat=3)))
    of_ids = contents_of(np.zeros((len(IDS), 3)), IDS)
    found = [*contents_of(values).tolist(), *of_ids.tolist(), *contents_of(values[1:2], ["a"]).tolist()]
    assert len(set(found)) == len(found)
    assert 0 not in found


def test_neighbours_in_the_last_bit_differ() -> None:
    """All 64 bits count: windows hold 32, but two amounts that differ by less are two payments."""
    values = 9_000.0 + np.arange(20_000) * np.spacing(9_000.0)
    assert len(np.unique(contents_of(values[:, None]))) == len(values)


def test_a_digest_does_not_depend_on_the_batch() -> None:
    """What a checkpoint has stored is compared with what another batch brings, also beside longer ids."""
    repeats = 2 * CHUNK // len(IDS)
    values, ids = np.random.default_rng(1).normal(size=(repeats * len(IDS), 9)), IDS * repeats
    whole = contents_of(values, ids)
    alone = [int(contents_of(values[row : row + 1], ids[row : row + 1])[0]) for row in range(len(ids))]
    assert alone == whole.tolist()


def test_digests_are_the_same_in_every_release() -> None:
    """They are stored: with other ones, the first repetition after an upgrade would count as a row."""
    found = contents_of(np.array([[1.5, NAN], [0.0, -2.0]]), ["t-1", None])
    assert [f"{one:016x}" for one in found.tolist()] == ["49b8eb2149a40131", "674273e7c92a79df"]
    assert f"{int(contents_of(np.array([[1.5]]))[0]):016x}" == "29a52b7c526524f0"


def test_halves_of_letters_in_an_id_are_taken() -> None:
    """JSON may hold half a surrogate pair; that is no reason to end."""
    assert len(set(contents_of(np.zeros((2, 1)), ["\ud800", "\udfff"]).tolist())) == 2


def test_no_records_have_no_digests() -> None:
    """An empty poll has the shapes of any other."""
    assert contents_of(np.zeros((0, 3)), []).shape == contents_of(np.zeros((0, 3))).shape == (0,)
