"""What only the Redis store does: keys in one slot, bounded waits, a breaker, and refusals that change nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from redis import Redis

from scripts.services import RedisServer
from scripts.services.process import free_port
from streamae.batches import Partition
from streamae.connectors.protocols import Outcome, Stamp
from streamae.connectors.redis_store import RedisOptions, RedisStore
from streamae.errors import ConfigError, RetryableError
from tests.conftest import start_or_skip
from tests.connectors.stores import InRedis

HERE = Partition("topic", 3)


class Clock:
    """Seconds, moved by hand."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def in_redis(redis_server: RedisServer, fresh_name: Callable[[str], str]) -> Iterator[InRedis]:
    """The session's server under a prefix of its own."""
    opened = InRedis(redis_server.url, fresh_name("sae"))
    yield opened
    opened.close()


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """A durable server of this test alone, to be stopped, paused and filled."""
    server = RedisServer(is_durable=True)
    try:
        start_or_skip(server)
        yield server
    finally:
        server.close()


@pytest.mark.integration
def test_keys_are_named_as_documented_and_share_a_slot(in_redis: InRedis) -> None:
    """Operators find state by name, and a cluster can run the scripts."""
    in_redis.open().checkpoint(HERE, None, 10, Stamp("fp"), [(b"a", b"1")])
    prefix = in_redis.prefix
    assert sorted(in_redis.keys()) == [
        f"{prefix}:{{group:topic:3}}:b:67".encode(),
        f"{prefix}:{{group:topic:3}}:m".encode(),
    ]
    assert in_redis.raw.hget(in_redis.key(HERE, "m"), "off") == b"10"
    assert in_redis.raw.hget(in_redis.key(HERE, "b:67"), "a") == b"1"


@pytest.mark.integration
def test_drop_leaves_no_key(in_redis: InRedis) -> None:
    """A rebuilt partition does not leak the memory of its former state."""
    store = in_redis.open()
    store.checkpoint(HERE, None, 10, Stamp("fp"), [(b"%d" % number, b"s") for number in range(1_000)])
    store.drop(HERE)
    assert in_redis.keys() == []


@pytest.mark.integration
def test_scripts_survive_a_script_flush(in_redis: InRedis) -> None:
    """A restarted or failed-over server does not know the scripts; the call loads them again."""
    store = in_redis.open()
    store.checkpoint(HERE, None, 10, Stamp("fp"), [(b"a", b"1")])
    in_redis.raw.script_flush()
    assert store.load(HERE, [b"a"], base=10) == [b"1"]
    assert store.checkpoint(HERE, 10, 20, Stamp("fp"), []) is Outcome.OK


@pytest.mark.integration
def test_a_full_server_refuses_a_checkpoint_as_a_whole(own_server: RedisServer) -> None:
    """Out of memory must not leave half a checkpoint: reads go on, and the manifest still fits the keys."""
    in_redis = InRedis(own_server.url, "sae")
    store = in_redis.open()
    store.checkpoint(HERE, None, 10, Stamp("fp"), [(b"a", b"1"), (b"b", b"2")])
    in_redis.raw.config_set("maxmemory", "1mb")
    with pytest.raises(RetryableError, match="memory"):
        store.checkpoint(HERE, 10, 20, Stamp("fp"), [(b"c", b"3")], deleted=[b"a"])
    assert store.load(HERE, [b"a", b"b", b"c"], base=10) == [b"1", b"2", None]
    in_redis.raw.config_set("maxmemory", "0")
    assert store.checkpoint(HERE, 10, 20, Stamp("fp"), [(b"c", b"3")], deleted=[b"a"]) is Outcome.OK
    in_redis.close()


@pytest.mark.integration
def test_an_acl_user_needs_nothing_outside_the_prefix(own_server: RedisServer) -> None:
    """The server may be shared: our user sees only our keys, and a wrong password is told as such."""
    admin = Redis.from_url(own_server.url)
    commands = ["+evalsha", "+script|load", "+hmget", "+hset", "+hdel", "+hlen", "+del", "+unlink"]
    commands += ["+hgetall", "+pexpire", "+persist"]
    admin.acl_setuser("streamae", enabled=True, passwords=["+secret"], keys=["sae:*"], commands=commands)
    store = RedisStore(RedisOptions(own_server.url, "streamae", "secret"), "sae", "group")
    assert store.checkpoint(HERE, None, 10, Stamp("fp"), [(b"a", b"1")], deleted=[b"x"]) is Outcome.OK
    assert store.load(HERE, [b"a"], base=10) == [b"1"]
    assert store.manifest(HERE) is not None
    store.drop(HERE)
    stranger = RedisStore(RedisOptions(own_server.url, "streamae", "secret"), "other", "group")
    with pytest.raises(RetryableError, match=r"permission|access"):
        stranger.manifest(HERE)
    intruder = RedisStore(RedisOptions(own_server.url, "streamae", "wrong"), "sae", "group")
    with pytest.raises(RetryableError, match="password"):
        intruder.manifest(HERE)
    for each in (store, stranger, intruder, admin):
        each.close()


