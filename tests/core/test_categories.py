"""Words become codes that are the same in training and live, whatever the words are."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamae.core.categories import MAX_WORD, Vocabulary
from tests.core_batches import quick

SHOP = Vocabulary("shop", ("7", "bakery", "true"), buckets=1)


def test_known_words_have_their_own_code_and_all_others_share_the_buckets() -> None:
    """Code and name of a column belong together."""
    assert SHOP.codes(["bakery", "casino", "7"]).tolist() == [1.0, 3.0, 0.0]
    assert SHOP.names == ("shop=7", "shop=bakery", "shop=true", "shop~other")
    assert len(SHOP) == 4
    assert Vocabulary("shop", (), 2).names == ("shop~other.1", "shop~other.2")


def test_missing_words_are_not_a_number() -> None:
    """Null and the empty cell of a table are the same thing: a missing value, not a word."""
    assert np.isnan(SHOP.codes([None, ""])).all()


def test_integers_and_truth_values_count_as_their_json_text() -> None:
    """A merchant code is a number in one producer's JSON, text in another's, and text in every table."""
    assert SHOP.codes([7, True, "7", "true"]).tolist() == [0.0, 2.0, 0.0, 2.0]
    assert SHOP.codes([1, 0, False]).tolist() == [3.0, 3.0, 3.0]  # True is not 1


@quick
@given(words=st.lists(st.text(max_size=80) | st.integers() | st.booleans() | st.none()), buckets=st.integers(1, 9))
def test_every_word_has_one_code_within_bounds(words: list[str | int | bool | None], buckets: int) -> None:
    """No content of a record can point outside the columns, or make memory grow."""
    of = Vocabulary("f", ("a", "b"), buckets)
    codes = of.codes(words)
    missing = np.array([word is None or word == "" for word in words], dtype=np.bool_)
    np.testing.assert_array_equal(np.isnan(codes), missing)
    assert ((codes[~missing] >= 0) & (codes[~missing] < len(of))).all()
    np.testing.assert_array_equal(codes, np.concatenate([of.codes([word]) for word in words] or [codes]))
    assert len(of._codes) == 2


def test_hashes_are_the_same_in_every_process() -> None:
    """Python's own hash of text changes from process to process: a restart would shuffle the columns."""
    words = [f"word {number}" for number in range(50)]
    program = f"from streamae.core.categories import Vocabulary as V; print(V('f', (), 8).codes({words!r}).tolist())"
    found = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, env={"PYTHONHASHSEED": "1"}
    )
    here = Vocabulary("f", (), 8).codes(words)
    assert found.stdout.strip() == str(here.tolist())
    assert len(set(here.tolist())) == 8


def test_learning_keeps_the_most_frequent_words() -> None:
    """What is rare shares the buckets; the order of rows decides nothing."""
    words = ["b", "a", "c", "a", "b", None, "", "d"]
    assert Vocabulary.learn("f", words, cap=2, buckets=1).known == ("a", "b")
    assert Vocabulary.learn("f", words[::-1], cap=3, buckets=1).known == ("a", "b", "c")
    assert Vocabulary.learn("f", ["x" * (MAX_WORD + 1), "x" * MAX_WORD], cap=9, buckets=1).known == ("x" * MAX_WORD,)
    assert Vocabulary.learn("f", [], cap=9, buckets=1).known == ()


@pytest.mark.parametrize(
    ("known", "buckets", "complaint"),
    [(("a",), 0, "0 buckets"), (("a", "a"), 1, "twice"), (("",), 1, "empty"), (("x" * 65,), 1, "longer than 64")],
)
def test_contradictions_are_refused(known: tuple[str, ...], buckets: int, complaint: str) -> None:
    """A vocabulary from a file must not make columns of one name or none for unknown words."""
    with pytest.raises(ValueError, match=complaint):
        Vocabulary("f", known, buckets)
