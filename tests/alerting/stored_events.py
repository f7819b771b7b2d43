"""Events of a release, kept as that release wrote them: what later releases of alerting must still read.

`python -m tests.alerting.stored_events FOLDER` writes those of the present release, a file each: the headers and the
value, as text. Files that are there already stay as they are: they are the past.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from scripts.verify.torture.alert_episodes import PEAK, START_MS, event_writer
from streamae import __version__
from streamae.batches import KeyState, Partition, Record
from streamae.connectors.protocols import Message
from streamae.episode_changes import ChangeKind, EpisodeChange
from streamae.reasons import CloseReason

STORED = Path(__file__).parent / "stored"
CHANGE = replace(PEAK, offset=822, opened_offset=822, severity=52.96, confidence=0.62)
UPDATED = replace(
    CHANGE, kind=ChangeKind.UPDATED, offset=830, sequence=1, end_time_ms=START_MS + 480_000, windows=9, severity=93.5
)
CHANGES: dict[str, tuple[EpisodeChange, bytes]] = {
    "opened": (CHANGE, b"machine-006"),
    "updated": (UPDATED, b"machine-006"),
    "closed": (
        replace(UPDATED, kind=ChangeKind.CLOSED, offset=841, sequence=2, close_reason=CloseReason.QUIET),
        b"machine-006",
    ),
    "provisional": (
        replace(CHANGE, state=KeyState.PROVISIONAL, state_reason="12 scores of its own so far", count=12, offset=17),
        b"machine-007",
    ),
    "odd_key": (replace(CHANGE, record_id="t-1", offset=18), b"press\xff\n1"),
}


def message(change: EpisodeChange, key: bytes) -> Message:
    """Return an event as the present release writes it."""
    return event_writer("anomalies").message(change, key, Partition("metrics", 4))


def record_of(path: Path, offset: int = 0) -> Record:
    """Return a stored event as a record of the output topic."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    headers = [(name, value.encode()) for name, value in content["headers"].items()]
    return Record("anomalies", 0, offset, START_MS + 2_000, b"", content["value"].encode(), headers)


def main(folder: Path) -> None:
    """Write the events of the present release where there are none of it."""
    for name, (change, key) in CHANGES.items():
        path = folder / f"{__version__}-{name}.json"
        if path.exists():
            continue
        written = message(change, key)
        headers = {header: (value or b"").decode() for header, value in written.headers}
        content = {"headers": headers, "value": (written.value or b"").decode()}
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
