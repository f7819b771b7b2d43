"""The file of a bootstrap: what keys have learnt from a history, for daemons that have not met them yet.

One file, written whole or not at all and checked when it is read. Must not know what packed state means.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from streamae.errors import DataError

MAGIC = b"streamae learnt keys 2\n"
MAGIC_BEFORE = b"streamae learnt keys 1\n"  # without a layout
DIGEST_BYTES = hashlib.sha256().digest_size


class _Content(msgspec.Struct, frozen=True, array_like=True):
    fingerprint: str
    size: int
    keys: list[bytes]
    packed: memoryview
    layout: str = ""


class LearntKeys(Mapping[bytes, bytes]):
    """Packed state by key, read-only; takes about as much memory as the file.

    Attributes:
        fingerprint: what the state depends on; that of a daemon which is to take it must be equal.
        layout: what is packed of a key, in words; "" = the release before wrote the file, which did not say.
    """

    def __init__(self, fingerprint: str, states: Mapping[bytes, bytes], layout: str) -> None:
        """Keep `states`, all of one size.

        Raises:
            ValueError: they differ in size.
        """
        sizes = set(map(len, states.values())) or {0}
        if len(sizes) > 1:
            raise ValueError(f"states of several sizes: {sorted(sizes)}")
        self.fingerprint, self.layout = fingerprint, layout
        self._size, self._packed = sizes.pop(), memoryview(b"".join(states.values()))
        self._places = {key: number for number, key in enumerate(states)}

    def __getitem__(self, key: bytes) -> bytes:
        """Return the state of a key."""
        start = self._places[key] * self._size
        return bytes(self._packed[start : start + self._size])

    def __iter__(self) -> Iterator[bytes]:
        """Keys, in the order they were given."""
        return iter(self._places)

    def __len__(self) -> int:
        """How many keys."""
        return len(self._places)

    def write(self, path: Path) -> None:
        """Write under another name, then rename: a crash leaves the old file or the new one.

        Raises:
            DataError: it cannot be written.
        """
        content = msgspec.msgpack.encode(_Content(self.fingerprint, self._size, list(self), self._packed, self.layout))
        check_place(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            number, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
            temporary = Path(name)
            try:
                with os.fdopen(number, "wb") as file:
                    file.write(MAGIC + hashlib.sha256(content).digest() + content)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.chmod(0o644)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            raise DataError(f"{path}: cannot be written: {error.strerror}") from error

    @classmethod
    def read(cls, path: Path) -> LearntKeys:
        """Read what `write` wrote, in this release or the one before.

        Raises:
            DataError: the file is missing, something else, or damaged; the message says which.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror}") from error
        if not data.startswith((MAGIC, MAGIC_BEFORE)):
            raise DataError(f"{path}: was not written by this version of streamae bootstrap: write it again")
        view = memoryview(data)[len(MAGIC) :]
        digest, content = view[:DIGEST_BYTES], view[DIGEST_BYTES:]
        if hashlib.sha256(content).digest() != digest:
            raise DataError(f"{path}: is damaged (checksum differs): write it again")
        found = msgspec.msgpack.decode(content, type=_Content)
        learnt = cls(found.fingerprint, {}, found.layout)
        learnt._size, learnt._packed = found.size, found.packed  # a view into `data`: nothing is held twice
        learnt._places = {key: number for number, key in enumerate(found.keys)}
        return learnt


def check_place(path: Path) -> None:
    """Tell before the work whether a file can be written there.

    Raises:
        DataError: a folder stands there, or what should be its folder is none.
    """
    if path.is_dir():
        raise DataError(f"{path}: is a folder: name a file")
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not parent.is_dir():
        raise DataError(f"{path}: cannot be written: {parent} is no folder")
