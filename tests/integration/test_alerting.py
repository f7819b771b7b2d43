"""`streamae alert` as a process: real Kafka and Redis, events as the daemon writes them, a service with PagerDuty's rules."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer

from scripts.services import KafkaBroker, RedisServer
from scripts.services.http_server import Hang, HttpServer
from scripts.services.incident_server import IncidentServer
from scripts.services.process import free_port
from scripts.verify.torture.alert_episodes import event_writer
from streamae.batches import Partition
from streamae.episode_changes import ChangeKind
from streamae.fail_points import ALERT_POINTS
from streamae.reasons import CloseReason
from tests.alerting.stored_events import CHANGE
from tests.daemons import AlertProcess, Sections
from tests.kafka_io import committed_offset, create_topics, delete_before, read_all
from tests.waiting import wait_until

pytestmark = pytest.mark.integration

PATIENCE_S = 60.0
KILLED = -9


@dataclass
class Site:
    """Topics, settings and the service that is paged."""

    folder: Path
    servers: str
    topics: dict[str, str]
    sections: Sections
    pager: IncidentServer

    def process(self, fail_point: str | None = None) -> AlertProcess:
        """Return the process, not started yet."""
        return AlertProcess(self.folder, self.sections, fail_point)

    def publish(self, *keys: str, closed: bool = False) -> None:
        """Write a change of one episode of each key, as the daemon does."""
        writer = event_writer(self.topics["events"])
        change = replace(CHANGE, severity=95.0)
        if closed:
            change = replace(change, kind=ChangeKind.CLOSED, sequence=1, close_reason=CloseReason.QUIET)
        producer = KafkaProducer(bootstrap_servers=self.servers)
        try:
            for key in keys:
                message = writer.message(change, key.encode(), Partition("records", 0))
                producer.send(message.topic, message.value, message.key, list(message.headers))
            producer.flush(30)
        finally:
            producer.close(5)

    def committed(self) -> int | None:
        """Return what the pager's group has committed."""
        group = f"{self.sections['alerts']['group_id']}.pager"
        return committed_offset(self.servers, group, self.topics["events"])

    def wait_for_incidents(self, count: int) -> None:
        """Wait until so many were ever opened."""
        wait_until(lambda: len(self.pager.incidents) >= count, f"{count} incidents", PATIENCE_S)

    def wait_until_all_is_over(self) -> None:
        """Wait until nobody is paged any more."""
        wait_until(lambda: not self.pager.open_incidents, "all incidents to be resolved", PATIENCE_S)


@pytest.fixture
def make_site(kafka: KafkaBroker, tmp_path: Path, fresh_name: Callable[[str], str]) -> Iterator[Callable[..., Site]]:
    """Makes a site: topics that are there, one pager, and whatever receivers a test adds."""
    with IncidentServer() as pager:

        def make(redis_url: str, *receivers: dict[str, Any], routes: tuple[str, ...] = ()) -> Site:
            topics = {name: fresh_name(name) for name in ("events", "letters", "orders")}
            create_topics(kafka.bootstrap_servers, *topics.values())
            key = tmp_path / "routing.key"
            key.write_text(pager.routing_key, encoding="utf-8")
            own = {"name": "pager", "kind": "pagerduty", "routing_key_file": key, "url": f"{pager.url}/v2/enqueue"}
            alerts = {
                "group_id": fresh_name("alerts"),
                "receivers": [own, *receivers],
                "dead_letter_topic": topics["letters"],
                "orders_topic": topics["orders"],
                "key_prefix": fresh_name("told"),
            }
            if routes:
                alerts["routes"] = [{"receiver": name} for name in routes]
            sections: Sections = {
                "kafka": {"bootstrap_servers": kafka.bootstrap_servers},
                "output": {"topic": topics["events"]},
                "state": {"redis_url": redis_url},
                "alerts": alerts,
            }
            return Site(tmp_path, kafka.bootstrap_servers, topics, sections, pager)

        yield make


def test_an_episode_is_paged_and_taken_back(make_site: Callable[..., Site], redis_server: RedisServer) -> None:
    """What the daemon publishes wakes somebody once and lets him sleep again, and the process says how it is."""
    site = make_site(redis_server.url)
    with site.process() as process:
        process.wait_until_ready()
        site.publish("machine-006")
        site.wait_for_incidents(1)
        assert "machine-006: critical anomaly" in site.pager.incidents[0].summaries[0]
        here = {"receiver": "pager"}
        wait_until(lambda: process.metric("alerts_firing", **here, severity="critical") == 1, "the gauge", PATIENCE_S)
        site.publish("machine-006", closed=True)
        site.wait_until_all_is_over()
        assert len(site.pager.incidents) == 1
        assert process.metric("alerts_deliveries_total", outcome="delivered", **here) == 2
        status = json.loads(process.get("/status")[1])
        assert (status["ready"], status["receivers"]["pager"]["partitions"]) == (True, 1)
        assert process.get("/livez")[0] == 200
        assert process.stop() == 0
        assert process.logged("stopped")[0]["code"] == 0


