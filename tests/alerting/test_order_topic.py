"""Orders through a real topic: a command gives them, a process that runs obeys, and a new one knows them all."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from scripts.services import KafkaBroker
from streamae.alerting.order_topic import OrderFollower, give_order, read_orders
from streamae.alerting.orders import Resolution
from streamae.alerting.silences import Silence
from streamae.errors import DataError
from streamae.settings.connections import KafkaSettings
from tests import kafka_io
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.integration]

HOUR_MS = 3_600_000
FIRST = Silence("s1", {"key": "rack-*"}, 0, HOUR_MS, "kim@desk", "reboot")
SECOND = Silence("s2", {"team": "core"}, 0, HOUR_MS, "kim@desk", "move")
RETIRED = Resolution("r1", {"detector": "old"}, 5, "kim@desk", "retired")


@pytest.fixture
def topic(kafka: KafkaBroker, fresh_name: Callable[[str], str]) -> str:
    """A compacted topic."""
    name = fresh_name("orders")
    kafka_io.create_topics(kafka.bootstrap_servers, name, configs={"cleanup.policy": "compact"})
    return name


def test_orders_reach_those_that_run_and_those_that_start_later(kafka: KafkaBroker, topic: str) -> None:
    """A silence holds at once and after a restart; the log tells each new order once, with who gave it."""
    settings = KafkaSettings(bootstrap_servers=kafka.bootstrap_servers)
    give_order(settings, topic, FIRST)
    with closing(OrderFollower(settings, topic, HOUR_MS)) as follower, capture_logs() as lines:
        assert list(follower.orders(1).silences) == []
        assert follower.step() == 1
        assert list(follower.orders(1).silences) == [FIRST]
        give_order(settings, topic, SECOND)
        give_order(settings, topic, RETIRED)
        give_order(settings, topic, replace(FIRST, ends_ms=1, ended_by="lee@desk"))
        kafka_io.produce(kafka.bootstrap_servers, topic, [(b"x", b"garbage")])
        wait_until(
            lambda: follower.step(50) >= 0 and any(e["event"] == "order_unreadable" for e in lines), "the orders"
        )
        found = follower.orders(1)
        follower.close()
        give_order(settings, topic, replace(SECOND, ends_ms=1, ended_by="lee@desk"))
        assert follower.step() == 1
    assert list(found.silences) == [SECOND]
    assert found.resolutions == (RETIRED,)
    told = [(line["event"], line.get("id"), line.get("who")) for line in lines if line["event"] != "order_unreadable"]
    assert told == [
        ("orders_read", None, None),
        ("silence_set", "s2", "kim@desk"),
        ("alerts_ended_by_operator", "r1", "kim@desk"),
        ("silence_ended", "s1", "kim@desk"),
        ("silence_ended", "s2", "kim@desk"),
    ]
    book = read_orders(settings, topic, HOUR_MS)
    assert list(book.orders(0).silences) == [
        replace(FIRST, ends_ms=1, ended_by="lee@desk"),
        replace(SECOND, ends_ms=1, ended_by="lee@desk"),
    ]


def test_orders_stay_while_their_topic_is_gone(kafka: KafkaBroker, topic: str) -> None:
    """What was ordered goes on holding, and the topic is read again by the next try."""
    settings = KafkaSettings(bootstrap_servers=kafka.bootstrap_servers)
    with closing(OrderFollower(settings, f"{topic}-missing", HOUR_MS)) as follower:
        for _ in range(2):
            with pytest.raises(DataError, match="there is no topic"):
                follower.step()
        kafka_io.create_topics(kafka.bootstrap_servers, f"{topic}-missing")
        give_order(settings, f"{topic}-missing", FIRST)
        assert follower.step() == 1
        assert list(follower.orders(1).silences) == [FIRST]
