"""How long receivers are left alone."""

from __future__ import annotations

from streamae.alerting.patience import FIRST_MS, LAST_MS, LONGEST_ASKED_MS, Patience


def waits(patience: Patience, tries: int) -> list[int]:
    """Return how long is waited after each of so many failures in a row."""
    found, now_ms = [], 1_000
    for _ in range(tries):
        patience.failed(now_ms)
        found.append(patience.until_ms - now_ms)
        now_ms = patience.until_ms
    return found


def test_it_waits_twice_as_long_each_time_up_to_a_minute_and_never_stops() -> None:
    """A receiver that is away for a day is asked each minute, and one that hiccups at once."""
    found = waits(Patience(lambda: 1.0), 200)
    assert found[:3] == [FIRST_MS, 2 * FIRST_MS, 4 * FIRST_MS]
    assert set(found[10:]) == {LAST_MS}


def test_chance_takes_off_at_most_a_half() -> None:
    """Receivers behind one broken gateway do not all come back in the same moment."""
    assert waits(Patience(lambda: 0.0), 200)[-1] == LAST_MS // 2


def test_what_a_receiver_asks_for_is_kept_within_reason() -> None:
    """Retry-After counts where it is longer; a year is not believed."""
    patience = Patience(lambda: 1.0)
    patience.failed(0, 90_000)
    assert (patience.is_waiting(89_999), patience.is_waiting(90_000)) == (True, False)
    patience.failed(90_000, 1)
    assert patience.until_ms > 90_000 + FIRST_MS
    patience.failed(100_000, 10**12)
    assert patience.until_ms == 100_000 + LONGEST_ASKED_MS


def test_one_success_ends_it() -> None:
    """Since when it fails counts from the first failure after that."""
    patience = Patience(lambda: 1.0)
    patience.failed(5)
    patience.failed(600)
    assert patience.since_ms == 5
    patience.succeeded()
    assert patience.since_ms is None
    assert not patience.is_waiting(0)
    patience.failed(9_000)
    assert (patience.since_ms, patience.until_ms) == (9_000, 9_000 + FIRST_MS)
