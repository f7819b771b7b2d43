"""A client of Redis that never holds up a stream.

The client's own patience (up to a minute a call) is replaced by one short wait, one retry of a lost connection, and a
breaker: after a failure the next calls fail at once for a while.

Must not know: what is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from streamae.errors import ConfigError, RetryableError
from streamae.settings.connections import StateSettings

BREAKER_MS = 1_000


class Breaker:
    """Keeps calls from a server that failed a moment ago.

    Args:
        client: of this server.
        clock: seconds on a monotonic clock.
        breaker_ms: time after a failure in which calls fail without asking the server.
    """

    def __init__(self, client: Redis, clock: Callable[[], float], breaker_ms: int = BREAKER_MS) -> None:
        self._client, self._clock, self._breaker_s = client, clock, breaker_ms / 1_000
        self._closed_until_s = -float("inf")

    @contextmanager
    def guarded(self, what: str) -> Iterator[None]:
        """Run one conversation with the server behind the breaker.

        Raises:
            RetryableError: no answer, a refusal, or the breaker is open.
        """
        if self._clock() < self._closed_until_s:
            raise RetryableError(f"Redis {what}: it failed a moment ago and is not asked again yet")
        try:
            yield
        except (RedisConnectionError, RedisTimeoutError) as error:
            self._closed_until_s = self._clock() + self._breaker_s
            raise RetryableError(f"Redis {what}: {error}") from error
        except RedisError as error:
            self._client.connection_pool.disconnect()  # a demoted server refuses writes for ever: look it up again
            raise RetryableError(f"Redis {what}: {error}") from error


def connect(settings: StateSettings, ca_file: str | None = None) -> Redis:
    """Return a client that connects when used, waits `redis_timeout_ms`, and tries a lost connection once more.

    Raises:
        ConfigError: the URL cannot be read.
    """
    timeout_s = settings.redis_timeout_ms / 1_000
    password = settings.redis_password
    credentials = {
        "username": settings.redis_username,
        "password": None if password is None else password.get_secret_value(),
    }
    tls = {"ssl_ca_certs": ca_file} if settings.redis_url.startswith("rediss://") else {}
    arguments: dict[str, Any] = {name: value for name, value in (credentials | tls).items() if value is not None}
    try:
        return Redis.from_url(
            settings.redis_url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
            protocol=2,
            **arguments,
        )
    except ValueError as error:
        raise ConfigError([f"state.redis_url: {error}"]) from error
