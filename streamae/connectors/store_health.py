"""What a Redis server says of itself, and what of that endangers key state.

Redis loses state quietly where it is set up as a cache. The checkpoint protocol notices what was lost; this says
so before anything is. Judges the answer to INFO only, since CONFIG is often forbidden.
Must not know: a client library, or who is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from streamae.reasons import Problem

OLDEST_VERSION = (7, 0)
NEARLY_FULL = 0.9  # of maxmemory


@runtime_checkable
class Inspectable(Protocol):
    """A store that can be asked how it is, beside being a `StateStore`."""

    def problems(self) -> Mapping[Problem, str]:
        """Return what is wrong, each with a sentence on what to do; empty = nothing.

        Raises:
            RetryableError: no answer in time.
            ConfigError: whatever answers is no Redis.
        """
        ...


def judge(info: Mapping[str, Any]) -> dict[Problem, str]:
    """Return the problems that show in the answer to INFO, with a sentence each on what to do.

    Args:
        info: by field name, numbers as numbers; absent fields are taken for harmless.

    Example:
        >>> judge({"redis_version": "6.2.1"})
        {<Problem.OLD: 'old'>: 'version 6.2.1: use Redis 7.0 or later'}
    """
    found: dict[Problem, str] = {}
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        evicted = info.get("evicted_keys", 0)
        found[Problem.EVICTS] = (
            f"maxmemory-policy is {policy} ({evicted} keys evicted so far): set it to noeviction, "
            "or key state is deleted when memory is short"
        )
    used, limit = info.get("used_memory", 0), info.get("maxmemory", 0)
    if limit and used >= NEARLY_FULL * limit:
        found[Problem.NEARLY_FULL] = f"{used} of {limit} bytes used: raise maxmemory, or nothing can be saved soon"
    if info.get("role", "master") != "master":
        found[Problem.REPLICA] = "the server is a replica: let state.redis_url name the master"
    version = str(info.get("redis_version", ""))
    if _numbers(version) < OLDEST_VERSION:
        found[Problem.OLD] = f"version {version}: use Redis {'.'.join(map(str, OLDEST_VERSION))} or later"
    return found


def _numbers(version: str) -> tuple[int, ...]:
    """Read `7.0.15` as numbers; what cannot be read counts as new."""
    try:
        return tuple(int(part) for part in version.split(".")[:2])
    except ValueError:
        return OLDEST_VERSION
