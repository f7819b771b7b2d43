"""What `streamae silence` does: order that messages are withheld, list such orders, end one.

What Alertmanager is told is silenced there; all other receivers go by the order itself, which is written in any case:
it also says who gave it and why. Must not know who obeys.
"""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from streamae.alerting.order_topic import give_order, read_orders
from streamae.alerting.receiver import Receiver
from streamae.alerting.receivers.build import build_receiver
from streamae.alerting.silences import Silence, matcher
from streamae.commands.alert_arguments import EXPIRE, LIST
from streamae.commands.invocation import Invocation
from streamae.commands.operator import new_id, shown, shown_labels, who
from streamae.errors import ExitCode, FatalError, RetryableError, StreamaeError
from streamae.reports.text import moment
from streamae.settings.alerts import AlertSettings
from streamae.settings.tree import Settings

if TYPE_CHECKING:  # they need a library that only those have installed who have such a receiver
    from streamae.alerting.receivers.silence_api import ForeignSilence, SilenceApi

    Elsewhere = Mapping[str, SilenceApi]  # by receiver

HOUR_MS = 3_600_000


def main(invocation: Invocation) -> int:
    """Do what `streamae silence` was asked for."""
    options, settings = invocation.options, invocation.load(awaits_bundle=True).settings
    now_ms = time.time_ns() // 1_000_000
    with _elsewhere(settings.alerts) as elsewhere:
        if options.words == [LIST]:
            return _list(settings, elsewhere, now_ms)
        if options.words[:1] == [EXPIRE]:
            return _expire(options, settings, elsewhere, now_ms)
        return _set(options, settings, elsewhere, now_ms)


def _set(options: Namespace, settings: Settings, elsewhere: Elsewhere, now_ms: int) -> int:
    longest_ms = settings.alerts.max_silence_ms
    if options.span_ms > longest_ms:
        raise FatalError(f"--for: at most {longest_ms / HOUR_MS:g}h (alerts.max_silence_ms)")
    labels = dict(options.labels) | ({"key": options.words[0]} if options.words else {})
    silence = Silence(new_id(), labels, now_ms, now_ms + options.span_ms, who(options.who), options.why)
    made, failures = _make_elsewhere(silence, elsewhere)
    try:
        give_order(settings.kafka, settings.alerts.orders_topic, replace(silence, elsewhere=made))
    except StreamaeError:
        for name, foreign_id in made.items():
            with suppress(RetryableError):
                elsewhere[name].expire_silence(foreign_id)
        raise
    places = f", also in {', '.join(sorted(made))}" if made else ""
    print(f"silence {silence.id}: {shown_labels(labels)} until {moment(silence.ends_ms)}, by {silence.who}{places}")
    if not settings.alerts.receivers:
        print("no Alertmanager was asked: the settings name no receivers (--config FILE)", file=sys.stderr)
    return _told(failures)


def _make_elsewhere(silence: Silence, elsewhere: Elsewhere) -> tuple[dict[str, str], list[str]]:
    """Return, by receiver that silences by itself, the name of the silence there; and what failed."""
    made, failures = {}, []
    fits_nothing = {"": ""}
    patterns = {  # there, a label that an alert does not have counts as empty
        name: f"?{pattern}" if matcher({"": pattern})(fits_nothing) else pattern
        for name, pattern in silence.labels.items()
    }
    for name, api in elsewhere.items():
        try:
            why = f"{silence.why} (streamae {silence.id})"
            made[name] = api.create_silence(patterns, silence.starts_ms, silence.ends_ms, silence.who, why)
        except RetryableError as error:
            failures.append(f"{name} is not silenced by itself, only new alerts are withheld from it: {error}")
    return made, failures


def _expire(options: Namespace, settings: Settings, elsewhere: Elsewhere, now_ms: int) -> int:
    name, alerts = options.words[1], settings.alerts
    silence = read_orders(settings.kafka, alerts.orders_topic, alerts.max_silence_ms).silence(name)
    if silence is None:
        return _expire_foreign(name, elsewhere)
    if now_ms >= silence.ends_ms:
        raise FatalError(f"silence {name} is over since {moment(silence.ends_ms)}")
    by = who(options.who)
    ended = replace(silence, ends_ms=now_ms, ended_by=by, ended_why=options.why or "")
    give_order(settings.kafka, alerts.orders_topic, ended)
    failures = []
    for receiver, foreign_id in silence.elsewhere.items():
        try:
            if receiver not in elsewhere:
                raise RetryableError("no receiver of the settings is called so")
            elsewhere[receiver].expire_silence(foreign_id)
        except RetryableError as error:
            failures.append(f"{receiver} stays silent until {moment(silence.ends_ms)}: {error}")
    print(f"silence {name} ended: {shown_labels(silence.labels)}, by {by}")
    return _told(failures)


def _expire_foreign(name: str, elsewhere: Elsewhere) -> int:
    """End a silence that somebody made in Alertmanager."""
    for receiver, api in elsewhere.items():
        if any(found.id == name for found in _live(api)):
            api.expire_silence(name)
            print(f"silence {name} ended in {receiver}")
            return ExitCode.OK
    raise FatalError(f"there is no silence {shown(name)}: `streamae silence list` names all")


def _list(settings: Settings, elsewhere: Elsewhere, now_ms: int) -> int:
    alerts = settings.alerts
    ours = read_orders(settings.kafka, alerts.orders_topic, alerts.max_silence_ms).orders(now_ms).silences
    rows = [
        (each.id, moment(each.ends_ms), shown_labels(each.labels), each.who, each.why, " ".join(sorted(each.elsewhere)))
        for each in ours
    ]
    known, failures = {foreign for each in ours for foreign in each.elsewhere.values()}, []
    for receiver, api in elsewhere.items():
        try:
            rows += [
                (found.id, found.ends_at, " ".join(found.matchers), found.who, found.why, f"{receiver} only")
                for found in _live(api)
                if found.id not in known
            ]
        except RetryableError as error:
            failures.append(f"{receiver} does not tell its silences: {error}")
    print(table(("id", "until", "what", "who", "why", "elsewhere"), rows) if rows else "no silences")
    return _told(failures)


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return rows under their head, in columns; what a terminal would obey is escaped."""
    cells = [head, *(tuple(map(shown, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in cells)


def _live(api: SilenceApi) -> list[ForeignSilence]:
    return [found for found in api.list_silences() if found.state != "expired"]


def _told(failures: list[str]) -> int:
    for failure in failures:
        print(shown(failure), file=sys.stderr)
    return ExitCode.FAILURE if failures else ExitCode.OK


@contextmanager
def _elsewhere(alerts: AlertSettings) -> Iterator[Elsewhere]:
    """Give the receivers that silence by themselves."""
    found: dict[str, SilenceApi] = {}
    with ExitStack() as opened:
        for settings in alerts.receivers:
            if settings.kind == "alertmanager":
                receiver = opened.enter_context(closing(build_receiver(settings, alerts)))
                found[settings.name] = _silences_of(receiver)
        yield found


def _silences_of(receiver: Receiver) -> SilenceApi:
    from streamae.alerting.receivers.alertmanager import Alertmanager

    assert isinstance(receiver, Alertmanager)
    return receiver.silences
