"""What only the Redis store does: keys in one slot, bounded waits, a breaker, and refusals that change nothing."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from pydantic import SecretStr
from redis import Redis

from scripts.services import RedisServer
from scripts.services.process import free_port
from streamae.batches import Partition
from streamae.connectors.buckets import BUCKETS
from streamae.connectors.protocols import Outcome, Stamp
from streamae.connectors.redis_changes import Changes
from streamae.connectors.redis_store import COUNTS, STAGE_TTL_MS, RedisStore
from streamae.errors import ConfigError, RetryableError
from streamae.settings.connections import StateSettings
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
def test_a_roster_is_named_as_documented(in_redis: InRedis) -> None:
    """Its hashes and counts stand beside the others, and go with the last entry."""
    store = in_redis.open()
    store.checkpoint(HERE, None, 10, Stamp("fp"), [], roster=[(b"a", b"1")])
    assert in_redis.raw.hgetall(in_redis.key(HERE, "r:67")) == {b"a": b"1"}
    assert in_redis.raw.hstrlen(in_redis.key(HERE, "m"), "rn") == 1_024
    store.checkpoint(HERE, 10, 20, Stamp("fp"), [], off_roster=[b"a"])
    assert in_redis.keys() == [in_redis.key(HERE, "m").encode()]
    assert not in_redis.raw.hexists(in_redis.key(HERE, "m"), "rn")


@pytest.mark.integration
@pytest.mark.parametrize("count", [1, 6_000])
def test_entries_that_an_older_release_left_behind_are_nothing(in_redis: InRedis, count: int) -> None:
    """A release that knows no roster drops keys and manifest only: its own state is whole, and nothing comes back."""
    store, entries = in_redis.open(), [(b"%d" % number, b"entry") for number in range(count)]
    in_redis.raw.hset(in_redis.key(HERE, "r:67"), "a", "left behind")
    store.checkpoint(HERE, None, 10, Stamp("fp"), [(b"a", b"1")])
    in_redis.raw.hset(in_redis.key(HERE, "r:67"), "a", "left behind")
    assert store.manifest(HERE).is_whole  # type: ignore[union-attr]
    assert store.roster(HERE, 10) == []
    assert store.checkpoint(HERE, 10, 20, Stamp("fp"), [], roster=[*entries, (b"a", b"2")]) is Outcome.OK
    assert sorted(store.roster(HERE, 20) or ()) == sorted([*entries, (b"a", b"2")])


@pytest.mark.integration
def test_drop_leaves_no_key(in_redis: InRedis) -> None:
    """A rebuilt partition does not leak the memory of its former state."""
    store = in_redis.open()
    keys = [(b"%d" % number, b"s") for number in range(1_000)]
    store.checkpoint(HERE, None, 10, Stamp("fp"), keys, roster=keys)
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


MANY = [(b"key-%d" % number, b"state %d" % number) for number in range(6_000)]
BEFORE, AFTER = [(key, b"old") for key, _ in MANY], [*MANY[:4_000], *((key, None) for key, _ in MANY[4_000:])]


class DiedError(RuntimeError):
    """The process is gone."""


def die_at(store: RedisStore, call: int) -> None:
    """Let the process die at its n-th round trip to the server from now on, the answer unread."""
    calls, send = itertools.count(1), store._client.connection_pool.get_connection

    def get_connection(*arguments: object, **options: object) -> object:
        if next(calls) > call:
            raise DiedError
        return send(*arguments, **options)

    store._client.connection_pool.get_connection = get_connection  # type: ignore[method-assign]  # a process that dies


def save_many(store: RedisStore) -> Outcome:
    """Change two thirds of the keys, delete the others, and put some on the roster: a call in many parts."""
    deleted, roster = [key for key, _ in MANY[4_000:]], MANY[:1_000]
    return store.checkpoint(HERE, 10, 20, Stamp("fp"), MANY[:4_000], deleted, roster=roster)


def before_call(store: RedisStore, call: int, happens: Callable[[], object]) -> None:
    """Let something happen right before the n-th round trip from now on."""
    calls, take = itertools.count(1), store._client.connection_pool.get_connection

    def get_connection(*arguments: object, **options: object) -> object:
        if next(calls) == call:
            happens()
        return take(*arguments, **options)

    store._client.connection_pool.get_connection = get_connection  # type: ignore[method-assign]  # others come between


@pytest.fixture(scope="module")
def round_trips(redis_server: RedisServer) -> Iterator[int]:
    """How many calls `save_many` takes."""
    in_redis = InRedis(redis_server.url, "sae-round-trips")
    counting = in_redis.open()
    counting.checkpoint(HERE, None, 10, Stamp("fp"), BEFORE)
    calls, take = itertools.count(1), counting._client.connection_pool.get_connection
    counting._client.connection_pool.get_connection = lambda *arguments: next(calls) and take(*arguments)
    save_many(counting)
    yield next(calls) - 1
    in_redis.close()


def side_keys(in_redis: InRedis) -> list[bytes]:
    """Return the names of what large calls have brought in and not merged."""
    return in_redis.raw.keys(f"{in_redis.prefix}:*:s:*")


@pytest.mark.integration
def test_a_process_that_dies_amid_a_large_call_leaves_all_of_it_or_nothing(in_redis: InRedis, round_trips: int) -> None:
    """Wherever it dies, the next owner reads one state or the other, whole, and can go on from there."""
    assert round_trips >= 6, "too few parts to be worth the name"
    offsets = []
    for call in range(1, round_trips + 1):
        dying, store = in_redis.open(), in_redis.open()
        store.checkpoint(HERE, None, 10, Stamp("fp"), BEFORE)
        die_at(dying, call)
        with suppress(DiedError):
            save_many(dying)
        manifest = store.manifest(HERE)
        assert manifest is not None
        assert manifest.is_whole
        expected = BEFORE if manifest.offset == 10 else AFTER
        entries = [] if manifest.offset == 10 else sorted(MANY[:1_000])
        assert sorted(store.roster(HERE, manifest.offset) or ()) == entries
        assert store.load(HERE, [key for key, _ in MANY], manifest.offset) == [value for _, value in expected]
        assert store.checkpoint(HERE, manifest.offset, 30, Stamp("fp"), [(b"key-0", b"!")]) is Outcome.OK
        offsets.append(manifest.offset)
        store.drop(HERE)
    assert offsets == sorted(offsets)
    assert set(offsets) == {10, 20}


@pytest.mark.integration
@pytest.mark.parametrize("what", ["load", "roster", "checkpoint", "large checkpoint", "whole", "drop", "again"])
def test_whoever_comes_after_a_dead_process_finishes_its_large_call(
    in_redis: InRedis, round_trips: int, what: str
) -> None:
    """The call has happened; any next call merges first, whichever it is."""
    dying, store = in_redis.open(), in_redis.open()
    store.checkpoint(HERE, None, 10, Stamp("fp"), BEFORE)
    die_at(dying, round_trips - 2)
    with suppress(DiedError):
        save_many(dying)
    assert in_redis.raw.hexists(in_redis.key(HERE, "m"), "stage")
    match what:
        case "load":
            assert store.load(HERE, [b"key-0", b"key-5000"], 20) == [b"state 0", None]
        case "roster":
            assert sorted(store.roster(HERE, 20) or ()) == sorted(MANY[:1_000])
        case "checkpoint":
            assert store.checkpoint(HERE, 20, 30, Stamp("fp"), [(b"key-1", b"!")]) is Outcome.OK
            assert store.load(HERE, [b"key-0", b"key-1"], 30) == [b"state 0", b"!"]
        case "large checkpoint":
            assert store.checkpoint(HERE, 10, 30, Stamp("fp"), BEFORE[:4_000]) is Outcome.OK
            assert store.load(HERE, [b"key-0", b"key-5000"], 30) == [b"old", None]
        case "whole":
            assert store.checkpoint(HERE, 10, 30, Stamp("fp"), BEFORE, whole=True) is Outcome.OK
            assert store.load(HERE, [b"key-0", b"key-5000"], 30) == [b"old", b"old"]
        case "drop":
            assert store.drop(HERE, 10) is False
            assert store.drop(HERE, 20) is True
        case "again":
            assert save_many(store) is Outcome.OK
            assert store.load(HERE, [b"key-0", b"key-5000"], 20) == [b"state 0", None]
    assert not in_redis.raw.hexists(in_redis.key(HERE, "m"), "stage")
    assert side_keys(in_redis) == []


@pytest.mark.integration
@pytest.mark.parametrize("what", ["manifest", "roster", "checkpoint", "drop"])
def test_what_a_release_that_knows_no_roster_has_merged_is_finished(
    in_redis: InRedis, round_trips: int, what: str
) -> None:
    """It merges the keys of a large call and takes the mark away: the entries of the roster are merged all the same."""
    dying, store, raw = in_redis.open(), in_redis.open(), in_redis.raw
    store.checkpoint(HERE, None, 10, Stamp("fp"), BEFORE)
    die_at(dying, round_trips - 2)
    with suppress(DiedError):
        save_many(dying)
    manifest = in_redis.key(HERE, "m")
    for key in side_keys(in_redis):
        bucket = int(key.rpartition(b":")[2])
        place = in_redis.key(HERE, f"b:{bucket}")
        if bucket < BUCKETS:
            for field, change in raw.hgetall(key).items():
                raw.hset(place, field.decode(), change[1:]) if change[:1] == b"+" else raw.hdel(place, field.decode())
            raw.delete(key)
    raw.hset(manifest, "n", COUNTS.pack(*(raw.hlen(in_redis.key(HERE, f"b:{index}")) for index in range(BUCKETS))))
    raw.hdel(manifest, "stage", "sk", "sn")
    match what:
        case "manifest":
            assert store.manifest(HERE).is_whole  # type: ignore[union-attr]
        case "checkpoint":
            assert store.checkpoint(HERE, 20, 30, Stamp("fp"), [], off_roster=[b"key-0"]) is Outcome.OK
            assert sorted(store.roster(HERE, 30) or ()) == sorted(MANY[1:1_000])
        case "drop":
            assert store.drop(HERE) is True
            assert in_redis.keys() == []
        case "roster":
            assert sorted(store.roster(HERE, 20) or ()) == sorted(MANY[:1_000])
            assert store.load(HERE, [b"key-0", b"key-5000"], 20) == [b"state 0", None]
    assert side_keys(in_redis) == []


@pytest.mark.integration
def test_changes_that_were_lost_before_they_were_merged_are_noticed(in_redis: InRedis, round_trips: int) -> None:
    """A side hash that is gone is a loss like any other: nothing is read, and everything goes."""
    dying, store = in_redis.open(), in_redis.open()
    store.checkpoint(HERE, None, 10, Stamp("fp"), BEFORE)
    die_at(dying, round_trips - 2)
    with suppress(DiedError):
        save_many(dying)
    left = side_keys(in_redis)
    in_redis.raw.hdel(left[0], in_redis.raw.hkeys(left[0])[0])
    assert store.load(HERE, [b"key-0"], 20) is None
    assert store.manifest(HERE) is None
    assert in_redis.keys() == []


@pytest.mark.integration
def test_changes_that_were_lost_before_they_counted_are_not_switched_to(in_redis: InRedis, round_trips: int) -> None:
    """Part of a call is none: it is made again from the beginning, and the former state stands meanwhile."""
    store = in_redis.open()
    store.checkpoint(HERE, None, 10, Stamp("fp"), BEFORE)
    changes = Changes.of(MANY[:4_000], [key for key, _ in MANY[4_000:]], MANY[:1_000], is_all=False)
    parts = sum(1 for _ in changes.parts())
    before_call(store, parts + 2, lambda: in_redis.raw.delete(side_keys(in_redis)[0]))
    with pytest.raises(RetryableError, match="before it was complete"):
        save_many(store)
    assert store.load(HERE, [b"key-0"], 10) == [b"old"]
    assert save_many(store) is Outcome.OK
    assert store.load(HERE, [key for key, _ in MANY], 20) == [value for _, value in AFTER]


@pytest.mark.integration
def test_changes_that_count_do_not_expire(in_redis: InRedis, round_trips: int) -> None:
    """Whoever comes next may come tomorrow."""
    dying = in_redis.open()
    dying.checkpoint(HERE, None, 10, Stamp("fp"), BEFORE)
    die_at(dying, round_trips - 2)
    with suppress(DiedError):
        save_many(dying)
    assert side_keys(in_redis)
    assert all(in_redis.raw.pttl(key) == -1 for key in side_keys(in_redis))


@pytest.mark.integration
def test_a_drop_sees_changes_that_came_to_count_meanwhile(in_redis: InRedis, round_trips: int) -> None:
    """Another owner's large call ends between the look and the drop: its side hashes go as well."""
    store, dying = in_redis.open(), in_redis.open()
    store.checkpoint(HERE, None, 10, Stamp("fp"), BEFORE)
    die_at(dying, round_trips - 2)

    def save() -> None:
        with suppress(DiedError):
            save_many(dying)

    before_call(store, 2, save)
    assert store.drop(HERE) is True
    assert in_redis.raw.keys(f"{in_redis.prefix}:*") == []


