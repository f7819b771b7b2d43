"""A refused record, as it goes to the dead-letter topic: the original untouched, and beside it why and from where.

This module must not know the record format: key, value and headers are copied byte for byte, never decoded.
"""

from __future__ import annotations

from streamae import __version__
from streamae.batches import Rejected
from streamae.connectors.protocols import Message


def dead_letter(rejected: Rejected, topic: str) -> Message:
    """Return the message for the dead-letter topic.

    Key, value (null stays null) and headers are the record's own and come first, so that a repaired record can be
    produced again from them; our headers follow, text in UTF-8. A record that was a dead letter before keeps the
    headers of its earlier failures: the last ones are the newest.

    Args:
        rejected: the record and the reason.
        topic: dead-letter topic.
    """
    raw = rejected.raw
    ours = {
        "reason": rejected.reason.value,
        "detail": rejected.detail,
        "source-topic": raw.topic,
        "source-partition": str(raw.partition),
        "source-offset": str(raw.offset),
        "source-timestamp": str(raw.timestamp),
        "version": __version__,
    }
    if rejected.record_id is not None:
        ours["record-id"] = rejected.record_id
    headers = (*raw.headers, *((f"streamae-{name}", text.encode()) for name, text in ours.items()))
    return Message(topic, raw.key, raw.value, headers, rejected.cause)