def test_a_receiver_that_hangs_holds_up_no_other(make_site: Callable[..., Site], redis_server: RedisServer) -> None:
    """A webhook that never answers: the pager is told all the same, and the process says which one hangs."""
    with HttpServer(usual=Hang()) as hanging:
        hook = {"name": "hook", "kind": "webhook", "url": hanging.url, "timeout_ms": 1_000}
        site = make_site(redis_server.url, hook)
        with site.process() as process:
            process.wait_until_ready()
            site.publish("m-1")
            wait_until(lambda: process.metric("alerts_failing", receiver="hook") == 1, "the hook to fail", PATIENCE_S)
            site.publish("m-2", "m-3")
            site.wait_for_incidents(3)
            site.publish("m-1", "m-2", "m-3", closed=True)
            site.wait_until_all_is_over()
            assert process.metric("alerts_failing", receiver="pager") == 0
            assert process.metric("alerts_deliveries_total", outcome="delivered", receiver="hook") == 0
            assert hanging.asked
            assert process.stop() == 0


def test_a_refused_alert_is_a_dead_letter_and_told_by_another_receiver(
    make_site: Callable[..., Site], redis_server: RedisServer
) -> None:
    """A pager with a wrong key: the event is kept, and the webhook says so."""
    with HttpServer() as hook:
        table = {"name": "hook", "kind": "webhook", "url": hook.url}
        site = make_site(redis_server.url, table)
        (site.folder / "routing.key").write_text("wrong", encoding="utf-8")
        with site.process() as process:
            process.wait_until_ready()
            site.publish("m-1")
            wait_until(lambda: len(hook.asked) >= 2, "the hook to hear of both", PATIENCE_S)
            assert any(b"delivery_failed" in asked.body for asked in hook.asked)
            (found,) = read_all(site.servers, site.topics["letters"])
            headers = dict(found.headers)
            assert (found.key, headers["streamae-receiver"]) == (b"m-1", b"pager")
            assert b"wrong" not in b"".join(headers.values())
            assert process.stop() == 0


def test_redis_gone_for_a_while_misses_no_page(make_site: Callable[..., Site], own_redis: RedisServer) -> None:
    """Pages go on without memory; what was told meanwhile is remembered once Redis is back."""
    site = make_site(own_redis.url)
    with site.process() as process:
        process.wait_until_ready()
        site.publish("m-1")
        site.wait_for_incidents(1)
        own_redis.kill()
        site.publish("m-2")
        site.wait_for_incidents(2)
        site.publish("m-1", closed=True)
        wait_until(lambda: len(site.pager.open_incidents) == 1, "the first to be resolved", PATIENCE_S)
        wait_until(lambda: process.metric("alerts_stateless") == 1, "the gauge", PATIENCE_S)
        own_redis.start()
        wait_until(lambda: process.metric("alerts_stateless") == 0, "Redis to be used again", PATIENCE_S)
        process.process.kill()
        process.process.wait()
    with site.process() as process:
        process.wait_until_ready()
        site.publish("m-2", closed=True)
        site.wait_until_all_is_over()
        assert len(site.pager.incidents) == 2
        assert process.stop() == 0


def test_redis_that_is_never_there_and_a_kill_page_nobody_twice(make_site: Callable[..., Site]) -> None:
    """Each start finds out from the topic what was told."""
    site = make_site(f"redis://127.0.0.1:{free_port()}/0")
    with site.process() as process:
        process.wait_until_ready()
        site.publish("m-1", "m-2")
        site.wait_for_incidents(2)
        site.publish("m-1", closed=True)
        wait_until(lambda: len(site.pager.open_incidents) == 1, "one to be resolved", PATIENCE_S)
        wait_until(lambda: site.committed() == 3, "the commit", PATIENCE_S)
        process.process.kill()
        process.process.wait()
    with site.process() as process:
        process.wait_until_ready()
        site.publish("m-2", closed=True)
        site.wait_until_all_is_over()
        assert len(site.pager.incidents) == 2
        assert process.stop() == 0


