"""Notices partitions that no member of the group owns, and has the group share them out again (H14).

Nobody else does, in two cases that both begin with a member of a stable name that ends and comes back at once. The
broker then hands it what it had, without a rebalance:
    - a partition that was on its way from one member to another, given up and not yet given, stays where it is: with
      nobody, since who gave it up would have asked for the second rebalance;
    - if it led the group, it is not told that it still does, and nobody watches for partitions added to a topic.

Must not know: what is done with partitions.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from typing import Any

from kafka.protocol.admin import DescribeGroupsRequest
from kafka.protocol.consumer.metadata import ConsumerProtocolAssignment

from streamae.batches import Partition

LOG = logging.getLogger(__name__)
STABLE = "Stable"
FEWEST_LOOKS = 2  # a move takes two rebalances, and the leader may see new partitions later than we do
MOST_LOOKS = 32  # in case that joining does not help: not all the time


class UnownedPartitions:
    """Looks at the whole group once an interval, and joins anew when a partition has had no owner several times.

    Runs in the polling thread and waits for nothing. It asks for more looks in a row, twice as many each time up to
    `MOST_LOOKS`, until one finds nothing.
    """

    def __init__(
        self,
        consumer: Any,
        group_id: str,
        topics: Collection[str],
        interval_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Watch `topics` for the group that `consumer` belongs to; `clock` counts seconds from anywhere."""
        self._consumer = consumer
        self._group_id = group_id
        self._topics = topics
        self._interval_s = interval_s
        self._clock = clock
        self._joined: tuple[int, str] = (-1, "")
        self._due_s = 0.0
        self._answer: Any = None
        self._found = 0
        self._looks = FEWEST_LOOKS

    def look(self, joined: tuple[int, str]) -> None:
        """Take the next small step, if one is due.

        Args:
            joined: generation and member id, as of now; a look counts for those it was begun with.
        """
        now_s = self._clock()
        if joined != self._joined:
            self._joined, self._found, self._answer = joined, 0, None
            self._due_s = now_s + self._interval_s
        if self._answer is not None and self._answer.is_done:
            answer, self._answer = self._answer, None
            if answer.succeeded():
                self._judge(answer.value)
        elif self._answer is None and now_s >= self._due_s and joined[0] >= 0:
            self._due_s = now_s + self._interval_s
            self._answer = self._consumer._manager.call_soon(self._describe)  # noqa: SLF001 - nothing public asks

    async def _describe(self) -> Any:
        """Ask the group's coordinator who owns what; on the client's IO thread."""
        consumer, request = self._consumer, DescribeGroupsRequest(groups=[self._group_id])
        node = consumer._coordinator.coordinator_id  # noqa: SLF001 - nothing public tells
        return await consumer._manager.send(request, node_id=node)  # noqa: SLF001 - nothing public asks

    def _judge(self, answer: Any) -> None:
        """Count looks that found a partition without owner; a group that is sharing out just now says nothing."""
        group = answer.groups[0]
        if group.error_code or group.group_state != STABLE:
            return
        unowned = self._all() - {
            Partition(*partition)
            for member in group.members
            if member.member_assignment
            for partition in ConsumerProtocolAssignment.decode(member.member_assignment).partitions()
        }
        if not unowned:
            self._found, self._looks = 0, FEWEST_LOOKS
            return
        self._found += 1
        if self._found >= self._looks:
            self._found, self._looks = 0, min(2 * self._looks, MOST_LOOKS)
            names = ", ".join(map(str, sorted(unowned)))
            LOG.warning(
                "no member of group %s owns %s: joining anew, so that it is given to one", self._group_id, names
            )
            self._consumer._coordinator.request_rejoin()  # noqa: SLF001 - as above

    def _all(self) -> set[Partition]:
        """Return the partitions of our topics, as old as the client's metadata."""
        cluster = self._consumer._cluster  # noqa: SLF001 - the public way may wait for the cluster
        return {
            Partition(topic, index) for topic in self._topics for index in cluster.partitions_for_topic(topic) or ()
        }
