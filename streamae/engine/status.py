"""What an engine says of itself when it is asked: for readiness, `/status`, systemd and the log."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStatus:
    """One moment of an engine.

    Attributes:
        partitions: owned and running.
        replaying: of these, rebuilding state silently.
        recovering: owned and not started yet.
        halted: of these, held back by `state.on_loss`, since their state is lost.
        joined: a member of the group, perhaps with no partition.
        keys: with state in memory.
        key_states: counts of keys by state and reason, as of the last report; None before the first.
        waiting_windows, waiting_messages: not scored yet, not known to be committed yet.
        store_failing_since_ms: on the engine's clock; None while the store answers.
        commit_blocked: a transaction failed and what it held is not out yet.
        finished: an input that has an end has reached it.
        unscored: why no window of such an input was scored, "" where some were; true once it is drained.
        warnings: what is wrong with the stream, a sentence each.
        stream: what was seen of it, as of the last report; see `StreamWatch.summary`.
    """

    partitions: int = 0
    replaying: int = 0
    recovering: int = 0
    halted: int = 0
    joined: bool = True
    keys: int = 0
    key_states: list[dict[str, Any]] | None = None
    waiting_windows: int = 0
    waiting_messages: int = 0
    store_failing_since_ms: int | None = None
    commit_blocked: bool = False
    finished: bool = False
    unscored: str = ""
    warnings: list[str] = field(default_factory=list)
    stream: dict[str, Any] | None = None

    def plain(self) -> dict[str, Any]:
        """Return it as values that JSON has, in this order."""
        return {one.name: getattr(self, one.name) for one in fields(self)}
