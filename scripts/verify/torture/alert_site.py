"""Where the alert process is put to the test: topics on a real Kafka, a real Alertmanager, servers that keep what they get.

    output topic -> streamae alert -> Alertmanager -> hook            what people would be told
                                   -> record (a second member of it)  everything Alertmanager is sent
                                   -> pager                           PagerDuty's rule
                                   -> webhook                         every change

Must not know: which test plays here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Self
from urllib.request import urlopen

from confluent_kafka import Consumer, KafkaException, TopicPartition

from scripts.services import Alertmanager, RedisServer
from scripts.services.http_server import Asked, HttpServer
from scripts.services.incident_server import IncidentServer
from scripts.verify.torture import outputs
from scripts.verify.torture.alert_judge import Word
from scripts.verify.torture.context import Context
from scripts.verify.torture.workers import Sections, Worker, wait_until
from streamae.fail_points import VARIABLE

PARTITIONS = 3
REPEAT_MS = 2_000  # so that what is sent again meets the faults as well
ANSWER_TIMEOUT_S = 10.0
QUIET_TIMEOUT_S = 120.0
UNTOLD = -1  # sequence of an end that is repeated once its event is forgotten
OWN_CAUSES = {"summary", "delivery_failed", "detector_silent", "watchdog"}
Receivers = Sequence[Mapping[str, Any]]


class AlertProcess(Worker):
    """`streamae alert` as its users run it."""

    program = ("-m", "streamae", "alert")

    def is_ready(self) -> bool:
        """Whether it reads, and no receiver keeps it waiting."""
        answer = self.get("/status")
        return bool(answer) and json.loads(answer)["ready"]

    def is_caught_up(self) -> bool:
        """Whether every receiver's backlog is read."""
        answer = self.get("/status")
        receivers = json.loads(answer)["receivers"].values() if answer else ()
        return bool(receivers) and all(each["caught_up"] for each in receivers)