@pytest.mark.integration
def test_what_was_answered_survives_a_power_cut(own_server: RedisServer) -> None:
    """With an append-only file a checkpoint is there again, whole, and the store reconnects by itself."""
    store = RedisStore(RedisOptions(own_server.url, breaker_ms=1), "sae", "group")
    records = [(b"key-%d" % number, b"state") for number in range(2_000)]
    assert store.checkpoint(HERE, None, 10, Stamp("fp"), records) is Outcome.OK
    own_server.kill()
    with pytest.raises(RetryableError):
        store.manifest(HERE)
    own_server.start()
    assert store.load(HERE, [key for key, _ in records], base=10) == [b"state"] * 2_000
    store.close()


@pytest.mark.integration
def test_a_silent_server_costs_one_timeout(own_server: RedisServer) -> None:
    """A server that accepts and never answers must not hold the stream for longer than was allowed."""
    store = RedisStore(RedisOptions(own_server.url, timeout_ms=200), "sae", "group")
    store.manifest(HERE)
    own_server.pause()
    started_s = time.monotonic()
    with pytest.raises(RetryableError, match="manifest"):
        store.manifest(HERE)
    own_server.resume()
    assert 0.15 < time.monotonic() - started_s < 1.0
    store.close()


def test_a_server_that_is_not_there_costs_almost_nothing() -> None:
    """The client's default would try for seconds."""
    store = RedisStore(RedisOptions(f"redis://127.0.0.1:{free_port()}/0"), "sae", "group")
    started_s = time.monotonic()
    with pytest.raises(RetryableError):
        store.manifest(HERE)
    assert time.monotonic() - started_s < 0.5
    store.close()


@pytest.mark.integration
def test_after_a_failure_the_server_is_left_alone_for_a_while(own_server: RedisServer) -> None:
    """A dead server is asked once a second, not once a micro-batch, and found again when it is back."""
    clock = Clock()
    store = RedisStore(RedisOptions(own_server.url, breaker_ms=1_000), "sae", "group", clock)
    own_server.stop()
    with pytest.raises(RetryableError):
        store.manifest(HERE)
    own_server.start()
    for call in (lambda: store.manifest(HERE), lambda: store.load(HERE, [b"a"], None), lambda: store.drop(HERE)):
        with pytest.raises(RetryableError, match="not asked again yet"):
            call()
    clock.now_s += 1.001
    assert store.manifest(HERE) is None
    store.close()


@pytest.mark.integration
def test_a_refusal_does_not_open_the_breaker(own_server: RedisServer) -> None:
    """A server that answers is alive: an error about one call says nothing about the next."""
    store = RedisStore(RedisOptions(own_server.url), "sae", "group", Clock())
    raw = Redis.from_url(own_server.url)
    raw.set("sae:{group:topic:3}:m", "not a hash")
    with pytest.raises(RetryableError, match="WRONGTYPE"):
        store.manifest(HERE)
    assert store.manifest(Partition("topic", 4)) is None
    store.close()
    raw.close()


@pytest.mark.parametrize("url", ["", "127.0.0.1:6379", "http://127.0.0.1"])
def test_an_unreadable_url_is_a_settings_error(url: str) -> None:
    """Exit code 78 and the field's name, not a traceback from the client."""
    with pytest.raises(ConfigError, match=r"state\.redis_url"):
        RedisStore(RedisOptions(url), "sae", "group")


def test_tls_checks_certificate_and_name() -> None:
    """`rediss://` is not encryption to whoever answers."""
    store = RedisStore(RedisOptions("rediss://127.0.0.1/0", ssl_ca_file="ca.pem"), "sae", "group")
    arguments = store._client.connection_pool.connection_kwargs
    assert arguments["ssl_ca_certs"] == "ca.pem"
    connection = store._client.connection_pool.connection_class(**arguments)
    assert (connection.cert_reqs.name, connection.check_hostname) == ("CERT_REQUIRED", True)
    store.close()


def test_the_password_is_never_shown() -> None:
    """Options end in logs and tracebacks."""
    assert "secret" not in repr(RedisOptions("redis://127.0.0.1", "user", "secret"))
