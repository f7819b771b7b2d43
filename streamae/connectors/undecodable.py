"""Why bytes are no record, in a sentence that holds types, paths and positions, never content.

Must not know: what a record is made into.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from streamae.batches import RawRecord, Rejected
from streamae.reasons import Reason

OUT_OF_RANGE = {"key": Reason.KEY_TOO_LARGE, "time": Reason.BAD_TIME, "category": Reason.WRONG_TYPE}
MAX_DETAIL = 512
_CONSTANTS = (b"NaN", b"Infinity")  # written by JavaScript and Python although JSON has no such thing
_LOOKS = (  # first bytes of what is sent instead of JSON
    (b"\x1f\x8b", "gzip: let the producer compress with Kafka's own compression.type"),
    (b"\x28\xb5\x2f\xfd", "zstd: let the producer compress with Kafka's own compression.type"),
    (b"PAR1", "a Parquet file"),
    (b"Obj\x01", "an Avro file"),
    (b"\xff\xfe", "UTF-16 text: JSON is UTF-8"),
    (b"\xfe\xff", "UTF-16 text: JSON is UTF-8"),
    (b"<", "XML or HTML"),
)
_SCHEMA_ID_BYTES = 5  # a zero byte and a 32-bit number, before what a schema registry's clients write


def refuse_size(raw: RawRecord, max_record_bytes: int) -> Rejected:
    """Return the refusal of a record without a value, or of one that is too long."""
    if raw.value is None:
        return Rejected(raw, Reason.TOMBSTONE, "the record has no value")
    detail = f"the value has {len(raw.value)} bytes, input.max_record_bytes is {max_record_bytes}"
    return Rejected(raw, Reason.TOO_LARGE, detail)


def refuse_content(raw: RawRecord, value: bytes, error: Exception, roles: Mapping[str, str]) -> Rejected:
    """Turn the parser's error into a reason.

    Args:
        raw, value: the record, and its bytes as they were parsed.
        error: what the parser raised.
        roles: by path as the parser writes it, the attribute of each field.
    """
    text = str(error).replace("bool | float", "float")  # truth values go without saying
    if not isinstance(error, msgspec.ValidationError):
        return _refuse_bytes(raw, value, error)
    if " - at " not in text:
        more = ": one record a message is read" if value.lstrip()[:1] == b"[" else ""
        if value.lstrip()[:2] in {b'"{', b'"['}:
            more = ": it is JSON written as text inside of JSON, the producer encodes it twice"
        return Rejected(raw, Reason.NOT_JSON, f"the value is not a JSON object: {text}{more}"[:MAX_DETAIL])
    reason = Reason.WRONG_TYPE
    if "out of range" in text:
        role = roles.get(text.rpartition(" - at ")[2], "").partition("_")[0]
        reason = OUT_OF_RANGE.get(role, Reason.NOT_FINITE)
    elif "of length" in text:
        reason = Reason.WRONG_LENGTH
    return Rejected(raw, reason, text[:MAX_DETAIL])


def _refuse_bytes(raw: RawRecord, value: bytes, error: Exception) -> Rejected:
    """Return the refusal of what is no JSON at all."""
    text = str(error)
    if isinstance(error, RecursionError):
        return Rejected(raw, Reason.NOT_JSON, "nested too deeply")
    if looks := looks_like(value):
        return Rejected(raw, Reason.NOT_JSON, f"looks like {looks}")
    if isinstance(error, UnicodeDecodeError):
        return Rejected(raw, Reason.NOT_JSON, f"not UTF-8: {error.reason} at byte {error.start}")
    position = re.search(r"\(byte (\d+)\)$", text)
    at = int(position[1]) if position else len(value)
    if value.startswith(_CONSTANTS, at):  # the minus of -Infinity is still a number to the parser
        return Rejected(raw, Reason.NOT_FINITE, f"NaN or Infinity, which JSON does not have, at byte {at}")
    if "trailing characters" in text and b"{" in value[at - 1 : at + 1]:
        text += ": one record a message is read, this one holds several lines"
    return Rejected(raw, Reason.NOT_JSON, text)


def looks_like(value: bytes) -> str | None:
    """Return what bytes that are no JSON look like, None where nobody can tell.

    Example:
        >>> looks_like(bytes([0, 0, 0, 0, 42, 6]))
        'the framing of a schema registry (schema id 42): Avro, Protobuf or JSON Schema, not JSON'
    """
    if len(value) > _SCHEMA_ID_BYTES and value[0] == 0:
        number = int.from_bytes(value[1:_SCHEMA_ID_BYTES], "big")
        return f"the framing of a schema registry (schema id {number}): Avro, Protobuf or JSON Schema, not JSON"
    return next((what for begin, what in _LOOKS if value.startswith(begin)), None)
