"""Redis in memory, for what receivers of alerts were told: the twin of `redis_told.py`, with its failures as switches.

Must not know: a client library, time, or what the bytes mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from streamae.connectors.memory_store import Switches


class MemoryTold(Switches):
    """Texts of one receiver; outlives the processes of a test, as Redis outlives a process.

    Points for `fail_at`: `load`, `forget`; `before_save` (nothing is kept), `after_save` (kept, the answer is lost).
    """

    points = ("load", "forget", "before_save", "after_save")

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[str, bytes] = {}
        self.mark: bytes | None = None

    def load(self) -> tuple[dict[str, bytes], bytes] | None:
        """Return all texts and the mark of the last save; see `TextStore.load`."""
        self.reach("load")
        return None if self.mark is None else (dict(self.texts), self.mark)

    def save(self, texts: Mapping[str, bytes], mark: bytes) -> bool:
        """Keep texts and mark; see `TextStore.save`."""
        self.reach("before_save")
        was_there = self.mark is not None
        self.texts.update(texts)
        self.mark = mark
        self.reach("after_save")
        return was_there

    def forget(self, names: Iterable[str]) -> None:
        """Drop texts; see `TextStore.forget`."""
        self.reach("forget")
        for name in names:
            self.texts.pop(name, None)

    def flush(self) -> None:
        """Lose everything."""
        self.texts.clear()
        self.mark = None

    def close(self) -> None:
        """Nothing to release."""
