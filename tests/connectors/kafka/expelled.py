"""A member that its group has expelled while it was about to join anew, and that has not heard of it."""

from __future__ import annotations

from contextlib import suppress

from streamae.errors import RetryableError
from tests.connectors.kafka.interceptor import Api, Interceptor, cut
from tests.connectors.streams import KafkaStreams, Reader, is_stable
from tests.waiting import wait_until


def expelled_while_joining(streams: KafkaStreams, between: Interceptor, topic: str) -> tuple[Reader, Reader]:
    """Return who owned both partitions of a new topic, and who owns them now; `between.forget()` lets the first hear."""
    streams.create_topic(topic, 2)
    former = streams.reader(topic, bootstrap_servers=between.servers)
    former.poll_until_owner(2)
    between.on_request(Api.JOIN_GROUP, cut, times=10_000)
    second = streams.reader(topic)

    def is_alone() -> bool:  # the former one cannot join the generation that the second one asks for
        with suppress(RetryableError):
            former.poll()
        second.poll()
        return len(second.owned) == 2 and is_stable(second.source)

    wait_until(is_alone, "the second reader to own everything", timeout_s=30)
    return former, second
