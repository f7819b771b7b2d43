"""Files of JSON: one record a line, or one array of records; the bytes of each record stay as they are.

Must not know: what is in a record.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec

from streamae.connectors.files.text_files import decoded, encoding_of, opened, read_head
from streamae.errors import DataError
from streamae.settings.data import InputSettings

_OPENS_OBJECT = re.compile(rb"\s*\{\s*(\"[^\"]*\"\s*:\s*[\[{]?\s*)?[\r\n]")  # and goes on in the next line
BOM = b"\xef\xbb\xbf"


def read_json_records(path: Path, settings: InputSettings) -> list[bytes]:
    """Return the bytes of each record in order; lines that are no JSON are records too, which the codec refuses.

    Raises:
        DataError: not readable, no text, or more than `max_rows` records; names the file.
    """
    head, is_whole = read_head(path)
    try:
        encoding = encoding_of(head, settings.text_encoding, is_whole=is_whole)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    with opened(path) as file:
        data = file.read()
    if encoding not in {"utf-8", "utf-8-sig", "cp1252"} or settings.text_encoding is not None:
        data = decoded(data, encoding, is_whole=True).encode("utf-8", "surrogatepass")
    return records_of(data.removeprefix(BOM), path, settings.max_rows)


def records_of(data: bytes, source: object, max_rows: int) -> list[bytes]:
    """Return the records of a text: the elements of one array, or its lines that are not blank.

    An object over several lines counts as the one list of objects in it, as programs and services answer.

    Raises:
        DataError: more than `max_rows` of them, or an object over several lines that has no such list, or several.
    """
    records = _elements(data) if data.lstrip()[:1] == b"[" else None
    if records is None and _OPENS_OBJECT.match(data):
        records = _in_document(data, source)
    if records is None:
        records = [line for line in data.splitlines() if line.strip()]
    if len(records) > max_rows:
        raise DataError(f"{source}: {len(records):,} records, input.max_rows is {max_rows:,}")
    return records


def _elements(data: bytes) -> list[bytes] | None:
    """Return the elements of one array; None where the text is none, such as lines that begin with a bracket."""
    try:
        return [bytes(element) for element in msgspec.json.decode(data, type=list[msgspec.Raw])]
    except (msgspec.MsgspecError, RecursionError):
        try:  # NaN and Infinity, which Python writes, cost their value and not the array
            found = json.loads(data)
        except (ValueError, RecursionError):
            return None
        return [json.dumps(element).encode() for element in found] if isinstance(found, list) else None


def _in_document(data: bytes, source: object) -> list[bytes] | None:
    """Return the objects that one object over several lines lists; None where it is none, but lines.

    Raises:
        DataError: it lists none, or several things.
    """
    try:
        fields = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, RecursionError):
        return None
    lists = []
    for field in fields.values():
        if bytes(field).lstrip()[:1] == b"[":
            elements = [bytes(element) for element in msgspec.json.decode(field, type=list[msgspec.Raw])]
            lists += [elements] if elements and all(element.lstrip()[:1] == b"{" for element in elements) else []
    if len(lists) != 1:
        raise DataError(f"{source}: is one JSON object over several lines: write a record a line, or one array of them")
    return lists[0]
