"""A3: many keys at once: a dead rack is one mail, not hundreds, and one group at Alertmanager.

All episodes open in one transaction, some more join later, all end together. A real mail server, told by Apprise, must
get three mails: the crowd with its ten worst and a count, those that joined, the end. Alertmanager must hold one group
of all of them, and nothing after the end.
"""

from __future__ import annotations

import json
import re
from functools import partial
from typing import Any

from scripts.services import Alertmanager
from scripts.services.mail_server import MailServer
from scripts.verify.torture.alert_episodes import DETECTOR, Episode, EpisodeProducer, Step, episode
from scripts.verify.torture.alert_site import OWN_CAUSES, PARTITIONS, AlertSite, Receivers, bodies
from scripts.verify.torture.context import Context
from scripts.verify.torture.report import Result
from scripts.verify.torture.workers import wait_until

GROUP_BY = ("alertname", "detector", "cause")
GROUP_WAIT_MS, GROUP_INTERVAL_MS = 5_000, 10_000
JOINED_SHARE = 0.04
SHOWN = 10
PATIENCE_S = 120.0


def crowd(context: Context) -> Result:
    """A3: `context.faults` keys at once."""
    joined = max(1, int(JOINED_SHARE * context.faults))
    first = [_episode(number, context.faults) for number in range(context.faults)]
    later = [_episode(number, context.faults) for number in range(context.faults, context.faults + joined)]
    alertmanager = partial(Alertmanager, group_by=GROUP_BY, group_wait="2s")
    with (
        MailServer() as mail,
        AlertSite(context, alertmanager=alertmanager, receivers=_receivers) as site,
    ):
        (site.folder / "chat.urls").write_text(mail.address, encoding="utf-8")
        site.begin()
        producer = EpisodeProducer(site.servers, site.topic, PARTITIONS, context.rng)
        process = site.start()
        wait_until(process.is_ready, "the process to be ready", PATIENCE_S)
        producer.write_at_once([Step(each.key, each.changes[0]) for each in first])
        wait_until(lambda: len(mail.mails) == 1, "the mail of the crowd", PATIENCE_S)
        wait_until(lambda: len(site.firing()) == len(first), "all alerts at Alertmanager", PATIENCE_S)
        groups = _groups(site)
        producer.write_at_once([Step(each.key, each.changes[0]) for each in later])
        wait_until(lambda: len(mail.mails) == 2, "the mail of those that joined", PATIENCE_S)
        producer.write_at_once([Step(each.key, each.changes[-1]) for each in (*first, *later)])
        wait_until(lambda: len(mail.mails) == 3, "the mail of the end", PATIENCE_S)
        site.wait_until_all_is_told()
        wait_until(lambda: not site.firing(), "Alertmanager to show nothing as firing", PATIENCE_S)
        process.terminate()
        code = process.wait()
        return _judge(site, mail, groups, first, later, code)


def _episode(number: int, count: int) -> Episode:
    """Return an episode without updates; the last ones are the worst."""
    return episode(f"rack-7-host-{number:03d}".encode(), number, 0, severity=50 + 50 * (number + 1) / (2 * count))


def _receivers(site: AlertSite) -> Receivers:
    return [
        {"name": "am", "kind": "alertmanager", "urls": [site.alertmanager.url]},
        {
            "name": "mail",
            "kind": "apprise",
            "urls_file": site.folder / "chat.urls",
            "group_wait_ms": GROUP_WAIT_MS,
            "group_interval_ms": GROUP_INTERVAL_MS,
        },
    ]


def _groups(site: AlertSite) -> list[dict[str, Any]]:
    """Return Alertmanager's groups of episodes."""
    found = site.asked("/api/v2/alerts/groups")
    return [group for group in found if group["labels"].get("cause") not in OWN_CAUSES]


def _judge(
    site: AlertSite,
    mail: MailServer,
    groups: list[dict[str, Any]],
    first: list[Episode],
    later: list[Episode],
    code: int,
) -> Result:
    told = [group for group in bodies(site.hook.asked) if group["groupLabels"].get("detector") == DETECTOR]
    texts = [str(one.get_body(("plain",))) for one in mail.mails]
    shown = [sorted(set(re.findall(r"rack-7-host-\d+", text))) for text in texts]
    subjects = [str(one["Subject"]) for one in mail.mails]
    sizes = [len(group["alerts"]) for group in groups]
    result = Result({
        "keys": len(first),
        "joined": len(later),
        "mails": len(mail.mails),
        "subjects": json.dumps(subjects),
        "shown_in_the_first": len(shown[0]),
        "groups": len(groups),
        "alerts_in_the_group": sizes[0] if sizes else 0,
        "messages_of_alertmanager": len(told),
    })  # fmt: skip
    worst = sorted(each.key.decode() for each in first[-SHOWN:])
    result.require(len(mail.mails) == 3, f"{len(mail.mails)} mails")
    result.require(shown[0] == worst, f"the first mail shows {shown[0]}, the worst are {worst}")
    more = f"and {len(first) - SHOWN} more"
    result.require(more in texts[0], f"the first mail does not say '{more}'")
    counts = (len(first), len(later), len(first) + len(later))
    for subject, count in zip(subjects, counts, strict=False):
        result.require(f"{count} alerts" in subject, f"the subject '{subject}' does not count {count}")
    result.require(sizes == [len(first)], f"Alertmanager's groups have {sizes} alerts")
    result.require(not _groups(site), "Alertmanager still has a group after the end")
    result.require(code == 0, f"the process ended with {code}")
    result.complaints += site.unexpected_ends()
    return result
