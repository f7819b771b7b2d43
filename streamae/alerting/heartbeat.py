"""The dead-man switch: an address that is asked while alerts can be delivered, so that somebody notices when it stops.

Must not know: whether alerts can be delivered.
"""

from __future__ import annotations

from streamae.alerting.answers import ForbiddenAddressError, UnreachableError, outcome_of
from streamae.alerting.http_client import HttpClient, Request
from streamae.alerting.receiver import Delivered


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
            answer = self._client.ask(Request("GET", self._url))
        except (UnreachableError, ForbiddenAddressError) as error:
            return str(error)
        outcome = outcome_of(answer, now_ms, [self._url])
        return "" if isinstance(outcome, Delivered) else outcome.why
