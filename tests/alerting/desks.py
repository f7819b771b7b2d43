"""Desks for tests: made, told and saved in one call each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streamae.alerting.alert import Notice
from streamae.alerting.desk import Desk
from streamae.alerting.told import Told
from tests.alerting.changes import NEWEST, NOW_MS, OUTPUT, Nature, rules


def desk(nature: Nature = NEWEST, records: Sequence[Told] = (), **settings: Any) -> Desk:
    """Return a desk that reads the output topic from its beginning."""
    made = Desk(nature, rules(**settings), records)
    made.start_at(OUTPUT, 0)
    return made


def save(one: Desk) -> list[Told]:
    """Save all that is new, and return it."""
    records = one.unsaved()
    one.saved(records)
    return records


def tell(one: Desk, now_ms: int = NOW_MS, **due: Any) -> list[Notice]:
    """Have everything delivered and saved, and return what it was."""
    told = []
    while notices := one.due(now_ms, **due):
        for notice in notices:
            one.delivered(notice, now_ms)
        told += notices
        save(one)
    save(one)
    return told


def words(notices: Sequence[Notice]) -> list[tuple[str, str, int]]:
    """Return action, episode and sequence of each."""
    return [(notice.action.value, notice.alert.episode_id, notice.alert.sequence) for notice in notices]
