"""The dead-man switch: what goes on while alerts can be delivered, so that somebody notices when it stops.

Must not know: whether alerts can be delivered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamae.alerting.alert import Alert, Cause, Labels
from streamae.alerting.answers import ForbiddenAddressError, UnreachableError, outcome_of
from streamae.alerting.identity import own_alert
from streamae.alerting.receiver import Delivered

if TYPE_CHECKING:  # without urllib3 the always-firing alert can be made all the same
    from streamae.alerting.http_client import HttpClient


def watchdog_alert(labels: Labels, started_ms: int) -> Alert:
    """Return the alert that always fires: when it stops, alerts no longer arrive.

    Args:
        labels: `alerts.labels`.
        started_ms: wall clock at which this process began.
    """
    summary = "streamae delivers alerts; when this stops, it does not"
    return own_alert(Cause.WATCHDOG, summary, started_ms, labels=labels)


class Heartbeat:
    """Asks one address, to say that all is well.

    Args:
        url: `alerts.heartbeat_url`; it can be a secret.
        client: asks it.
    """

    def __init__(self, url: str, client: HttpClient) -> None:
        self._url, self._client = url, client

    def beat(self, now_ms: int) -> str:
        """Ask once; return "" where it was taken, else why not, without the address.

        Args:
            now_ms: wall clock.
        """
        try:
            answer = self._client.request("GET", self._url)
        except (UnreachableError, ForbiddenAddressError) as error:
            return str(error)
        outcome = outcome_of(answer, now_ms, [self._url])
        return "" if isinstance(outcome, Delivered) else outcome.why
