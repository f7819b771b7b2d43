"""One turn of a receiver that is told alert by alert: bounded in time, and one bad alert costs only itself.

Must not know: what is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ParamSpec

from streamae.alerting.alert import Notice
from streamae.alerting.answers import ForbiddenAddressError, UnreachableError
from streamae.alerting.receiver import Outcome, Refused, Retry

MOST_FAILURES = 3  # in a row: then nobody is at home, and the rest waits
NO_TIME = Retry("no time was left for it", may_have_arrived=False, was_tried=False)


P = ParamSpec("P")
Tell = Callable[[Notice, float], Outcome]  # within so many seconds; may raise what `HttpClient` raises


def tell_each(notices: Sequence[Notice], tell: Tell, clock: Callable[[], float], timeout_ms: int) -> list[Outcome]:
    """Tell one after the other until the time of the turn is over.

    What follows a failed notice of the same episode in this turn waits with it, so that order holds. An alert that
    always fails does not hold up the others.

    Args:
        notices: in the order in which they are told.
        tell: tells one.
        clock: monotonic seconds.
        timeout_ms: of the whole turn.
    """
    deadline_s = clock() + timeout_ms / 1_000
    outcomes: list[Outcome] = []
    waiting: set[str] = set()
    failures = 0
    for notice in notices:
        left_s = deadline_s - clock()
        if left_s <= 0:
            outcomes.append(NO_TIME)
        elif failures >= MOST_FAILURES or notice.alert.episode_id in waiting:
            failed = next(outcome for outcome in reversed(outcomes) if isinstance(outcome, Retry))
            outcomes.append(replace(failed, may_have_arrived=False, was_tried=False))
        else:
            outcomes.append(guarded(tell, notice, left_s))
            failures = failures + 1 if isinstance(outcomes[-1], Retry) else 0
            if isinstance(outcomes[-1], Retry) and outcomes[-1].after_ms:
                failures = MOST_FAILURES  # it asks to be left alone
        if isinstance(outcomes[-1], Retry):
            waiting.add(notice.alert.episode_id)
    return outcomes


def guarded(tell: Callable[P, Outcome], *given: P.args, **named: P.kwargs) -> Outcome:
    """Return what came of it, also where something was raised: a receiver must never end its thread."""
    try:
        return tell(*given, **named)
    except UnreachableError as error:
        return Retry(str(error), may_have_arrived=error.may_have_arrived)
    except ForbiddenAddressError as error:
        return Refused(str(error))
    except Exception as error:  # noqa: BLE001 - of an alert that cannot be told as it is, whatever it holds
        return Refused(f"cannot be told: {type(error).__name__}")
