"""What a Redis server says of itself, and what of that is dangerous."""

from __future__ import annotations

from typing import Any

import pytest

from streamae.connectors.store_health import judge
from streamae.reasons import Problem

GOOD: dict[str, Any] = {
    "redis_version": "7.0.15",
    "role": "master",
    "maxmemory": 0,
    "maxmemory_policy": "noeviction",
    "used_memory": 1_000_000,
    "evicted_keys": 0,
}


@pytest.mark.parametrize(
    ("said", "problems"),
    [
        ({}, {}),
        ({"redis_version": "8.2.1"}, {}),
        ({"redis_version": "10.0"}, {}),
        ({"redis_version": "255.255.255"}, {}),
        ({"redis_version": "unstable"}, {}),
        ({"redis_version": "6.2.14"}, {Problem.OLD: "version 6.2.14: use Redis 7.0 or later"}),
        ({"maxmemory_policy": "allkeys-lru"}, {Problem.EVICTS: "set it to noeviction"}),
        ({"maxmemory_policy": "volatile-lru", "evicted_keys": 7}, {Problem.EVICTS: "7 keys evicted so far"}),
        ({"role": "slave"}, {Problem.REPLICA: "name the master"}),
        ({"maxmemory": 1_200_000}, {}),
        ({"maxmemory": 1_100_000}, {Problem.NEARLY_FULL: "raise maxmemory"}),
        ({"maxmemory": 900_000}, {Problem.NEARLY_FULL: "1000000 of 900000 bytes"}),
        (
            {"role": "slave", "redis_version": "5.0.7"},
            {Problem.REPLICA: "state.redis_url", Problem.OLD: "version 5.0.7"},
        ),
    ],
)
def test_each_danger_is_named_with_its_remedy(said: dict[str, Any], problems: dict[Problem, str]) -> None:
    """A sentence for each, none for a server that is fine, all of them at once."""
    found = judge(GOOD | said)
    assert found.keys() == problems.keys()
    for problem, part in problems.items():
        assert part in found[problem]


def test_what_is_not_said_is_not_held_against_it() -> None:
    """A compatible server may leave fields out."""
    assert judge({"redis_version": "7.2"}) == {}
