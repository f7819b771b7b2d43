"""What the services can do to a Redis server does happen: lost writes, no memory, and a fail-over in both ways."""

from __future__ import annotations

import pytest

import tests.conftest as fixtures
from scripts.services import RedisPair, RedisServer, ServiceUnavailableError
from tests.waiting import wait_until

pytestmark = pytest.mark.integration


def test_a_server_goes_back_to_an_older_copy_of_its_data(own_redis: RedisServer) -> None:
    """Writes since the copy are lost, those before are there, and the server goes on from there."""
    own_redis.tell("SET", "before", "1")
    copy = own_redis.copy_data()
    own_redis.tell("SET", "after", "1")
    own_redis.go_back_to(copy)
    assert own_redis.tell("GET", "before") == "$1\r\n1"
    assert own_redis.tell("GET", "after") == "$-1"
    own_redis.tell("SET", "again", "1")
    own_redis.kill()
    own_redis.start()
    assert own_redis.tell("GET", "again") == "$1\r\n1"


def test_a_server_without_memory_refuses_writes_until_it_has_some(redis_server: RedisServer) -> None:
    """Reads go on meanwhile; the limit can be taken away again."""
    redis_server.tell("SET", "memory-test", "1")
    redis_server.limit_memory(1)
    try:
        with pytest.raises(ServiceUnavailableError, match="OOM"):
            redis_server.tell("SET", "memory-test", "2")
        assert redis_server.tell("GET", "memory-test") == "$1\r\n1"
    finally:
        redis_server.limit_memory(0)
    assert redis_server.tell("SET", "memory-test", "3") == "OK"


@pytest.mark.parametrize("is_crash", [True, False])
def test_a_fail_over_exchanges_the_roles_and_keeps_the_address(is_crash: bool) -> None:
    """The replica has the data and takes writes; the former primary follows it and refuses them."""
    pair = RedisPair()
    fixtures.start_or_skip(pair.primary)
    with pair:
        address, former = pair.url, pair.primary
        former.tell("SET", "k", "1")
        wait_until(lambda: pair.replica.tell("GET", "k") == "$1\r\n1", "the replica to have the write")
        pair.fail_over(is_crash=is_crash)
        assert (pair.replica, pair.url) == (former, address)
        assert pair.primary.tell("GET", "k") == "$1\r\n1"
        assert pair.primary.tell("SET", "k", "2") == "OK"
        with pytest.raises(ServiceUnavailableError, match="READONLY"):
            former.tell("SET", "k", "3")
    assert not former.folder.exists()


def test_a_refused_command_is_an_error_with_the_answer(redis_server: RedisServer) -> None:
    """A fault that did not happen does not pass for one that did."""
    with pytest.raises(ServiceUnavailableError, match="unknown command"):
        redis_server.tell("NO-SUCH-COMMAND")
