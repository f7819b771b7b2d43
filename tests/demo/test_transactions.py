"""Generated transactions: the same from the same seed, in order of time, and wrong only where it says so."""

from __future__ import annotations

import numpy as np
import pytest

from streamae.batches import Series
from streamae.demo.transactions import (
    HOUR_MS,
    LENGTHS,
    RISKY,
    SPACING_ROWS,
    Fraud,
    FraudCase,
    TransactionStream,
    generate_transactions,
)
from streamae.errors import DataError

STREAM = generate_transactions(cards=30, seed=3)


def of(case: FraudCase, stream: TransactionStream = STREAM) -> tuple[Series, slice]:
    """Return the card and the rows of a fraud."""
    return next(one for one in stream.series if one.key == case.key), slice(case.start_row, case.end_row)


def cases(kind: Fraud) -> list[tuple[Series, slice]]:
    """Return card and rows of every fraud of a kind."""
    found = [of(case) for case in STREAM.cases if case.kind is kind]
    assert len(found) == 12
    return found


def words(series: Series) -> list[str]:
    """Return the merchant categories of a card."""
    assert series.words is not None
    return list(series.words[:, 0])


def test_the_same_seed_gives_the_same_bits() -> None:
    """Figures can be repeated, and another seed is another stream."""
    again, other = generate_transactions(cards=30, seed=3), generate_transactions(cards=30, seed=4)
    for one, same, different in zip(STREAM.series, again.series, other.series, strict=True):
        assert one.event_times_ms.tobytes() == same.event_times_ms.tobytes()
        assert one.values.tobytes() == same.values.tobytes() != different.values.tobytes()
        assert words(one) == words(same)
    assert STREAM.cases == again.cases != other.cases


def test_times_grow_and_amounts_are_money() -> None:
    """No record of the demo is late, twice or without an amount."""
    for one in STREAM.series:
        assert (np.diff(one.event_times_ms) > 0).all()
        assert (one.values > 0).all()
        assert all(words(one))


def test_labels_are_the_fraud_and_training_has_none() -> None:
    """Truth and labels agree, lengths are as stated, and frauds stand far apart."""
    for one in STREAM.series:
        mine = [case for case in STREAM.cases if case.key == one.key]
        expected = np.zeros(len(one), dtype=np.bool_)
        ends = [STREAM.train_rows]
        for case in mine:
            expected[case.start_row : case.end_row] = True
            shortest, longest = LENGTHS[case.kind]
            assert shortest <= case.end_row - case.start_row <= longest
            assert case.start_row - ends[-1] >= SPACING_ROWS
            ends.append(case.end_row)
        assert one.labels is not None
        np.testing.assert_array_equal(one.labels, expected)
        assert len(one) - ends[-1] >= SPACING_ROWS


def test_each_kind_is_wrong_in_its_own_way() -> None:
    """A kind that looked like normal purchases would only lower the recall."""
    for one, rows in cases(Fraud.VELOCITY_BURST):
        assert np.diff(one.event_times_ms[rows]).mean() < 2 * 60_000
        assert not set(words(one)[rows]) - set(words(one)[: rows.start])
    for one, rows in cases(Fraud.AMOUNT_JUMP):
        assert one.values[rows].min() > 4 * np.median(one.values[: rows.start])
    for one, rows in cases(Fraud.UNUSUAL_CATEGORY):
        assert set(words(one)[rows]) <= set(RISKY)
    for one, rows in cases(Fraud.UNUSUAL_HOUR):
        hours = one.event_times_ms / HOUR_MS % 24
        apart = np.abs(hours[: STREAM.train_rows] - hours[rows.start])
        assert np.minimum(apart, 24 - apart).min() > 1
    for one, rows in cases(Fraud.TAKEN_OVER):
        assert set(words(one)[rows]) <= set(RISKY)
        assert one.values[rows].mean() > 5 * one.values[: rows.start].mean()


def test_honest_cards_have_habits() -> None:
    """A card keeps to a few categories and sleeps; what fraud buys is rare but not unheard of."""
    honest = generate_transactions(cards=30, seed=3, frauds_per_card=0.0)
    assert honest.cases == []
    risky = np.array([[word in RISKY for word in words(one)] for one in honest.series])
    assert 0.0 < risky.mean() < 0.003
    for one, is_risky in zip(honest.series, risky, strict=True):
        assert len({word for word, odd in zip(words(one), is_risky, strict=True) if not odd}) <= 4
        by_hour = np.bincount((one.event_times_ms // HOUR_MS % 24).astype(int), minlength=24)
        assert (by_hour == 0).sum() >= 6


def test_too_little_room_is_said() -> None:
    """Frauds closer together than a window could not be told apart."""
    with pytest.raises(DataError, match=r"5 frauds a card need \d+ rows behind the training rows, there are 300"):
        generate_transactions(cards=2, frauds_per_card=5.0)
