"""The receiver that writes a log line for each change. Must not know: other receivers."""

from __future__ import annotations

from collections.abc import Sequence

from streamae.alerting.alert import Notice
from streamae.alerting.receiver import Delivered, Outcome, Receiver
from streamae.alerting.receivers.facts import ending_of
from streamae.alerting.receivers.turns import guarded
from streamae.observe.logs import get_logger


class LogReceiver(Receiver):
    """Lines `alert` in the log of the process.

    Args:
        name: as in the settings.
    """

    wants_every_change = True
    groups_alerts = True
    repeat_ms: int | None = None
    repeat_resolved_ms = 0

    def __init__(self, name: str) -> None:
        self.name = name
        self._log = get_logger(receiver=name)

    def send(self, notices: Sequence[Notice], now_ms: int) -> list[Outcome]:  # noqa: ARG002 - lines bear a time
        return [guarded(self._tell, notice) for notice in notices]

    def close(self) -> None:
        pass

    def _tell(self, notice: Notice) -> Outcome:
        alert = notice.alert
        self._log.info(
            "alert",
            action=notice.action.value,
            summary=alert.summary,
            labels=alert.labels,
            episode_id=alert.episode_id,
            sequence=alert.sequence,
            **({"ending": ending_of(alert)} if alert.ended_ms is not None else {}),
            **({"more": dict(alert.extra)} if alert.extra else {}),
        )
        return Delivered()