@pytest.mark.integration
def test_changes_that_never_counted_expire(in_redis: InRedis) -> None:
    """A process that died while it brought them in leaves nothing behind for ever."""
    dying, store = in_redis.open(), in_redis.open()
    store.checkpoint(HERE, None, 10, Stamp("fp"), BEFORE)
    die_at(dying, 2)
    with pytest.raises(DiedError):
        save_many(dying)
    left = side_keys(in_redis)
    assert left
    assert all(0 < in_redis.raw.pttl(key) <= STAGE_TTL_MS for key in left)
    assert save_many(store) is Outcome.OK
    assert all(in_redis.raw.pttl(key) == -1 for key in in_redis.raw.keys(f"{in_redis.prefix}:*"))


@pytest.mark.integration
def test_two_owners_saving_much_at_once_do_not_mix(in_redis: InRedis) -> None:
    """What one brings in is its own: only the call that counts first is merged, the other is refused."""
    former, owner = in_redis.open(), in_redis.open()
    former.checkpoint(HERE, None, 10, Stamp("fp"), BEFORE)
    die_at(former, 3)
    with pytest.raises(DiedError):
        former.checkpoint(HERE, 10, 20, Stamp("fp"), [(key, b"former") for key, _ in MANY])
    assert owner.checkpoint(HERE, 10, 30, Stamp("fp", 1), [(key, b"owner") for key, _ in MANY[:5_000]]) is Outcome.OK
    again = in_redis.open()
    assert again.checkpoint(HERE, 10, 20, Stamp("fp"), [(key, b"former") for key, _ in MANY]) is Outcome.STALE
    found = owner.load(HERE, [key for key, _ in MANY], 30)
    assert found == [b"owner"] * 5_000 + [b"old"] * 1_000


