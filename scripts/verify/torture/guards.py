"""Guards of the product, taken out one at a time in a worker process, to prove that their absence is noticed.

Each removal replaces a part of the product in this process before the engine is built.
Must not know: which scenario makes the missing guard matter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from streamae.batches import Partition
from streamae.connectors import redis_store
from streamae.connectors.kafka.source import KafkaMembership, KafkaSource
from streamae.connectors.protocols import Manifest, Span
from streamae.core.marks import TimeMark
from streamae.core.silence import Followed
from streamae.engine import recovery
from streamae.engine.partitions import Plan, RecoveryPolicy, plan


class GuardNotFoundError(RuntimeError):
    """The product has changed: a removal no longer finds what it removes, and would prove nothing."""


NO_CAS = (
    (r"if offset >= new or [^\n]* then return 'stale' end", ""),
    (r"if base == '' then return 'stale' end", ""),
    (r"return offset < tonumber\(base\) and 'rolled_back'", "return false"),
)
NO_COUNT_AT_CHECKPOINT = (
    (r"if not begins_anew\(\w*\.?index\) and redis\.call\('HLEN', [^\n]*then\s+return 'rolled_back'\s+end", ""),
)
NO_COUNT_AT_LOAD = ((r"if expected and [^\n]*~= expected then return nil end", ""),)
NO_COUNT_AT_START = ((r"is_whole = 0", "is_whole = 1"),)

Edits = Sequence[tuple[str, str]]


def edited(text: str, edits: Edits) -> str:
    """Return a script with each pattern replaced.

    Raises:
        GuardNotFoundError: a pattern does not occur.
    """
    for pattern, replacement in edits:
        text, count = re.subn(pattern, replacement, text)
        if not count:
            raise GuardNotFoundError(f"nothing like {pattern!r} in the script")
    return text


def _edit_script(name: str, edits: Edits) -> None:
    """Let the store load the script of this name edited."""
    original = redis_store._script  # noqa: SLF001 - the product offers no door for taking guards out

    def script(asked: str) -> str:
        return edited(original(asked), edits) if asked == name else original(asked)

    redis_store._script = script  # noqa: SLF001 - as above


def without_cas() -> None:
    """Checkpoints overwrite whatever offset is stored."""
    _edit_script("rules.lua", NO_CAS)


def without_key_count() -> None:
    """Nobody counts the keys of a bucket: a lost key looks like a new one."""
    _edit_script("checkpoint.lua", NO_COUNT_AT_CHECKPOINT)
    _edit_script("switch.lua", NO_COUNT_AT_CHECKPOINT)
    _edit_script("load.lua", NO_COUNT_AT_LOAD)
    _edit_script("manifest.lua", NO_COUNT_AT_START)


def without_generation() -> None:
    """Membership is proved by whatever the client says, also by one that the broker would not check."""

    def membership(self: KafkaSource) -> KafkaMembership:
        return KafkaMembership(self._consumer.group_metadata(), frozenset(self._owned))

    KafkaSource.membership = membership  # type: ignore[method-assign]  # that is the point


def without_future() -> None:
    """Stored state that is ahead of the group is trusted."""

    def trusting(span: Span, manifest: Manifest | None, fingerprint: str, policy: RecoveryPolicy) -> Plan:
        if manifest is not None and span.committed is not None and manifest.offset > span.committed:
            return Plan(span.committed, span.committed, manifest.offset, drop_stored=False, reason="clean")
        return plan(span, manifest, fingerprint, policy)

    recovery.plan = trusting


def without_crossing_offset() -> None:
    """What silence brings carries the last record of its poll, not the one that brought it."""
    careful = Followed.marks

    def marks(self: Followed, partition: Partition, matters: Callable[[int], bool]) -> list[TimeMark]:
        last = int(self.signs.offsets[-1])
        return [replace(mark, offset=last) for mark in careful(self, partition, matters)]

    Followed.marks = marks  # type: ignore[method-assign]  # that is the point


REMOVALS: dict[str, Callable[[], None]] = {
    "cas": without_cas,
    "key_count": without_key_count,
    "generation": without_generation,
    "future": without_future,
    "crossing_offset": without_crossing_offset,
}
