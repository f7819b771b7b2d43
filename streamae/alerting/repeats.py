"""What a receiver that forgets is to be told again: what is open, and for a while what is over.

Must not know: news.
"""

from __future__ import annotations

from streamae.alerting.alert import Action, Notice
from streamae.alerting.case import Case
from streamae.alerting.cases import Cases
from streamae.alerting.intake import Nature


def repeats(cases: Cases, nature: Nature, now_ms: int) -> list[Notice]:
    """Return the notices that are due again; what needs no repeating any more is put aside."""
    every_ms = nature.repeat_ms
    if every_ms is None:
        return []
    notices = [
        Notice(Action.REPEAT, alert)
        for case in cases.open()
        if case.is_announced and case.is_repeated and not case.news and _is_due(case, every_ms, now_ms)
        if (alert := case.shown()) is not None
    ]
    for episode_id in list(cases.ended):
        case = cases[episode_id]
        if not case.is_over or case.told is None:
            del cases.ended[episode_id]  # it began anew
        elif _is_long_ago(case, cases, nature.repeat_resolved_ms, now_ms):
            del cases.ended[episode_id]
            case.slim()
            cases.note(case)
        elif case.is_repeated and case.told.is_announced and _is_due(case, every_ms, now_ms):
            notices.append(Notice(Action.REPEAT, case.told.alert))
    return notices


def _is_due(case: Case, every_ms: int, now_ms: int) -> bool:
    """Tell whether it was sent long enough ago, or later than now: then the clock was set back."""
    return not 0 <= now_ms - case.sent_ms < every_ms


def _is_long_ago(case: Case, cases: Cases, repeat_resolved_ms: int, now_ms: int) -> bool:
    """Tell whether an end is not told again: for its time, or since the next alert of the same identity has begun."""
    told_ms = case.told.told_ms if case.told else 0
    return now_ms - told_ms >= repeat_resolved_ms or any(not other.is_over for other in cases.line(case.line))