@pytest.mark.integration
def test_a_full_server_refuses_a_checkpoint_as_a_whole(own_redis: RedisServer) -> None:
    """Out of memory must not leave half a checkpoint: reads go on, and the manifest still fits the keys."""
    in_redis = InRedis(own_redis.url, "sae")
    store = in_redis.open()
    store.checkpoint(HERE, None, 10, Stamp("fp"), [(b"a", b"1"), (b"b", b"2")])
    in_redis.raw.config_set("maxmemory", "1mb")
    with pytest.raises(RetryableError, match="memory"):
        store.checkpoint(HERE, 10, 20, Stamp("fp"), [(b"c", b"3")], deleted=[b"a"])
    assert store.load(HERE, [b"a", b"b", b"c"], base=10) == [b"1", b"2", None]
    in_redis.raw.config_set("maxmemory", "0")
    assert store.checkpoint(HERE, 10, 20, Stamp("fp"), [(b"c", b"3")], deleted=[b"a"]) is Outcome.OK
    in_redis.close()


def user_of(server: RedisServer, **more: Any) -> StateSettings:
    """Return settings of a user with a password."""
    asked = {"redis_url": server.url, "redis_username": "streamae", "redis_password": SecretStr("secret")} | more
    return StateSettings(**asked)


@pytest.mark.integration
def test_an_acl_user_needs_nothing_outside_the_prefix(own_redis: RedisServer) -> None:
    """The server may be shared: our user sees only our keys, and a wrong password is told as such."""
    admin = Redis.from_url(own_redis.url)
    commands = ["+evalsha", "+script|load", "+hmget", "+hset", "+hdel", "+hlen", "+del", "+unlink"]
    commands += ["+hgetall", "+pexpire", "+persist"]
    admin.acl_setuser("streamae", enabled=True, passwords=["+secret"], keys=["sae:*"], commands=commands)
    store = RedisStore(user_of(own_redis), "group")
    assert store.checkpoint(HERE, None, 10, Stamp("fp"), [(b"a", b"1")], deleted=[b"x"]) is Outcome.OK
    assert store.load(HERE, [b"a"], base=10) == [b"1"]
    assert store.manifest(HERE) is not None
    many = [(b"%d" % number, b"state") for number in range(3_000)]
    assert store.checkpoint(HERE, 10, 20, Stamp("fp"), many, deleted=[b"a"]) is Outcome.OK
    store.drop(HERE)
    stranger = RedisStore(user_of(own_redis, key_prefix="other"), "group")
    with pytest.raises(RetryableError, match=r"permission|access"):
        stranger.manifest(HERE)
    intruder = RedisStore(user_of(own_redis, redis_password=SecretStr("wrong")), "group")
    with pytest.raises(RetryableError, match="password"):
        intruder.manifest(HERE)
    for each in (store, stranger, intruder, admin):
        each.close()