class AlertSite:
    """The place of one test, as a context manager: afterwards no process and no server of it is left.

    Args:
        context: of the test.
        redis: what was told is kept in; None = the one that tests share.
        alertmanager: the service; None = one that groups nothing.
        alerts: more settings of `alerts`.
        receivers: in place of the usual three; each gets everything.
    """

    def __init__(
        self,
        context: Context,
        *,
        redis: RedisServer | None = None,
        alertmanager: Callable[[str], Alertmanager] = Alertmanager,
        alerts: Mapping[str, Any] | None = None,
        receivers: Callable[[AlertSite], Receivers] | None = None,
    ) -> None:
        self.name = context.fresh("alerts")
        self.folder = context.folder / self.name
        self.servers = context.shared.kafka.bootstrap_servers
        self.redis = redis or context.shared.redis
        self.hook, self.record, self.webhook, self.pager = HttpServer(), HttpServer(), HttpServer(), IncidentServer()
        self.alertmanager = alertmanager(self.hook.url)
        self._alerts, self._receivers = dict(alerts or {}), receivers or AlertSite.usual_receivers
        self.processes: list[AlertProcess] = []
        self._askers: dict[str, Consumer] = {}
        self._stack = ExitStack()

    @property
    def topic(self) -> str:
        """Where the daemon would publish."""
        return f"{self.name}-events"

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.folder.mkdir(parents=True)
            stack.callback(self._kill)
            for server in (self.hook, self.record, self.webhook, self.pager, self.alertmanager):
                stack.enter_context(server)
            (self.folder / "routing.key").write_text(self.pager.routing_key, encoding="utf-8")
            topics = {self.topic: PARTITIONS, f"{self.name}-letters": 1, f"{self.name}-orders": 1}
            outputs.create_topics(self.servers, topics)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self._stack.close()

    def usual_receivers(self) -> Receivers:
        """Return the tables of Alertmanager, pager and webhook."""
        return [
            {"name": "am", "kind": "alertmanager", "urls": [self.alertmanager.url, self.record.url]},
            self.pager_table("pager"),
            {"name": "hook", "kind": "webhook", "url": self.webhook.url},
        ]

    def pager_table(self, name: str, url: str | None = None) -> Mapping[str, Any]:
        """Return the table of a pager, at `url` in place of the usual server."""
        key = self.folder / "routing.key"
        return {
            "name": name,
            "kind": "pagerduty",
            "routing_key_file": key,
            "url": f"{self.pager.url}/v2/enqueue" if url is None else url,
        }

    def sections(self) -> Sections:
        """Return the settings: every receiver gets everything."""
        receivers = list(self._receivers(self))
        alerts = {
            "group_id": self.name,
            "receivers": receivers,
            "routes": [{"receiver": each["name"]} for each in receivers],
            "dead_letter_topic": f"{self.name}-letters",
            "orders_topic": f"{self.name}-orders",
            "key_prefix": self.name,
            "repeat_ms": REPEAT_MS,
            "http_port": 0,
        }
        return {
            "kafka": {"bootstrap_servers": self.servers},
            "output": {"topic": self.topic},
            "state": {"redis_url": self.redis.url},
            "service": {"log_format": "json"},
            "alerts": alerts | self._alerts,
        }

    def start(self, fail_point: str | None = None) -> AlertProcess:
        """Start the process; it kills itself at the fail point given, e.g. `after_alert_send:3`."""
        name = f"alert-{len(self.processes)}"
        env = {VARIABLE: fail_point} if fail_point else {}
        process = AlertProcess(name, self.folder, self.sections(), env=env)
        process.is_doomed = fail_point is not None
        self.processes.append(process)
        return process

    def begin(self) -> None:
        """Start the process for the first time and stop it when it has joined: what comes later is news to it."""
        process = self.start()
        start = dict.fromkeys(range(PARTITIONS), 0)
        wait_until(lambda: self.committed() == start, "the first commit", QUIET_TIMEOUT_S, 0.3)
        process.terminate()
        process.wait()

    def committed(self, receivers: Iterable[str] | None = None) -> dict[int, int]:
        """Return by partition how far all receivers have committed; of one that has not, nothing."""
        names = [each["name"] for each in self._receivers(self)] if receivers is None else list(receivers)
        places = [TopicPartition(self.topic, index) for index in range(PARTITIONS)]
        found: dict[int, list[int]] = {index: [] for index in range(PARTITIONS)}
        for name in names:
            if name not in self._askers:
                asker = outputs.offsets_asker(self.servers, f"{self.name}.{name}", "read_uncommitted")
                self._askers[name] = asker
                self._stack.callback(asker.close)
            try:
                answers = self._askers[name].committed(places, timeout=ANSWER_TIMEOUT_S)
            except KafkaException:  # the group has no coordinator yet
                return {}
            for place in answers:
                if place.error is None and place.offset >= 0:
                    found[place.partition].append(place.offset)
        return {index: min(offsets) for index, offsets in found.items() if len(offsets) == len(names)}

    def wait_until_all_is_told(self, receivers: Iterable[str] | None = None) -> float:
        """Wait until everything in the topic is committed by all; return the seconds.

        Raises:
            TimedOutError: it never is.
        """
        ends = outputs.ends(self.servers, self.topic)
        return wait_until(
            lambda: self._are_reached(ends, self.committed(receivers)), f"{ends} to be told", QUIET_TIMEOUT_S, 0.3
        )

    @staticmethod
    def _are_reached(ends: Mapping[int, int], committed: Mapping[int, int]) -> bool:
        return all(committed.get(index, -1) >= end for index, end in ends.items())

    def firing(self) -> list[dict[str, Any]]:
        """Return what Alertmanager shows as firing, apart from what streamae says of itself."""
        return [one for one in self.asked("/api/v2/alerts") if one["labels"].get("cause") not in OWN_CAUSES]

    def asked(self, path: str) -> Any:
        """Return Alertmanager's answer."""
        with urlopen(f"{self.alertmanager.url}{path}", timeout=ANSWER_TIMEOUT_S) as answer:  # noqa: S310 - loopback
            return json.load(answer)

    def pager_words(self) -> list[Word]:
        """Return what the pager was told of episodes."""
        details = [(event, event["payload"].get("custom_details", {})) for event in bodies(self.pager.asked)]
        return [
            Word(own["key"], own["episode_id"], event["event_action"] == "resolve", int(own["sequence"]))
            for event, own in details
            if own.get("cause") not in OWN_CAUSES
        ]

    def record_words(self) -> list[Word]:
        """Return what Alertmanager was sent of episodes; an end is what was over when it came."""
        return [
            Word(
                one["labels"]["key"],
                one["annotations"]["episode_id"],
                "ended" in one["annotations"],
                int(one["annotations"].get("sequence", UNTOLD)),
            )
            for posted in bodies(self.record.asked)
            for one in posted
            if one["labels"].get("cause") not in OWN_CAUSES
        ]

    def hook_words(self) -> list[Word]:
        """Return what Alertmanager told people, in order."""
        return [
            Word(
                one["labels"]["key"],
                one["annotations"]["episode_id"],
                one["status"] == "resolved",
                int(one["annotations"].get("sequence", UNTOLD)),
            )
            for group in bodies(self.hook.asked)
            for one in group["alerts"]
            if one["labels"].get("cause") not in OWN_CAUSES
        ]

    def webhook_words(self) -> list[Word]:
        """Return what the webhook was told of episodes."""
        return [
            Word(
                body["subject"],
                body["data"]["episode_id"],
                body["streamaeaction"] == "resolve",
                body["data"]["sequence"],
            )
            for body in bodies(self.webhook.asked)
            if "sequence" in body["data"]
        ]

    def own_alerts(self) -> int:
        """Return how often the pager was told something of streamae itself."""
        return sum(body["payload"].get("class") in OWN_CAUSES for body in bodies(self.pager.asked))

    def unexpected_ends(self) -> list[str]:
        """Return a sentence for each process that ended without our doing, or broke."""
        ended = [
            f"{process.name} ended by itself with {process.process.poll()}: {process.lines()[-2:]}"
            for process in self.processes
            if not process.is_alive() and not process.is_doomed
        ]
        crashed = [line for process in self.processes for line in process.logged("crashed")]
        return ended + [f"a thread crashed: {line.get('error')}" for line in crashed]

    def _kill(self) -> None:
        for process in self.processes:
            if process.is_alive():
                process.kill()


def bodies(asked: Sequence[Asked]) -> list[Any]:
    """Return what was posted; half a request of a process that was killed meanwhile is none."""
    found = []
    for each in list(asked):
        try:
            found.append(json.loads(each.body))
        except ValueError:
            continue
    return found
