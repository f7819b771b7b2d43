"""Files of text as bytes: gzip by content, the encoding by content, and what a file is that holds no text.

Must not know: what the text means, rows or fields.
"""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streamae.errors import DataError

HEAD_BYTES = 262_144  # of a file, from which is found out how to read it
FALLBACK = "cp1252"  # what is not UTF-8 comes from Windows programs of the west; its superset of latin-1
MAX_CONTROL_SHARE = 0.02  # of characters that text does not have
_GZIP = b"\x1f\x8b"
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_KINDS = (
    (b"PAR1", "Parquet: name it .parquet"),
    (b"PK\x03\x04", "a zip archive or an Excel workbook: unpack it, or save the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook: save the sheet as CSV"),
    (_GZIP, "gzip inside gzip: unpack it"),
    (b"BZh", "bzip2: unpack it"),
    (b"\xfd7zXZ", "xz: unpack it"),
    (b"\x28\xb5\x2f\xfd", "zstd: unpack it"),
    (b"Obj\x01", "Avro: write it as Parquet or JSON lines"),
    (b"ORC", "ORC: write it as Parquet"),
    (b"ARROW1", "Arrow or Feather: write it as Parquet"),
    (b"\x89HDF", "HDF5: write it as Parquet or CSV"),
    (b"SQLite format 3", "a SQLite database: write the table as CSV"),
    (b"%PDF", "PDF"),
    (b"version https://git-lfs", "a pointer of Git LFS: fetch the file itself"),
)
_MARKUP = (b"<!doctype", b"<html", b"<?xml")
_NO_TEXT = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1a"))


@contextmanager
def opened(path: Path) -> Iterator[io.BufferedReader | gzip.GzipFile]:
    """Open a file for reading, unpacked if its content is gzip, whatever its name.

    Raises:
        DataError: not readable or damaged, now or while it is read within the context.
    """
    try:
        with path.open("rb") as packed:
            if packed.peek(len(_GZIP))[: len(_GZIP)] != _GZIP:
                yield packed
                return
            with gzip.open(packed) as plain:
                yield plain
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not readable, or damaged: {error}") from error


def read_head(path: Path) -> tuple[bytes, bool]:
    """Return the first `HEAD_BYTES` of a file and whether that is all of it; raises as `opened`."""
    with opened(path) as file:
        head = file.read(HEAD_BYTES + 1)
    return head[:HEAD_BYTES], len(head) <= HEAD_BYTES


def encoding_of(head: bytes, wanted: str | None, *, is_whole: bool) -> str:
    """Return the encoding of a text, as Python names it.

    It is `wanted`, else that of a byte order mark, else UTF-16 where every other byte is zero, else UTF-8 if what is
    not ASCII is mostly that, else `FALLBACK`.

    Args:
        head: the beginning of a file.
        wanted: what `input.text_encoding` says, None if it is unset.
        is_whole: the head is the whole file; else it may end within a character.

    Raises:
        DataError: no text, or no encoding has that name; without the file's name.
    """
    for beginning, kind in _KINDS:
        if head.startswith(beginning):
            raise DataError(f"is no text but looks like {kind}")
    if head.lstrip(codecs.BOM_UTF8 + b" \t\r\n").lower().startswith(_MARKUP):
        raise DataError("is no table but looks like a web page or XML: was it saved in place of the data?")
    if wanted is not None:
        decoded(head, wanted, is_whole=is_whole)
        return wanted
    encoding = next((encoding for mark, encoding in _BOMS if head.startswith(mark)), None) or _without_mark(head)
    if encoding is not None:
        return encoding
    _refuse_binary(head.replace(b"\0", b""))  # loggers that lose power leave blocks of zeros in text
    if head.isascii():
        return "utf-8"
    others = [character for character in decoded(head, "utf-8", is_whole=is_whole) if character > "\x7f"]
    return "utf-8" if 2 * others.count("\ufffd") <= len(others) else FALLBACK  # a few bytes may be damaged


def decoded(head: bytes, encoding: str, *, is_whole: bool) -> str:
    """Return the text of a head; bytes that are none become U+FFFD.

    Raises:
        DataError: no encoding has that name, or it cannot be used.
    """
    try:
        " ".encode(encoding)  # else a codec from bytes to bytes
        return codecs.getincrementaldecoder(encoding)("replace").decode(head, is_whole)
    except (LookupError, UnicodeError) as error:
        raise DataError(f"cannot be read with input.text_encoding = {encoding!r}: {error}") from error


def _without_mark(head: bytes) -> str | None:
    """Return UTF-16 of one or the other order where the text is mostly ASCII."""
    pairs = len(head) // 2
    even, odd = head[::2].count(0), head[1::2].count(0)
    if pairs and odd > 0.4 * pairs and even < 0.05 * pairs:
        return "utf-16-le"
    if pairs and even > 0.4 * pairs and odd < 0.05 * pairs:
        return "utf-16-be"
    return None


def _refuse_binary(head: bytes) -> None:
    if len(head) - len(head.translate(None, _NO_TEXT)) > MAX_CONTROL_SHARE * len(head):
        raise DataError("is no text: it holds bytes that no text has; if it is text, set input.text_encoding")