@pytest.mark.integration
def test_what_was_answered_survives_a_power_cut(own_redis: RedisServer) -> None:
    """With an append-only file a checkpoint is there again, whole, and the store reconnects by itself."""
    store = RedisStore(StateSettings(redis_url=own_redis.url), "group", breaker_ms=1)
    records = [(b"key-%d" % number, b"state") for number in range(2_000)]
    assert store.checkpoint(HERE, None, 10, Stamp("fp"), records) is Outcome.OK
    own_redis.kill()
    with pytest.raises(RetryableError):
        store.manifest(HERE)
    own_redis.start()
    assert store.load(HERE, [key for key, _ in records], base=10) == [b"state"] * 2_000
    store.close()


@pytest.mark.integration
def test_a_silent_server_costs_one_timeout(own_redis: RedisServer) -> None:
    """A server that accepts and never answers must not hold the stream for longer than was allowed."""
    store = RedisStore(StateSettings(redis_url=own_redis.url, redis_timeout_ms=500), "group")
    store.manifest(HERE)
    own_redis.pause()
    started_s = time.monotonic()
    with pytest.raises(RetryableError, match="manifest"):
        store.manifest(HERE)
    own_redis.resume()
    assert 0.4 < time.monotonic() - started_s < 2.0
    store.close()


