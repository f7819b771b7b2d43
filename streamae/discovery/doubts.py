"""What a person should be asked about the data, each with the setting that answers it.

A doubt that is as good as certain is already taken into the proposed settings and says so; others wait there as
comments. Nothing here is said of what is merely unusual. Must not know: how doubts are shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from streamae.discovery.columns import LONGEST, Column, Kind
from streamae.discovery.features import Feature, Roles, tells_anomalies
from streamae.discovery.figures import Figures
from streamae.discovery.names import PLACE, hints_at
from streamae.discovery.telling import Telling
from streamae.discovery.wording import number, rough

STEPS = 100  # pairs of rows below which nothing is said of how a feature moves
RECURS = 3  # times that an exact value must occur to be a sentinel
FAR = 1.0  # distance of a well-known sentinel, in ranges of all other values
VERY_FAR = 3.0  # of any other value
MOST_SENTINELS = 0.4  # share of rows beyond which a value is the usual one
MOST_KNOWN_SENTINELS = 0.95  # the same of a well-known one
SENTINELS = frozenset(
    sign * value
    for sign in (1.0, -1.0)
    for value in (99.0, 999.0, 9999.0, 99999.0, 999999.0, 99.9, 999.9, 9999.9, 99.99, 999.99, 32767.0, 2147483647.0)
) | {-200.0, -100.0, -1.0, -32768.0, -2147483648.0, 65535.0, 4294967295.0, 1e20, -1e20, 6553.5, -127.0, 85.0, 255.0}
UNSURE = frozenset({-1.0, 0.0, 85.0, -100.0, 99.0, 255.0})  # may as well be measured
SELDOM = 0.1  # share of rows below which it matters what a feature is in between
MOST_RESETS = 0.02  # share of steps at which a counter starts again; a saw does so more often
FULL = (2.0**16, 2.0**24, 2.0**32)  # where counters of devices begin again
MOST_WRAPS = 0.1  # share of steps at which a counter that gets as far as one of these starts again
MOST_TURNS = (2, 3, 4, 5, 6)  # keys whose rows may take turns
DAY_MS = 86_400_000
APART = 0.5  # distance of these levels, in standard deviations of all
MOST_MISSING = 0.1  # rows without a value, beyond which the others do not tell whose turn it is
LEAST_DISTINCT = 0.05  # different values a row, below which a feature goes back and forth between a few of its own
TURNING = 4.0  # how much smaller the steps of one of them are than those from one to the next
NAMED = 5  # features in one sentence


@dataclass(frozen=True, slots=True)
class Doubt:
    """Something to ask a person.

    Attributes:
        field: what it is about; empty = the source as a whole.
        text: a sentence.
        setting: the name of the setting that answers it; "" = no setting does.
        answer: a value of it that would say yes; None = only a person knows it.
        is_taken: whether that is already in the proposed settings.
    """

    field: str
    text: str
    setting: str
    answer: Any = None
    is_taken: bool = False


def label_doubts(roles: Roles, columns: Mapping[str, Column]) -> list[Doubt]:
    """Return a doubt for each field that looks like a label."""
    doubts = []
    for field, why in roles.labels.items():
        text = f"{why}; it is no feature"
        if not tells_anomalies(columns[field]):
            text += ", nor can anomalies be told by what is not 0: name it among the features if it is one"
            doubts.append(Doubt(field, text, "input.value_fields"))
            continue
        is_taken = field == roles.label
        text += ", but tells known anomalies" if is_taken else ""
        doubts.append(Doubt(field, text, "input.label_field", field, is_taken=is_taken))
    return doubts


def counter_doubts(features: Sequence[Feature]) -> list[Doubt]:
    """Return one doubt that names the features that only grow, but for resets."""
    found = [one for one in features if _is_counter(one.figures) and not hints_at(one.name, PLACE)]
    if not found:
        return []
    resets = sum(feature.figures.resets for feature in found)
    again = f" ({resets} resets)" if resets else ""
    text = f"never {_fall(found)} but to start again{again}: taken as {_counters(found)}, whose growth a second counts"
    names = tuple(feature.name for feature in found)
    return [Doubt(named(names), text, "features.rate_fields", names, is_taken=True)]


def sentinel_doubts(features: Sequence[Feature]) -> list[Doubt]:
    """Return a doubt for each exact value that recurs far outside all others."""
    found: dict[float, list[Feature]] = {}
    for feature in features:
        for value in sentinels_of(feature.figures):
            found.setdefault(value, []).append(feature)
    doubts = []
    for value, of_value in found.items():
        times = sum(_count(feature.figures, value) for feature in of_value)
        elsewhere = [feature for feature in features if feature not in of_value and _count(feature.figures, value)]
        is_known = value in SENTINELS - UNSURE
        if elsewhere and not is_known:
            continue  # what stands for missing does so for all features, and there it is measured
        is_taken = is_known and not elsewhere
        is_near = value == -1 and not any(_is_far_off(feature.figures) for feature in of_value)
        where = "the only value below 0" if is_near else "far outside all other values"
        text = f"{number(value)} recurs {times:,} times, {where}: "
        text += "taken as missing" if is_taken else "does it mean missing?"
        if elsewhere:
            text += f" It is an ordinary value of {named([feature.name for feature in elsewhere])}."
        names = [feature.name for feature in of_value]
        doubts.append(Doubt(named(names), text, "input.missing_values", (number(value),), is_taken=is_taken))
    return doubts


def _is_far_off(figures: Figures) -> bool:
    """Tell whether the least value lies far below all others."""
    return bool(figures.values[1] - figures.values[0] > VERY_FAR * (figures.values[-1] - figures.values[1]))


def sentinels_of(figures: Figures) -> list[float]:
    """Return the values at either end that recur far outside all others."""
    values, counts = figures.values, figures.counts
    if len(values) < 10:
        return []
    found = []
    for end, inner in ((0, values[1:]), (-1, values[:-1])):
        value, times = float(values[end]), int(counts[end])
        width, near = float(inner[-1] - inner[0]), float(inner[0] if end == 0 else inner[-1])
        is_known = value in SENTINELS - UNSURE
        is_far = 0 < width < math.inf and abs(near - value) > (FAR if is_known else VERY_FAR) * width
        is_common = value in SENTINELS or value == 0 or times > counts[values != value].max()
        is_alone = value == -1 and near >= 0  # of what else is never negative
        most = MOST_KNOWN_SENTINELS if is_known else MOST_SENTINELS
        least = RECURS - 1 if is_known and is_far and abs(near - value) > VERY_FAR * width else RECURS
        if least <= times <= most * figures.count and (is_far or is_alone) and is_common:
            found.append(value)
    return found


def spelling_doubts(features: Sequence[Feature], *, is_text: bool) -> list[Doubt]:
    """Return doubts about cells of numbers that are text, or none."""
    doubts = []
    again = [feature for feature in features if feature.odd and feature.example == feature.name[:LONGEST]]
    if len(again) > 1:
        text = (
            f"{max(feature.odd for feature in again):,} rows hold the names of the columns again: they count as missing"
        )
        names = tuple(feature.example for feature in again)
        doubts.append(Doubt(named([feature.name for feature in again]), text, "input.missing_values", names))
    else:
        again = []
    for feature in features:
        if feature.odd and feature not in again:
            total = len(feature.numbers)
            text = (
                f"{feature.odd:,} of {total:,} cells are no number, such as {feature.example!r}: they count as missing"
            )
            doubts.append(Doubt(feature.name, text, "input.missing_values", (feature.example,)))
    texts = [feature.name for feature in features if feature.kind is Kind.TEXT_NUMBER]
    if texts and not is_text:
        text = "numbers are written as text: read as numbers"
        doubts.append(Doubt(named(texts), text, "input.numbers", "text", is_taken=True))
    return doubts


def hold_doubts(tellings: Mapping[str, Telling], *, is_long: bool) -> list[Doubt]:
    """Return doubts that name the features whose last value stands until the next one.

    Args:
        tellings: how each feature is told, by its name.
        is_long: a record holds one metric: each has its own pace, and none is missing in the records of others.
    """
    if max((telling.share for telling in tellings.values()), default=0.0) < 0.5:
        return []
    silent = {name: telling for name, telling in tellings.items() if telling.share < 0.5 and telling.is_scattered}
    on_change = [name for name, telling in silent.items() if telling.is_on_change and not telling.is_even]
    seldom = {name: telling for name, telling in silent.items() if name not in on_change and telling.share < SELDOM}
    steady = [name for name, telling in seldom.items() if telling.is_steady]
    others = [name for name in silent if name not in (*on_change, *steady)]
    slow = [name for name in others if is_long and name in seldom]
    asked = [name for name in others if name not in slow and (name in seldom or silent[name].is_even)]

    def share_of(names: Sequence[str]) -> str:
        return _shares([silent[name].share for name in names])

    it_changes = "it changes" if len(on_change) == 1 else "they change"
    found = [
        (on_change, f"told only when {it_changes}: the last value is held", True),
        (steady, "told seldom, and mostly as before: the last value is held", True),
        (slow, f"told in {share_of(slow)} of the rows, each time by itself: the last value is held", True),
        (asked, f"told in {share_of(asked)} of the rows: does the last value stand in between?", False),
    ]
    return [
        Doubt(named(names), text, "window.missing_overrides", dict.fromkeys(names, "hold"), is_taken=is_taken)
        for names, text, is_taken in found
        if names
    ]


def twin_doubts(features: Sequence[Feature]) -> list[Doubt]:
    """Return a doubt for each set of features that are equal in every row."""
    groups: dict[bytes, list[str]] = {}
    for feature in features:
        figures = feature.figures
        if figures.distinct > 2:
            groups.setdefault(np.ascontiguousarray(feature.numbers).tobytes(), []).append(feature.name)
    keep = [feature.name for feature in features]
    doubts = []
    for first, *others in (names for names in groups.values() if len(names) > 1):
        kept = tuple(name for name in keep if name not in others)
        text = f"the same as {first} in every row: it counts twice unless left out"
        doubts.append(Doubt(named(others), text, "input.value_fields", kept))
    return doubts


def interleaved_doubts(features: Sequence[Feature]) -> list[Doubt]:
    """Return a doubt where the rows take turns between several levels, as those of several keys do."""
    moving = [feature for feature in features if _moves(feature.figures)]
    turns = [_turns(feature) for feature in moving]
    turn = max(set(turns), key=turns.count, default=0)
    if not turn or 2 * turns.count(turn) <= len(turns) or _is_daily(moving[0], turn):
        return []
    text = f"every {turn}th row goes on where that one was: rows of {turn} keys that no field tells apart?"
    return [Doubt("", text.replace("2th", "second").replace("3th", "third"), "input.key_field")]


def _moves(figures: Figures) -> bool:
    """Tell whether a feature is measured in nearly every row, and has more values than a few levels."""
    is_there = figures.missing <= MOST_MISSING * figures.count
    return is_there and figures.steps >= STEPS and figures.distinct > max(10, LEAST_DISTINCT * figures.count)


def _turns(feature: Feature) -> int:
    """Return how many levels the rows take turns between, 0 = they do not."""
    numbers = feature.numbers[~np.isnan(feature.numbers)][: 20 * STEPS]

    def move(rows: int) -> float:
        return float(np.median(np.abs(numbers[rows:] - numbers[:-rows])))

    near = move(1)
    is_far = near > 0 and near >= APART * float(numbers.std())
    return next((rows for rows in MOST_TURNS if is_far and move(rows) * TURNING <= near), 0)


def _is_daily(feature: Feature, turn: int) -> bool:
    """Tell whether so many rows are a day: each hour is like the same one of the day before."""
    steps = np.diff(feature.times_ms)
    return bool(len(steps)) and abs(turn * float(np.median(steps)) - DAY_MS) <= 0.05 * DAY_MS


def named(names: Sequence[str]) -> str:
    """Return names for a sentence, the first ones where there are many.

    Example:
        >>> named(["a", "b"]), named([str(i) for i in range(7)])
        ('a, b', '0, 1, 2, 3, 4 and 2 more')
    """
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _is_counter(figures: Figures) -> bool:
    return (
        figures.steps >= STEPS
        and figures.distinct >= 20
        and figures.low >= 0
        and figures.rises >= 0.2 * figures.steps
        and (figures.falls == figures.resets <= MOST_RESETS * figures.steps + 1 or _fills_up(figures))
        and figures.high > 0
    )


def _fills_up(figures: Figures) -> bool:
    """Tell whether values begin again just above 0 after they came close to where a counter of some bits is full."""
    usual = 3 * figures.high * (figures.falls + 1) / figures.steps
    is_near = figures.low <= usual and any(0 < full - figures.high <= usual for full in FULL)
    return is_near and 0.8 * figures.falls <= figures.resets <= MOST_WRAPS * figures.steps


def _count(figures: Figures, value: float) -> int:
    place = int(np.searchsorted(figures.values, value))
    return int(figures.counts[place]) if place < figures.distinct and figures.values[place] == value else 0


def _shares(shares: Sequence[float]) -> str:
    """Return shares as one figure, or as two where they differ."""
    ends = dict.fromkeys(f"{rough(100 * share)} %" for share in (min(shares, default=0.0), max(shares, default=0.0)))
    return " to ".join(ends)


def _fall(found: Sequence[Feature]) -> str:
    return "falls" if len(found) == 1 else "fall"


def _counters(found: Sequence[Feature]) -> str:
    return "a counter" if len(found) == 1 else "counters"
