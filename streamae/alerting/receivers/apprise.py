"""Messages to people by Apprise: chats, mail, telephones, a hundred more. Best effort: it tells only yes or no.

The only module that imports apprise (extra `alerts`). It does its own DNS and takes its own way: the addresses that
are never asked (`addresses.py`) are not kept from it. Must not know: what a message says.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from apprise import Apprise, AppriseAsset, NotifyFormat, NotifyType, OverflowMode
from apprise.plugins import NotifyBase

from streamae.alerting.alert import Action, Alert, Notice
from streamae.alerting.receiver import Delivered, Outcome, Receiver, Refused, Retry
from streamae.alerting.receivers.messages import MessageMaker
from streamae.alerting.templates import TemplateRefusedError

SILENT = logging.CRITICAL + 1
MOST_REMEMBERED = 50_000

_Known = tuple[str, int, bool]  # episode, sequence, whether it is over


class WrongAddressError(ValueError):
    """An address that Apprise does not take: it can hold secrets, so that only its place is named.

    Attributes:
        line: counted from 1 over the addresses.
    """

    def __init__(self, line: int) -> None:
        super().__init__(f"address {line} is none that Apprise takes")
        self.line = line


@dataclass(slots=True)
class _Service:
    """One address, and what it has taken that not all others have yet."""

    apprise: Apprise
    has_failed: bool = False  # the last time
    taken: set[_Known] = field(default_factory=set)


class AppriseReceiver(Receiver):
    """The addresses of one file, all of which get each message.

    An address that has taken a message is left alone while another one fails: nobody is told twice. An alert that goes
    on is told again only when its class has risen.

    Args:
        name: as in the settings.
        urls: Apprise's addresses; secret.
        maker: makes the messages.
        timeout_ms: longest time for all addresses together.
        clock: monotonic seconds.

    Raises:
        WrongAddressError: one of them is none.
    """

    wants_every_change = False
    groups_alerts = False
    repeat_ms: int | None = None
    repeat_resolved_ms = 0

    def __init__(
        self,
        name: str,
        urls: Sequence[str],
        maker: MessageMaker,
        timeout_ms: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._clock = clock
        self._maker = maker
        self._timeout_s = timeout_ms / 1_000
        _quieten()
        self._services = [_Service(_service(url, number, self._timeout_s)) for number, url in enumerate(urls, 1)]
        self._told: dict[str, Alert] = {}  # by episode, as it was told last

    def send(self, notices: Sequence[Notice], now_ms: int) -> list[Outcome]:  # noqa: ARG002 - alerts have their times
        news = [number for number, notice in enumerate(notices) if self._is_news(notice)]
        outcomes: list[Outcome] = [Delivered()] * len(notices)
        refusals = self._refusals([notices[number] for number in news])
        for number, refusal in zip(news, refusals, strict=True):
            outcomes[number] = refusal or Delivered()
        good = [number for number, refusal in zip(news, refusals, strict=True) if refusal is None]
        failure = self._tell([notices[number] for number in good]) if good else None
        for number in good if failure else ():
            outcomes[number] = failure or Delivered()
        for notice, outcome in zip(notices, outcomes, strict=True):
            if isinstance(outcome, Delivered):
                self._remember(notice.alert)
        return outcomes

    def close(self) -> None:
        self._services.clear()

    def _refusals(self, notices: Sequence[Notice]) -> list[Refused | None]:
        """Return for each notice why no message can be made of it; None = one can."""
        whole = self._refusal(notices) if notices else None
        if whole is None or len(notices) == 1:
            return [whole] * len(notices)
        alone = [self._refusal([notice]) for notice in notices]
        return alone if any(alone) else [whole] * len(notices)

    def _refusal(self, notices: Sequence[Notice]) -> Refused | None:
        try:
            self._maker.message(notices)
        except TemplateRefusedError as error:
            return Refused(f"template: {error}")
        except Exception as error:  # noqa: BLE001 - of an alert that cannot be told as it is, whatever it holds
            return Refused(f"cannot be told: {type(error).__name__}")
        return None

    def _tell(self, notices: Sequence[Notice]) -> Retry | None:
        """Tell each address what it has not taken yet; return what is to be done about it if one failed."""
        deadline_s = self._clock() + self._timeout_s
        self._services.sort(key=lambda service: service.has_failed)  # one that hangs takes no time of the others
        for service in self._services:
            missing = [notice for notice in notices if _known(notice.alert) not in service.taken]
            left_s = deadline_s - self._clock()
            if missing and left_s > 0:
                service.has_failed = not self._notified(service.apprise, missing, left_s)
                if not service.has_failed:
                    service.taken.update(_known(notice.alert) for notice in missing)
        wanted = {_known(notice.alert) for notice in notices}
        failed = sum(not wanted <= service.taken for service in self._services)
        for service in self._services:
            service.taken = service.taken & wanted if failed else set()
        return Retry(f"{failed} of {len(self._services)} addresses did not take it") if failed else None

    def _notified(self, apprise: Apprise, notices: Sequence[Notice], within_s: float) -> bool:
        """Hand a message to Apprise, as plain text: it escapes it for HTML, Markdown and Slack itself."""
        is_over = all(notice.alert.ended_ms is not None for notice in notices)
        kind = NotifyType.SUCCESS if is_over else NotifyType.WARNING
        try:
            title, body = self._maker.message(notices)
            return bool(
                apprise.notify(
                    body,
                    title=title,
                    notify_type=kind,
                    body_format=NotifyFormat.TEXT,
                    timeout=within_s,
                    log_level=SILENT,
                )
            )
        except Exception:  # noqa: BLE001 - of a hundred plugins; what they say can hold the address
            return False

    def _is_news(self, notice: Notice) -> bool:
        """Tell whether people are to read of it: what merely goes on is none, nor what is sent again."""
        if notice.action not in {Action.UPDATE, Action.REPEAT}:
            return True
        earlier = self._told.get(notice.alert.episode_id)
        known = notice.alert.classes[0] if earlier is None else earlier.severity
        return notice.alert.severity > known

    def _remember(self, alert: Alert) -> None:
        self._told.pop(alert.episode_id, None)
        if alert.ended_ms is None:
            self._told[alert.episode_id] = alert
            if len(self._told) > MOST_REMEMBERED:
                del self._told[next(iter(self._told))]


def _known(alert: Alert) -> _Known:
    return alert.episode_id, alert.sequence, alert.ended_ms is not None


def _service(url: str, number: int, timeout_s: float) -> Apprise:
    asset = AppriseAsset(
        app_id="streamae",
        app_desc="streamae",
        app_url="",
        storage_mode="memory",
        service_timeout=timeout_s,
        allow_templates=False,
        secure_logging=True,
        http_redirects=False,
        pgp_autogen=False,
        pem_autogen=False,
    )
    made = None
    with suppress(Exception):  # of a hundred plugins; what they say can hold the address
        made = Apprise.instantiate(url, asset=asset)
    if not isinstance(made, NotifyBase):
        raise WrongAddressError(number)
    if "overflow=" not in url:
        made.overflow_mode = OverflowMode.TRUNCATE  # else what is too long for a service would be refused for ever
    apprise = Apprise(asset=asset)
    apprise.add(made)
    return apprise


def _quieten() -> None:
    """Keep what Apprise says to itself: it can hold addresses, which hold secrets."""
    logging.getLogger("apprise").setLevel(SILENT)