def test_a_server_that_is_not_there_costs_almost_nothing() -> None:
    """The client's default would try for seconds."""
    store = RedisStore(StateSettings(redis_url=f"redis://127.0.0.1:{free_port()}/0"), "group")
    started_s = time.monotonic()
    with pytest.raises(RetryableError):
        store.manifest(HERE)
    assert time.monotonic() - started_s < 0.5
    store.close()


@pytest.mark.integration
def test_after_a_failure_the_server_is_left_alone_for_a_while(own_redis: RedisServer) -> None:
    """A dead server is asked once a second, not once a micro-batch, and found again when it is back."""
    clock = Clock()
    store = RedisStore(StateSettings(redis_url=own_redis.url), "group", clock, breaker_ms=1_000)
    own_redis.stop()
    with pytest.raises(RetryableError):
        store.manifest(HERE)
    own_redis.start()
    for call in (lambda: store.manifest(HERE), lambda: store.load(HERE, [b"a"], None), lambda: store.drop(HERE)):
        with pytest.raises(RetryableError, match="not asked again yet"):
            call()
    clock.now_s += 1.001
    assert store.manifest(HERE) is None
    store.close()


@pytest.mark.integration
def test_a_refusal_does_not_open_the_breaker(own_redis: RedisServer) -> None:
    """A server that answers is alive: an error about one call says nothing about the next."""
    store = RedisStore(StateSettings(redis_url=own_redis.url), "group", Clock())
    raw = Redis.from_url(own_redis.url)
    raw.set("sae:{group:topic:3}:m", "not a hash")
    with pytest.raises(RetryableError, match="WRONGTYPE"):
        store.manifest(HERE)
    assert store.manifest(Partition("topic", 4)) is None
    store.close()
    raw.close()


@pytest.mark.parametrize("url", ["redis://127.0.0.1:port", "redis://127.0.0.1?socket_timeout=long"])
def test_an_unreadable_url_is_a_settings_error(url: str) -> None:
    """Exit code 78 and the field's name, not a traceback from the client."""
    with pytest.raises(ConfigError, match=r"state\.redis_url"):
        RedisStore(StateSettings(redis_url=url), "group")


def test_tls_checks_certificate_and_name() -> None:
    """`rediss://` is not encryption to whoever answers."""
    store = RedisStore(StateSettings(redis_url="rediss://127.0.0.1/0"), "group", ca_file="ca.pem")
    arguments = store._client.connection_pool.connection_kwargs
    assert arguments["ssl_ca_certs"] == "ca.pem"
    connection = store._client.connection_pool.connection_class(**arguments)
    assert (connection.cert_reqs.name, connection.check_hostname) == ("CERT_REQUIRED", True)
    store.close()


def test_the_password_is_never_shown() -> None:
    """Settings end in logs and tracebacks."""
    assert "secret" not in repr(StateSettings(redis_username="user", redis_password=SecretStr("secret")))
