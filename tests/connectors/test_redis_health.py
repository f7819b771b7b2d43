"""A real Redis asked how it is: eviction, rights, and something else on its port."""

from __future__ import annotations

import socket
from threading import Thread

import pytest
from pydantic import SecretStr

from scripts.services import RedisServer
from scripts.services.process import free_port
from streamae.connectors.redis_store import RedisStore
from streamae.connectors.store_health import Inspectable
from streamae.errors import ConfigError, RetryableError
from streamae.reasons import Problem
from streamae.settings.connections import StateSettings


def store(url: str, username: str | None = None, password: str | None = None) -> RedisStore:
    """Return a store at `url`."""
    return RedisStore(
        StateSettings(
            redis_url=url,
            redis_username=username,
            redis_password=None if password is None else SecretStr(password),
            redis_timeout_ms=500,
        ),
        "group",
    )


@pytest.mark.integration
def test_a_server_that_is_fine_has_no_problem(own_redis: RedisServer) -> None:
    """No false alarm on what the tests and the compose file run."""
    opened = store(own_redis.url)
    assert isinstance(opened, Inspectable)
    assert opened.problems() == {}
    opened.close()


@pytest.mark.integration
def test_what_a_real_server_reports_is_understood(own_redis: RedisServer) -> None:
    """Field names are those of INFO: policy, memory and role are found where they are, and only there."""
    opened = store(own_redis.url)
    own_redis.tell("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    assert opened.problems().keys() == {Problem.EVICTS}
    own_redis.tell("CONFIG", "SET", "maxmemory-policy", "noeviction")
    own_redis.limit_memory(100_000)
    assert opened.problems().keys() == {Problem.NEARLY_FULL}
    own_redis.limit_memory(0)
    own_redis.tell("REPLICAOF", "127.0.0.1", str(free_port()))
    assert opened.problems().keys() == {Problem.REPLICA}
    opened.close()


@pytest.mark.integration
def test_a_user_that_may_not_ask_is_told(own_redis: RedisServer) -> None:
    """Not being able to look is a problem of its own, not a failure."""
    own_redis.tell("ACL", "SETUSER", "blind", "on", ">secret", "~sae:*", "+@all", "-info")
    opened = store(own_redis.url, "blind", "secret")
    assert opened.problems().keys() == {Problem.HIDDEN}
    opened.close()


@pytest.mark.integration
def test_a_silent_server_is_asked_later(own_redis: RedisServer) -> None:
    """Within the store's patience, as every other call."""
    opened = store(own_redis.url)
    own_redis.pause()
    with pytest.raises(RetryableError):
        opened.problems()
    own_redis.resume()
    opened.close()


def test_something_else_on_the_port_is_a_settings_error() -> None:
    """A web server there will not become a Redis by waiting."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            connection.recv(1_024)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
            connection.recv(1_024)
            connection.close()

        web = Thread(target=answer, daemon=True)
        web.start()
        opened = store(f"redis://127.0.0.1:{listener.getsockname()[1]}/0")
        with pytest.raises(ConfigError, match=r"state\.redis_url: what answers there is no Redis"):
            opened.problems()
        opened.close()
        web.join(10)
