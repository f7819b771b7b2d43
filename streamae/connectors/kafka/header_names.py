"""Header names that are not UTF-8: one such record must not stop its partition.

The client decodes names strictly and calls the whole batch corrupt, so the consumer would meet the same record for
ever. Any producer can write such a name. Here it becomes a text that remembers its bytes, readable for people, and
is written back as exactly those bytes when the record goes to the dead-letter topic. Records with good names take
the client's own way, at its own speed.
"""

from __future__ import annotations

from typing import Any, Self, SupportsIndex

from kafka.record.default_records import DefaultRecordBatch


class HeaderName(str):
    """A header name that was not UTF-8: shown with replacement characters, encoded as its original bytes."""

    __slots__ = ("original",)
    original: bytes

    @classmethod
    def of(cls, original: bytes) -> Self:
        """Return the name whose bytes are `original`."""
        name = cls(original.decode("utf-8", errors="replace"))
        name.original = original
        return name

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:  # noqa: ARG002 - as str's
        """Return the original bytes, whatever the encoding."""
        return self.original


class _Slice(bytearray):
    """Part of a record whose text decodes always."""

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        try:
            return super().decode(encoding, errors)
        except UnicodeDecodeError:
            return HeaderName.of(bytes(self))


class _Buffer(bytearray):
    """Records as bytes, cut into `_Slice`."""

    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        found = super().__getitem__(index)
        return _Slice(found) if isinstance(index, slice) else found


def tolerate_bad_names() -> None:
    """Teach the client to read such records; doing it twice is harmless.

    Works on the client's reading of one record, for the whole process: there is no setting for it.
    """
    read = DefaultRecordBatch._read_msg  # noqa: SLF001 - the client is pinned; a test reads such a record
    if getattr(read, "is_tolerant", False):
        return

    def read_tolerantly(batch: Any, *arguments: Any) -> Any:
        try:
            return read(batch, *arguments)
        except UnicodeDecodeError:  # nothing was consumed: the place is noted only at the end of a record
            batch._buffer = _Buffer(batch._buffer)  # noqa: SLF001 - see above
            return read(batch, *arguments)

    read_tolerantly.is_tolerant = True  # type: ignore[attr-defined]
    DefaultRecordBatch._read_msg = read_tolerantly  # noqa: SLF001 - see above
