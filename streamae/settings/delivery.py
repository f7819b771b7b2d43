"""The settings of how alerts reach people: receivers, routes, owners, and how long things are remembered.

Secrets stand in files only, so that no listing of settings, processes or variables shows one.
Must not know: other sections.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from streamae.settings.section import Millis, Name, Positive, Section, ZoneName

ClassWord = Literal["info", "warning", "critical"]
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
LabelName = Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")]
Labels = dict[LabelName, str]
Share = Annotated[float, Field(ge=0, le=1)]
ReceiverName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")]


def _address(url: str) -> str:
    """Refuse what is no address of a web service, and credentials where they would be printed."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an http:// or https:// address")
    if "@" in parts.netloc:
        raise ValueError("must not hold credentials: give them as a file")
    return url


Address = Annotated[str, AfterValidator(_address)]


class ReceiverSettings(Section):
    """One receiver of alerts."""

    name: ReceiverName = Field(description="Name in routes, metrics and the consumer group.")
    kind: Literal["alertmanager", "pagerduty", "webhook", "apprise", "log"] = Field(description="What it is.")
    url: Address | None = Field(
        None, description="webhook: where changes are posted. pagerduty: in place of its own address."
    )
    urls: tuple[Address, ...] = Field((), description="alertmanager: all of its members; each is told everything.")
    username: str | None = Field(None, description="For basic authentication.")
    password_file: Path | None = Field(None, description="File with the password of `username`.")
    token_file: Path | None = Field(None, description="File with a bearer token.")
    routing_key_file: Path | None = Field(None, description="pagerduty: file with the integration key.")
    region: Literal["us", "eu"] = Field("us", description="pagerduty: service region.")
    secret_files: tuple[Path, ...] = Field(
        (), max_length=2, description="webhook: file with the signing secret; two while it is changed."
    )
    urls_file: Path | None = Field(None, description="apprise: file with its addresses, one a line; they hold secrets.")
    title: str | None = Field(None, description="apprise: Jinja template of the first line.")
    body: str | None = Field(None, description="apprise: Jinja template of the text.")
    group_by: tuple[LabelName, ...] = Field(
        ("detector", "cause"), description="apprise: labels whose alerts make one message."
    )
    group_wait_ms: Annotated[int, Field(ge=0)] = Field(
        30_000, description="apprise: how long a message waits for more of its group."
    )
    group_interval_ms: Millis = Field(5 * MINUTE, description="apprise: shortest time between two messages of a group.")
    timeout_ms: Millis = Field(10_000, description="Longest wait for one answer.")
    ca_file: Path | None = Field(None, description="PEM file of trusted authorities.")
    zone: ZoneName | None = Field(None, description="IANA zone in which times are shown beside UTC.")

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> Self:
        needed = {
            "alertmanager": (bool(self.urls), "urls"),
            "pagerduty": (self.routing_key_file is not None, "routing_key_file"),
            "webhook": (self.url is not None, "url"),
            "apprise": (self.urls_file is not None, "urls_file"),
            "log": (True, ""),
        }
        is_there, what = needed[self.kind]
        if not is_there:
            raise ValueError(f"{what}: needed by kind = {self.kind}")
        if (self.username is None) != (self.password_file is None):
            raise ValueError("username: goes together with password_file")
        return self


class RouteSettings(Section):
    """Which alerts a receiver gets; everything that is set must fit."""

    receiver: ReceiverName = Field(description="Who gets them.")
    labels: Labels = Field(
        default_factory=dict, description="By label, a pattern: * = any text, ? = a character, [ab] = one of them."
    )
    classes: tuple[ClassWord, ...] = Field((), description="Severity classes; none = all.")
    states: tuple[Literal["learning", "provisional", "ready", "resuming", "starved"], ...] = Field(
        (), description="States of the key; none = all."
    )
    causes: tuple[Name, ...] = Field((), description="Causes; none = all.")
    min_confidence: Share = Field(0.0, description="Least confidence.")
    min_duration_ms: Annotated[int, Field(ge=0)] = Field(
        0, description="Event time from the first to the newest anomalous window, at least."
    )
    goes_on: bool = Field(default=True, description="Later routes are looked at too; false = this one is the last.")


