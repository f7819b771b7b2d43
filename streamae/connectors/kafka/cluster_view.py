"""What the cluster knows of other groups and of topics, asked now and then: how far groups are, which topics exist.

Must not know: why anybody asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from kafka import KafkaAdminClient
from kafka.errors import GroupAuthorizationFailedError, KafkaError

from streamae.batches import Partition
from streamae.connectors.kafka.client import client_arguments, client_errors, client_opening
from streamae.errors import RetryableError
from streamae.settings.connections import KafkaSettings


class ClusterView:
    """Asks with one connection, which is opened with the first question and anew after a failure. For one thread."""

    def __init__(self, settings: KafkaSettings, name: str) -> None:
        self._settings, self._name = settings, name
        self._admin: Any = None

    def offsets_of(self, groups: Iterable[str]) -> dict[str, dict[Partition, int]]:
        """Return the committed offsets of each group; none for a group that there is not, or that we may not see.

        Raises:
            RetryableError: the cluster did not answer.
        """
        return {group: self._ask(group) for group in groups}

    def missing(self, topics: Iterable[str]) -> list[str]:
        """Return those of `topics` that do not exist, or that our user may not see.

        Raises:
            RetryableError: the cluster did not answer.
        """
        with self._asked("topics") as admin:
            there = set(admin.list_topics())
        return sorted(set(topics) - there)

    def close(self) -> None:
        """Release the connection; idempotent."""
        admin, self._admin = self._admin, None
        if admin is not None:
            with suppress(KafkaError, OSError):
                admin.close()

    def _ask(self, group: str) -> dict[Partition, int]:
        with self._asked(f"offsets of group {group}") as admin:
            try:
                found = admin.list_group_offsets({group: None})[group]
            except GroupAuthorizationFailedError:
                return {}
        return {Partition(*at): entry.offset for at, entry in found.items() if entry.offset >= 0}

    @contextmanager
    def _asked(self, what: str) -> Iterator[Any]:
        try:
            with client_errors(what):
                if self._admin is None:
                    with client_opening("Kafka admin client") as open_client:
                        self._admin = KafkaAdminClient(
                            **client_arguments(self._settings),
                            kafka_client=partial(open_client, allow_auto_create_topics=False),
                            client_id=f"streamae-{self._name}",
                        )
                yield self._admin
        except RetryableError:
            self.close()
            raise
