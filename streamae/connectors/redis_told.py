"""What one receiver of alerts was told, in Redis: a hash a receiver, one field an episode.

    <prefix>:told:<receiver>    field = episode, value = bytes of its record; the field "" holds the mark

The mark is written with every save: a hash without it was never written, or was emptied meanwhile. A call waits a
short while at most, and after a failure the next ones fail at once for a moment, so that a dead Redis never holds up an
alert. Every command may run twice without harm.

Must not know: what the bytes mean.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from streamae.connectors.redis_client import BREAKER_MS, Breaker, connect
from streamae.settings.connections import StateSettings

MARK = b""  # the field that no episode has
FIELDS_A_CALL = 500  # so that no command is long
_GLOB = re.compile(r"([*?\[\]^\\-])")


class RedisTold:
    """Texts of one receiver. Connects with the first call.

    Args:
        settings: how to reach the server; `key_prefix` is the first part of the key.
        receiver: whose.
        clock: seconds on a monotonic clock, for the breaker only.
        breaker_ms: time after a failure in which calls fail without asking the server.

    Raises:
        ConfigError: the URL cannot be read.
    """

    def __init__(
        self,
        settings: StateSettings,
        receiver: str,
        clock: Callable[[], float] = time.monotonic,
        breaker_ms: int = BREAKER_MS,
    ) -> None:
        self._key = _prefix(settings) + receiver
        self._client = connect(settings)
        self._breaker = Breaker(self._client, clock, breaker_ms)

    def load(self) -> tuple[dict[str, bytes], bytes] | None:
        """Return all texts and the mark of the last save; see `TextStore.load`."""
        with self._breaker.guarded("load"):
            found: dict[bytes, bytes] = dict(self._client.hscan_iter(self._key, count=FIELDS_A_CALL))
        mark = found.pop(MARK, None)
        return None if mark is None else ({name.decode(): text for name, text in found.items()}, mark)

    def save(self, texts: Mapping[str, bytes], mark: bytes) -> bool:
        """Keep texts and mark; see `TextStore.save`."""
        with self._breaker.guarded("save"):
            was_there = bool(self._client.hexists(self._key, MARK))
            for part in _parts(list(texts.items())):
                self._client.hset(self._key, mapping=dict(part))
            self._client.hset(self._key, mapping={MARK: mark})
        return was_there

    def forget(self, names: Iterable[str]) -> None:
        """Drop texts; see `TextStore.forget`."""
        with self._breaker.guarded("forget"):
            for part in _parts(list(names)):
                self._client.hdel(self._key, *part)

    def close(self) -> None:
        """Release connections; idempotent."""
        self._client.close()


def kept_receivers(settings: StateSettings) -> list[str]:
    """Return of which receivers anything is kept, whether or not the settings name them.

    Raises:
        ConfigError: the URL cannot be read.
        RetryableError: no answer, or our user may not look.
    """
    client, prefix = connect(settings), _prefix(settings)
    try:
        with Breaker(client, time.monotonic).guarded("scan"):
            found = set(client.scan_iter(match=_GLOB.sub(r"\\\1", prefix) + "*", count=FIELDS_A_CALL))
    finally:
        client.close()
    return sorted(key.decode().removeprefix(prefix) for key in found)


def _prefix(settings: StateSettings) -> str:
    return f"{settings.key_prefix}:told:"


def _parts(entries: list[Any]) -> Iterator[list[Any]]:
    return (entries[at : at + FIELDS_A_CALL] for at in range(0, len(entries), FIELDS_A_CALL))
