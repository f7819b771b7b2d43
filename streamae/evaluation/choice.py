"""What of a suite is evaluated, and how. Must not know how a series is trained on or scored."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from streamae.errors import DataError
from streamae.evaluation.detectors import SHIPPED
from streamae.evaluation.suite import Suite, SuiteSeries


@dataclass(frozen=True, slots=True)
class Choice:
    """What of a suite is evaluated, and how.

    Attributes:
        groups: names, none = all.
        detectors: names, see `detectors`.
        seeds: trainings of each, with seeds 0, 1, ...
        pattern: of the series' names, alone or as `group/name`, with `*`, `?` and `[]`; None = all.
        is_fleet: one bundle for the series of a group that have the same channels, instead of one each.
        processes: side by side, one core each.
        train_rows: of one labelled file, see `labelled_file`; None = as it is split there.
    """

    groups: tuple[str, ...] = ()
    detectors: tuple[str, ...] = SHIPPED
    seeds: int = 1
    pattern: str | None = None
    is_fleet: bool = False
    processes: int = 1
    train_rows: int | None = None


def chosen(suite: Suite, choice: Choice) -> list[SuiteSeries]:
    """Return the series that a choice names.

    Raises:
        DataError: there is none.
    """
    entries = [entry for entry in suite.select(choice.groups).series if _is_chosen(entry, choice.pattern)]
    if not entries:
        raise DataError(f"{suite.folder}: no series is called {choice.pattern}")
    return entries


def is_tested(entry: SuiteSeries) -> bool:
    """Tell whether a series has rows behind those that are trained on."""
    return entry.rows > entry.train_rows


def _is_chosen(entry: SuiteSeries, pattern: str | None) -> bool:
    names = (entry.name, f"{entry.group}/{entry.name}")
    return pattern is None or any(fnmatchcase(name, pattern) for name in names)
