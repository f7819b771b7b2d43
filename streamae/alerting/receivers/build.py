"""From settings to receivers: one line a kind. Must not know: routes, or what receivers are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from streamae.alerting.receiver import Receiver
from streamae.alerting.receivers.log import LogReceiver
from streamae.alerting.receivers.secret_files import authorization, read_lines, read_secret_file, setting_name
from streamae.errors import ConfigError
from streamae.settings.delivery import DeliverySettings, ReceiverSettings

if TYPE_CHECKING:
    from streamae.alerting.http_client import HttpClient


def build_receiver(settings: ReceiverSettings, alerts: DeliverySettings) -> Receiver:
    """Return the receiver that a table of `alerts.receivers` describes; it has asked nobody yet.

    Raises:
        ConfigError: a file of it cannot be used, a template is none, or a library that it needs is not installed.
    """
    try:
        return BUILDERS[settings.kind](settings, alerts)
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        name = setting_name(settings, "kind")
        raise ConfigError([f"{name}: {settings.kind} needs {library}: install streamae[alerts]"]) from error


def _alertmanager(settings: ReceiverSettings, alerts: DeliverySettings) -> Receiver:
    from streamae.alerting.receivers.alertmanager import Alertmanager

    headers, secrets = authorization(settings)
    return Alertmanager(
        settings.name,
        settings.urls,
        http_client(settings),
        headers=headers,
        hold_ms=alerts.hold_ms,
        repeat_ms=alerts.repeat_ms,
        zone=settings.zone,
        secrets=secrets,
    )


def _pagerduty(settings: ReceiverSettings, _: DeliverySettings) -> Receiver:
    from streamae.alerting.receivers.pagerduty import ADDRESSES, PagerDuty

    assert settings.routing_key_file is not None
    key = read_secret_file(settings.routing_key_file, setting_name(settings, "routing_key_file"))
    url = settings.url or ADDRESSES[settings.region]
    return PagerDuty(settings.name, url, key, http_client(settings), settings.zone)


def _webhook(settings: ReceiverSettings, _: DeliverySettings) -> Receiver:
    from streamae.alerting.receivers.webhook import Webhook, read_secret

    assert settings.url is not None
    headers, hidden = authorization(settings)
    secrets = []
    for path in settings.secret_files:
        text = read_secret_file(path, setting_name(settings, "secret_files"))
        try:
            secrets.append(read_secret(text))
        except ValueError as error:
            name = setting_name(settings, "secret_files")
            raise ConfigError([f"{name}: no signing secret (whsec_ and base64 of 16 bytes or more): {path}"]) from error
        hidden.append(text)
    return Webhook(settings.name, settings.url, http_client(settings), headers=headers, secrets=secrets, hidden=hidden)


def _apprise(settings: ReceiverSettings, _: DeliverySettings) -> Receiver:
    from streamae.alerting.receivers.apprise import AppriseReceiver, WrongAddressError
    from streamae.alerting.receivers.messages import MessageMaker
    from streamae.alerting.templates import TemplateRefusedError

    assert settings.urls_file is not None
    urls = read_lines(settings.urls_file, setting_name(settings, "urls_file"))
    try:
        maker = MessageMaker(settings.name, settings.title, settings.body, settings.zone)
    except TemplateRefusedError as error:
        raise ConfigError([f"{setting_name(settings, 'title')}, body: not a Jinja template: {error}"]) from error
    try:
        return AppriseReceiver(settings.name, urls, maker, settings.timeout_ms)
    except WrongAddressError as error:
        name = setting_name(settings, "urls_file")
        raise ConfigError(
            [f"{name}: line {error.line} is no address that Apprise takes: {settings.urls_file}"]
        ) from error


def _log(settings: ReceiverSettings, _: DeliverySettings) -> Receiver:
    return LogReceiver(settings.name)


def http_client(settings: ReceiverSettings) -> HttpClient:
    """Return the client of one receiver.

    Raises:
        ConfigError: its file of authorities cannot be used.
    """
    from streamae.alerting.http_client import HttpClient

    try:
        return HttpClient(settings.timeout_ms, settings.ca_file)
    except OSError as error:  # also of what is no certificate
        reason = error.strerror or "holds no certificate"
        raise ConfigError(
            [f"{setting_name(settings, 'ca_file')}: cannot be read: {settings.ca_file}: {reason}"]
        ) from error


BUILDERS: Mapping[str, Callable[[ReceiverSettings, DeliverySettings], Receiver]] = {
    "alertmanager": _alertmanager,
    "pagerduty": _pagerduty,
    "webhook": _webhook,
    "apprise": _apprise,
    "log": _log,
}
