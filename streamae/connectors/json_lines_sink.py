"""A folder as a sink: one file of JSON lines a topic, and the input offsets beside them.

`offsets.json` is the commit: it holds the length of every topic file and the next offset of every input partition,
and is replaced atomically after the lines are on disk. What a crash left behind it is cut off at the next start, so
that lines and offsets always belong together. Does not know what the messages mean.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from streamae.batches import Partition
from streamae.connectors.files.source import FileMembership
from streamae.connectors.protocols import Message
from streamae.errors import ConfigError, FatalError, RetryableError

OFFSETS_FILE, LOCK_FILE = "offsets.json", ".lock"


class CommittedOffset(msgspec.Struct, frozen=True):
    """Next offset to read of one input partition."""

    topic: str
    partition: int
    offset: int


class Ledger(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Content of `offsets.json`: length in bytes of each topic file, and the input offsets that led to it."""

    lengths: dict[str, int]
    offsets: list[CommittedOffset]

    def by_partition(self) -> dict[Partition, int]:
        """Return the offsets as a mapping."""
        return {Partition(entry.topic, entry.partition): entry.offset for entry in self.offsets}


class JsonLinesTransaction:
    """Messages and offsets of one transaction, kept in memory until its end."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.offsets: dict[Partition, int] = {}
        self.memberships: list[Any] = []

    def send(self, messages: Sequence[Message]) -> None:
        """Add messages."""
        self.messages.extend(messages)

    def send_offsets(self, offsets: dict[Partition, int], membership: Any) -> None:
        """Add offsets; a `FileMembership` hears of them once they are on disk."""
        self.offsets.update(offsets)
        self.memberships.append(membership)


class JsonLinesSink:
    """Appends messages to `directory`/<topic>.jsonl. One process a directory; not thread-safe.

    A line has `key`, `value`, `headers` (name and value each, in order), `partition` and `offset`. A value that is
    a JSON object stands there as such if that loses nothing, other bytes as text, and bytes that are no UTF-8 as
    {"base64": ...}.

    Raises:
        ConfigError: the directory cannot be used, is in use by another process, or its files do not fit
            `offsets.json`.
    """

    is_thread_bound = True  # tells the source what is on disk

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise ConfigError([f"output.directory: {directory} cannot be used: {error}"]) from error
        self._is_open = True
        try:
            _take_lock(self._lock, directory)
            ledger = read_ledger(directory)
            self._lengths, self._offsets = dict(ledger.lengths), ledger.by_partition()
            self._cut_off()
        except BaseException:
            self.close()
            raise

    @property
    def offsets(self) -> dict[Partition, int]:
        """Committed input offsets, a copy."""
        return dict(self._offsets)

    @contextmanager
    def transaction(self) -> Iterator[JsonLinesTransaction]:
        """Write on normal exit of the block; see `Sink.transaction`."""
        if not self._is_open:
            raise FatalError(f"{self._directory}: the sink is closed")
        transaction = JsonLinesTransaction()
        yield transaction
        if not transaction.messages and not transaction.offsets:
            return
        lines: dict[str, list[bytes]] = {}
        for message in transaction.messages:
            lines.setdefault(file_name(message.topic), []).append(_line(message))
        try:
            self._note_new_files(lines.keys())
            lengths = self._append(lines)
            self._write_ledger(lengths, offsets := self._offsets | transaction.offsets)  # the commit
        except OSError as error:
            self._take_back(error)
            raise RetryableError(f"{self._directory}: cannot be written: {error}") from error
        self._lengths, self._offsets = lengths, offsets
        for membership in transaction.memberships:
            if isinstance(membership, FileMembership):
                membership.committed.update(transaction.offsets)

    def close(self) -> None:
        """Give the directory free; idempotent."""
        if self._is_open:
            self._is_open = False
            os.close(self._lock)

    def _note_new_files(self, names: Any) -> None:
        """Record files before they are first written, so that only files of ours are ever cut."""
        new = {name: _size(self._directory / name) for name in names if name not in self._lengths}
        if new:
            self._write_ledger(self._lengths | new, self._offsets)
            self._lengths |= new

    def _append(self, lines: dict[str, list[bytes]]) -> dict[str, int]:
        """Append lines and wait until they are on disk; return the new lengths of all files."""
        lengths = dict(self._lengths)
        for name, of_topic in lines.items():
            with (self._directory / name).open("ab") as file:
                file.writelines(of_topic)
                file.flush()
                os.fsync(file.fileno())
            lengths[name] += sum(map(len, of_topic))
        return lengths

    def _write_ledger(self, lengths: dict[str, int], offsets: dict[Partition, int]) -> None:
        """Replace `offsets.json`; an OSError means it is still the old one.

        Raises:
            FatalError: it was replaced, but whether that survives a power cut is unknown.
        """
        entries = [CommittedOffset(topic, index, offset) for (topic, index), offset in sorted(offsets.items())]
        content = msgspec.json.format(msgspec.json.encode(Ledger(lengths, entries)), indent=2)
        temporary = self._directory / f"{OFFSETS_FILE}.new"
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._directory / OFFSETS_FILE)
        try:
            descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise FatalError(f"{self._directory}: outcome of a commit is unknown: {error}") from error

    def _take_back(self, cause: OSError) -> None:
        """Remove the lines of a transaction that failed.

        Raises:
            FatalError: that fails too; the next start does it.
        """
        try:
            self._cut_off()
        except (OSError, ConfigError) as error:
            raise FatalError(f"{self._directory}: {error}, after: {cause}") from error

    def _cut_off(self) -> None:
        """Remove what was appended after the last commit."""
        for name, length in self._lengths.items():
            path = self._directory / name
            size = _size(path)
            if size < length:
                remedy = f"restore it, or remove {OFFSETS_FILE} to read the input from the start"
                raise ConfigError([f"output.directory: {path} lost {length - size} committed bytes: {remedy}"])
            if size > length:
                os.truncate(path, length)


def read_ledger(directory: Path) -> Ledger:
    """Return what `directory` has committed; an empty ledger where there is none yet.

    Raises:
        ConfigError: `offsets.json` is there and not readable.
    """
    path = directory / OFFSETS_FILE
    try:
        ledger = msgspec.json.decode(path.read_bytes(), type=Ledger)
    except FileNotFoundError:
        return Ledger({}, [])
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        raise ConfigError([f"output.directory: {path} is not readable: {error}"]) from error
    strange = [name for name in ledger.lengths if name != Path(name).name or not name.endswith(".jsonl")]
    if strange:
        raise ConfigError([f"output.directory: {path} names a file that is not ours: {strange[0]}"])
    return ledger


def file_name(topic: str) -> str:
    """Return the file of a topic, without anything a file name may not have.

    Example:
        >>> file_name("plant/anomalies")
        'plant%2Fanomalies.jsonl'
    """
    return f"{quote(topic, safe='')}.jsonl"


def _take_lock(descriptor: int, directory: Path) -> None:
    import fcntl  # here: Windows has none, and must be able to import this module

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise ConfigError([f"output.directory: {directory} is in use by another process"]) from error


def _line(message: Message) -> bytes:
    content = {
        "key": _readable(message.key),
        "value": _value(message.value),
        "headers": [[name, _readable(value)] for name, value in message.headers],
        "partition": f"{message.cause.partition.topic}/{message.cause.partition.index}",
        "offset": message.cause.offset,
    }
    return msgspec.json.encode(content) + b"\n"


def _value(value: bytes | None) -> Any:
    """Return a JSON object as such if encoding it again gives the same bytes, else what `_readable` says."""
    if value is not None and value.startswith(b"{"):
        try:
            content = msgspec.json.decode(value)
            if msgspec.json.encode(content) == value and list(content) != ["base64"]:
                return content
        except (msgspec.MsgspecError, ValueError, RecursionError):
            pass
    return _readable(value)


def _readable(data: bytes | None) -> Any:
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
