"""What the settings say about a change, as one receiver's desk asks for it: is it meant, how bad, whose, told how.

Must not know: what was told before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from streamae.alerting.alert import Alert, Labels, SeverityClass
from streamae.alerting.change import Change
from streamae.alerting.identity import identity_of, summary_of
from streamae.alerting.owners import Owners
from streamae.alerting.routing import Routing
from streamae.settings.delivery import DeliverySettings

LinkOf = Callable[[Change, Labels], str]


def no_link(_change: Change, _labels: Labels) -> str:
    """Lead nowhere."""
    return ""


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one receiver; where owners change, they are replaced.

    Attributes:
        receiver: its name.
        settings: of the delivery.
        routing: of all receivers.
        owners: of the keys.
        link_of: makes the address behind an alert of a change and the alert's labels. Must not raise.
    """

    receiver: str
    settings: DeliverySettings
    routing: Routing
    owners: Owners
    link_of: LinkOf = no_link

    def with_owners(self, owners: Owners) -> Rules:
        """Return the same with other owners."""
        return replace(self, owners=owners)

    def counts(self, change: Change) -> bool:
        """Tell whether its detector is one of those whose events count."""
        return not self.settings.detectors or change.detector in self.settings.detectors

    def class_of(self, change: Change) -> SeverityClass:
        """Return how bad it is."""
        return SeverityClass.of(change.severity, self.settings.warning_severity, self.settings.critical_severity)

    def identity_of(self, change: Change) -> dict[str, str]:
        """Return the labels under which its episode is told."""
        return identity_of(change, self.settings.labels, self.owners.labels_of(change.key))

    def wants(self, change: Change, identity: Labels, severity: SeverityClass) -> bool:
        """Tell whether a route leads to the receiver, as things are with this change."""
        duration_ms = max(change.end_ms - change.start_ms, 0)
        return self.receiver in self.routing.goes_to(
            identity, severity, change.state, change.confidence, change.cause, duration_ms
        )

    def alert_of(
        self,
        change: Change,
        identity: Labels,
        classes: tuple[SeverityClass, ...],
        started_ms: int,
    ) -> Alert:
        """Return the alert that tells a change, as open.

        Args:
            change: the newest of the episode.
            identity: from `identity_of`, as it was when the episode was first told.
            classes: reached so far, the highest last.
            started_ms: wall clock.
        """
        return Alert(
            episode_id=change.episode_id,
            identity=identity,
            classes=classes,
            sequence=change.sequence,
            event=change.event,
            summary=summary_of(change, classes[-1]),
            started_ms=started_ms,
            link=self.link_of(change, {**identity, "severity": classes[-1].word}),
        )