class DeliverySettings(Section):
    """How alerts reach people."""

    group_id: Name = Field("streamae-alerts", description="`streamae alert`: consumer groups are GROUP.RECEIVER.")
    receivers: tuple[ReceiverSettings, ...] = Field((), description="Tables of `name`, `kind` and what that needs.")
    routes: tuple[RouteSettings, ...] = Field(
        (),
        description="Tables of `receiver` and what must fit: `labels`, `classes`, `states`, `causes`, `min_confidence`,"
        " `min_duration_ms`. None = pagerduty gets critical alerts of ready keys, alertmanager all of ready keys, the"
        " others everything.",
    )
    detectors: tuple[Name, ...] = Field(
        (),
        description="Detectors (consumer groups) whose events count, and who are missed from the start; none = all that"
        " are heard.",
    )
    labels: Labels = Field(default_factory=dict, description="Labels of every alert, such as the environment.")
    owners: Path | None = Field(
        None, description="CSV of key patterns and labels (`pattern,team,service`); the first that matches counts."
    )
    default_owner: Labels = Field(default_factory=dict, description="Labels of keys without an owner.")
    link: str | None = Field(None, description="Jinja template of the address behind an alert.")
    warning_severity: Annotated[float, Field(ge=0, le=100)] = Field(50.0, description="Severity of class warning.")
    critical_severity: Annotated[float, Field(ge=0, le=100)] = Field(90.0, description="Severity of class critical.")
    hold_ms: Millis = Field(15 * MINUTE, description="Alertmanager: how long an alert stands without our word.")
    repeat_ms: Millis = Field(MINUTE, description="Alertmanager: how often an open alert is sent again.")
    remember_ms: Millis = Field(7 * DAY, description="How long a closed episode is known, so that it is not told anew.")
    stale_ms: Millis = Field(10 * MINUTE, description="Wall time without a sign of a detector until it is told.")
    give_up_ms: Millis = Field(
        6 * HOUR,
        description="Wall time after that until its alerts end as `stale`; also of what may have ended unread.",
    )
    max_age_ms: Millis = Field(
        HOUR, description="After a first start or an outage: older news is counted in one summary, not told one by one."
    )
    max_silence_ms: Millis = Field(7 * DAY, description="Longest `streamae silence`.")
    max_pending: Positive = Field(10_000, description="Alerts that wait for one receiver until reading pauses.")
    dead_letter_topic: Name = Field("anomalies-alert-dead-letters", description="Topic of alerts that were refused.")
    orders_topic: Name = Field(
        "anomalies-alert-orders", description="Compacted topic of silences and of alerts that an operator has ended."
    )
    redis_url: str | None = Field(None, description="Redis that remembers what was told; unset = state.redis_url.")
    redis_username: str | None = Field(None, description="ACL user there; unset = state.redis_username.")
    redis_password_file: Path | None = Field(None, description="File with its password; unset = that of state.")
    key_prefix: Name = Field("sae-alerts", description="First part of every Redis key of `streamae alert`.")
    heartbeat_url: Address | None = Field(
        None, description="Asked each minute while alerts can be delivered: a dead-man switch."
    )
    http_host: str = Field("127.0.0.1", description="Address that answers /livez, /readyz and /metrics of alerting.")
    http_port: Annotated[int, Field(ge=0, le=65_535)] = Field(9465, description="Its port; 0 = any free one.")

    def delivery_conflicts(self) -> list[str]:
        """Return what no single field can see, one line each: `alerts.field: what is wrong`."""
        names = [receiver.name for receiver in self.receivers]
        unknown = sorted({route.receiver for route in self.routes} - set(names))
        checks = [
            (len(set(names)) < len(names), "alerts.receivers: two have the same name"),
            (bool(unknown), f"alerts.routes: none of alerts.receivers is called {', '.join(unknown)}"),
            (
                self.warning_severity > self.critical_severity,
                "alerts.warning_severity: must not exceed alerts.critical_severity",
            ),
            (self.hold_ms < 3 * self.repeat_ms, "alerts.hold_ms: at least three times alerts.repeat_ms"),
        ]
        return [line for is_wrong, line in checks if is_wrong]
