"""Labelled card transactions made up from a seed: cards with habits, and fraud of five kinds injected into them.

A card has its own usual amounts by merchant category, its favourite categories, its waking hours and its rate; times
are irregular. Fraud lies only behind the training rows, far enough apart that episodes cannot merge. This module
knows nothing about models, thresholds or topics.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from streamae.batches import Doubles, Ints, Series, Words
from streamae.errors import DataError

SPACING_ROWS = 48  # normal rows on both sides of a fraud: a window of 16 plus what an episode needs to close
START_MS = 1_735_689_600_000  # 2025-01-01T00:00Z
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
AMOUNT_FREEDOM = 5.0  # degrees of freedom of the noise of log amounts
CATALOGUE = (
    ("groceries", 38.0, 0.35),
    ("fuel", 52.0, 0.25),
    ("restaurant", 31.0, 0.4),
    ("pharmacy", 17.0, 0.4),
    ("clothing", 64.0, 0.45),
    ("transport", 8.0, 0.3),
    ("online shop", 42.0, 0.5),
    ("streaming", 11.0, 0.1),
)  # merchant category, usual amount, standard deviation of its logarithm
RISKY = ("jewellery", "electronics", "gambling", "money transfer", "gift cards")  # what fraud buys; rare otherwise
HABITS = 4  # favourite categories of a card
RARE_SHARE = 0.001  # of normal purchases in risky categories


class Fraud(StrEnum):
    """What is wrong during an injected fraud."""

    VELOCITY_BURST = "velocity_burst"  # many usual purchases within minutes
    AMOUNT_JUMP = "amount_jump"  # a usual shop, dozens of times the usual amount
    UNUSUAL_CATEGORY = "unusual_category"  # a category this card never buys in
    UNUSUAL_HOUR = "unusual_hour"  # purchases while the owner sleeps
    TAKEN_OVER = "taken_over"  # another person's habits: fast, dear, elsewhere, at night


LENGTHS = {
    Fraud.VELOCITY_BURST: (8, 16),
    Fraud.AMOUNT_JUMP: (1, 3),
    Fraud.UNUSUAL_CATEGORY: (2, 5),
    Fraud.UNUSUAL_HOUR: (3, 6),
    Fraud.TAKEN_OVER: (10, 24),
}  # fewest and most rows, both included
LONGEST = max(longest for _, longest in LENGTHS.values())


@dataclass(frozen=True, slots=True)
class FraudCase:
    """One injected fraud: rows [start_row, end_row) of `key`."""

    key: str
    kind: Fraud
    start_row: int
    end_row: int


@dataclass(frozen=True, slots=True, eq=False)
class TransactionStream:
    """All cards.

    Attributes:
        train_rows: rows at the front of each card that are free of fraud.
        series: one a card: `amount` and the category `merchant`; labels are True inside fraud.
        cases: by card, then by row.
    """

    train_rows: int
    series: list[Series]
    cases: list[FraudCase]


@dataclass(frozen=True, slots=True, eq=False)
class _Habits:
    """One card: favourite categories with their probabilities, level of spending, waking hour, purchases a day."""

    favourites: Ints
    probabilities: Doubles
    level: float
    wakes_at: float
    a_day: float


@dataclass(slots=True, eq=False)
class _Rows:
    """Transactions of one card in order: `times` (N,) in ms, `amounts` (N,), `words` (N,)."""

    times: Doubles
    amounts: Doubles
    words: Words


def generate_transactions(
    cards: int = 60, rows: int = 700, train_rows: int = 400, seed: int = 7, frauds_per_card: float = 2.0
) -> TransactionStream:
    """Make a stream; equal arguments give equal bits.

    Args:
        cards: number of keys, >= 1.
        rows: transactions of each card, training rows and fraud included.
        train_rows: rows at the front that stay normal.
        seed: of everything random.
        frauds_per_card: mean number a card; a fraction is spread over cards at random. Kinds come equally often.

    Raises:
        DataError: the rows behind the training rows cannot hold that many frauds.
    """
    random = np.random.default_rng(seed)
    counts = np.full(cards, int(frauds_per_card)) + (random.random(cards) < frauds_per_card % 1.0)
    most = int(counts.max())
    needed = most * (LONGEST + SPACING_ROWS) + SPACING_ROWS
    if most and rows - train_rows < needed:
        raise DataError(
            f"{most} frauds a card need {needed} rows behind the training rows, there are {rows - train_rows}"
        )
    kinds = [list(Fraud)[i % len(Fraud)] for i in range(int(counts.sum()))]
    random.shuffle(kinds)
    series, cases = [], []
    for number in range(cards):
        key, habits = f"card-{number:03d}", _habits(random)
        made = _normal(habits, rows, random)
        placed = _inject(key, made, habits, [kinds.pop() for _ in range(counts[number])], train_rows, random)
        labels = np.zeros(rows, dtype=np.bool_)
        for case in placed:
            labels[case.start_row : case.end_row] = True
        times = START_MS + made.times.astype(np.int64) + np.arange(rows)  # the row number keeps instants apart
        amounts = made.amounts.round(2)[:, None]
        series.append(Series(key, ("amount",), times, amounts, labels, ("merchant",), made.words[:, None]))
        cases += placed
    return TransactionStream(train_rows, series, cases)


def _habits(random: np.random.Generator) -> _Habits:
    favourites = random.choice(len(CATALOGUE), HABITS, replace=False)
    return _Habits(
        favourites,
        random.dirichlet(np.full(HABITS, 4.0)),
        float(random.lognormal(0.0, 0.4)),
        float(random.uniform(5.0, 9.0)),
        float(random.lognormal(np.log(5.0), 0.3)),
    )


def _normal(habits: _Habits, rows: int, random: np.random.Generator) -> _Rows:
    """Make what the owner buys: within 15 waking hours, at a random hour, from favourites with rare exceptions."""
    days = np.sort(random.uniform(0.0, rows / habits.a_day, rows))
    hours = habits.wakes_at + 15.0 * random.beta(2.0, 2.0, rows)
    times = np.sort(np.floor(days) * DAY_MS + hours * HOUR_MS)
    chosen = habits.favourites[random.choice(HABITS, rows, p=habits.probabilities)]
    words = np.array([CATALOGUE[number][0] for number in chosen], dtype=object)
    amounts = _amounts(chosen, habits, random)
    rare = np.flatnonzero(random.random(rows) < RARE_SHARE)
    words[rare] = random.choice(np.array(RISKY, dtype=object), len(rare))
    return _Rows(times, amounts, words)


def _amounts(chosen: Ints, habits: _Habits, random: np.random.Generator) -> Doubles:
    usual = np.array([amount for _, amount, _ in CATALOGUE])[chosen] * habits.level
    spread = np.array([deviation for _, _, deviation in CATALOGUE])[chosen]
    amounts: Doubles = usual * np.exp(spread * random.standard_t(AMOUNT_FREEDOM, len(chosen)).clip(-4, 4))
    return amounts


def _inject(
    key: str, made: _Rows, habits: _Habits, kinds: list[Fraud], train_rows: int, random: np.random.Generator
) -> list[FraudCase]:
    """Spread `kinds` over the rows behind the training rows and change `made` in place."""
    placed: list[FraudCase] = []
    borders = np.linspace(train_rows + SPACING_ROWS, len(made.times), len(kinds) + 1).astype(int)
    for kind, low, high in zip(kinds, borders[:-1], borders[1:] - SPACING_ROWS, strict=True):
        length = int(random.integers(LENGTHS[kind][0], LENGTHS[kind][1] + 1))
        start = int(random.integers(low, high - length + 1))
        rows = slice(start, start + length)
        if kind in (Fraud.AMOUNT_JUMP, Fraud.TAKEN_OVER):
            made.amounts[rows] *= random.uniform(20.0, 60.0, length)
        if kind in (Fraud.UNUSUAL_CATEGORY, Fraud.TAKEN_OVER):
            made.words[rows] = random.choice(np.array(RISKY, dtype=object), length)
        if kind is Fraud.VELOCITY_BURST:
            _hurry(made, rows, made.times[start], random.exponential(0.5, length) * 60_000)
        if kind in (Fraud.UNUSUAL_HOUR, Fraud.TAKEN_OVER):
            night = _next_night(made.times[start - 1], habits)
            minutes = 12.0 if kind is Fraud.UNUSUAL_HOUR else 4.0
            _hurry(made, rows, night, random.exponential(minutes, length) * 60_000)
        placed.append(FraudCase(key, kind, rows.start, rows.stop))
    return placed


def _next_night(after: float, habits: _Habits) -> float:
    """Return the first moment behind `after` in the middle of the owner's sleep."""
    asleep = (habits.wakes_at - 4.5) * HOUR_MS
    return float((np.floor((after - asleep) / DAY_MS) + 1) * DAY_MS + asleep)


def _hurry(made: _Rows, rows: slice, first: float, steps: Doubles) -> None:
    """Put the rows one after the other from `first` on, `steps` (n,) ms apart; what follows moves by whole days."""
    made.times[rows] = first + np.cumsum(steps) - steps[0]
    if rows.stop < len(made.times):
        behind = made.times[rows.stop - 1] - made.times[rows.stop] + HOUR_MS
        made.times[rows.stop :] += max(0.0, np.ceil(behind / DAY_MS)) * DAY_MS
