"""Dead letters of alerting: what one receiver could not be told, with why.

Must not know: how they are sent.
"""

from __future__ import annotations

from streamae import __version__
from streamae.batches import Cause, Partition, RawRecord
from streamae.connectors.protocols import Message

LONGEST_DETAIL = 1_024


def letter(raw: RawRecord, topic: str, receiver: str, reason: str, detail: str) -> Message:
    """Return the message for the dead-letter topic: the event as it was, then our headers.

    Args:
        raw: record of the output topic.
        topic: of dead letters.
        receiver: that was to be told.
        reason: a word.
        detail: a sentence without secrets.
    """
    ours = {
        "reason": reason,
        "detail": detail[:LONGEST_DETAIL],
        "receiver": receiver,
        "source-topic": raw.topic,
        "source-partition": str(raw.partition),
        "source-offset": str(raw.offset),
        "source-timestamp": str(raw.timestamp),
        "version": __version__,
    }
    headers = (*raw.headers, *((f"streamae-{name}", text.encode(errors="replace")) for name, text in ours.items()))
    return Message(topic, raw.key, raw.value, headers, Cause(Partition(raw.topic, raw.partition), raw.offset))
