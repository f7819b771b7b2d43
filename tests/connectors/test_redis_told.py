"""What only the told records in Redis do: names as documented, bounded waits, and a breaker."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis import Redis

from scripts.services import RedisServer
from scripts.services.process import free_port
from streamae.connectors.redis_told import RedisTold, kept_receivers
from streamae.errors import ConfigError, RetryableError
from streamae.settings.connections import StateSettings


@pytest.mark.integration
def test_the_key_is_named_as_documented(redis_server: RedisServer, fresh_name: Callable[[str], str]) -> None:
    """Operators find it by name, and an ACL may allow the prefix alone."""
    prefix = fresh_name("told")
    RedisTold(StateSettings(redis_url=redis_server.url, key_prefix=prefix), "pager").save({"a": b"1"}, b"7")
    raw = Redis.from_url(redis_server.url)
    assert list(raw.scan_iter(match=f"{prefix}*")) == [f"{prefix}:told:pager".encode()]
    assert raw.hgetall(f"{prefix}:told:pager") == {b"a": b"1", b"": b"7"}


@pytest.mark.integration
def test_a_server_that_is_gone_is_asked_again_later(own_redis: RedisServer) -> None:
    """Alerts do not wait for Redis: after one failure calls fail at once, until the server may be back."""
    now_s = 1_000.0
    store = RedisTold(StateSettings(redis_url=own_redis.url, key_prefix="told"), "pager", lambda: now_s, 500)
    store.save({"a": b"1"}, b"1")
    own_redis.kill()
    with pytest.raises(RetryableError, match="Redis save"):
        store.save({"b": b"2"}, b"2")
    own_redis.start()
    with pytest.raises(RetryableError, match="a moment ago"):
        store.load()
    now_s += 0.6
    assert store.load() is not None


def test_nobody_there_is_an_error_that_may_pass() -> None:
    """Whoever calls goes on without memory and tries again."""
    store = RedisTold(StateSettings(redis_url=f"redis://127.0.0.1:{free_port()}/0"), "pager")
    with pytest.raises(RetryableError):
        store.load()


def test_a_broken_address_is_one_of_the_settings() -> None:
    """The operator hears which setting it is, before anything starts."""
    with pytest.raises(ConfigError, match=r"state\.redis_url"):
        RedisTold(StateSettings.model_construct(**{**dict(StateSettings()), "redis_url": "redis://h:port/0"}), "pager")


@pytest.mark.integration
def test_receivers_are_found_by_what_is_kept_of_them(
    redis_server: RedisServer, fresh_name: Callable[[str], str]
) -> None:
    """One that the settings no longer name is found too; keys of others that share the server are not."""
    prefix = fresh_name("told") + "[a-z]*"
    settings = StateSettings(redis_url=redis_server.url, key_prefix=prefix)
    for receiver in ("pager", "team-a"):
        RedisTold(settings, receiver).save({"a": b"1"}, b"7")
    Redis.from_url(redis_server.url).set(f"{prefix}:other:mail", b"1")
    RedisTold(settings.model_copy(update={"key_prefix": prefix + "x"}), "mail").save({"a": b"1"}, b"7")
    assert kept_receivers(settings) == ["pager", "team-a"]