@pytest.mark.parametrize("point", ALERT_POINTS)
def test_killed_at_its_worst_moments_it_pages_each_episode_once(
    point: str, make_site: Callable[..., Site], redis_server: RedisServer
) -> None:
    """After the send, after the record, before the offsets: incidents = episodes, none open, none lost."""
    site = make_site(redis_server.url)
    keys = [f"m-{number}" for number in range(6)]
    with site.process() as process:  # what lies there at a first start is old news
        wait_until(lambda: site.committed() == 0, "the first commit", PATIENCE_S)
        assert process.stop() == 0
    second = 2 if point == "after_alert_send" else 1  # there the triggers go out once more before the ends do
    for chunk in (keys[:3], keys[3:]):
        for passage, is_closed in ((1, False), (second, True)):
            with site.process(f"{point}:{passage}") as process:
                site.publish(*chunk, closed=is_closed)
                assert process.process.wait(PATIENCE_S) == KILLED
    with site.process() as process:
        process.wait_until_ready()
        site.wait_until_all_is_over()
        assert sorted(incident.summaries[0].split(":")[0] for incident in site.pager.incidents) == keys
        assert process.stop() == 0


def test_a_second_process_takes_over_and_the_first_ends(
    make_site: Callable[..., Site], redis_server: RedisServer, tmp_path: Path
) -> None:
    """Two that tell the same receivers would page twice: the group knows one of each name."""
    site = make_site(redis_server.url)
    other = tmp_path / "other"
    other.mkdir()
    with site.process() as first:
        first.wait_until_ready()
        with replace(site, folder=other).process() as second:
            assert first.process.wait(PATIENCE_S) == 1
            second.wait_until_ready()
            site.publish("m-1")
            site.wait_for_incidents(1)
            assert second.stop() == 0
        assert first.logged("crashed")[0]["kind"] == "FatalError"


def test_missing_topics_are_told_and_waited_for(
    make_site: Callable[..., Site], redis_server: RedisServer, fresh_name: Callable[[str], str]
) -> None:
    """The process does not end for it, and needs no restart once they are there."""
    site = make_site(redis_server.url)
    topic = fresh_name("late")
    site.sections["output"]["topic"] = site.topics["events"] = topic
    with site.process() as process:
        wait_until(lambda: process.logged("starting"), "the start", PATIENCE_S)
        wait_until(
            lambda: any(topic in line.get("why", "") for line in process.logged("alerting_trouble")),
            "the topic to be named",
            PATIENCE_S,
        )
        assert process.get("/readyz")[0] == 503
        create_topics(site.servers, topic)
        process.wait_until_ready()
        site.publish("m-1")
        site.wait_for_incidents(1)
        assert process.stop() == 0


def test_a_receiver_that_was_removed_is_named_with_what_it_has_open(
    make_site: Callable[..., Site], redis_server: RedisServer
) -> None:
    """Nobody tells it of an end: whoever took its table away reads so, and who is told of what instead."""
    site = make_site(redis_server.url, {"name": "log", "kind": "log"})
    with site.process() as process:
        process.wait_until_ready()
        assert not process.logged("receiver_removed")
        site.publish("m-1")
        site.wait_for_incidents(1)
        assert process.stop() == 0
    del site.sections["alerts"]["receivers"][0]
    with site.process() as process:
        process.wait_until_ready()
        (removed,) = process.logged("receiver_removed")
        assert (removed["receiver"], removed["open"]) == ("pager", 1)
        (begun,) = process.logged("alerting")
        assert (begun["receivers"], begun["events"]) == ({"log": "log"}, site.topics["events"])
        assert process.logged("reading_begins")[0]["offsets"]
        assert process.stop() == 0


def test_events_that_were_deleted_unread_are_noticed(make_site: Callable[..., Site], redis_server: RedisServer) -> None:
    """Whoever is down for longer than the topic keeps its events reads so; a stop in which nothing is lost says nothing."""
    site = make_site(redis_server.url)

    def starts_and_stops() -> bool:
        with site.process() as process:
            process.wait_until_ready()
            assert process.stop() == 0
            return bool(process.logged("events_deleted_unread"))

    with site.process() as process:
        process.wait_until_ready()
        site.publish("m-1")
        site.wait_for_incidents(1)
        wait_until(lambda: site.committed() == 1, "the commit", PATIENCE_S)
        assert process.stop() == 0
    delete_before(site.servers, site.topics["events"], 0, 1)
    assert not starts_and_stops()
    site.publish("m-1", closed=True)
    delete_before(site.servers, site.topics["events"], 0, 2)
    assert starts_and_stops()
    assert len(site.pager.open_incidents) == 1
