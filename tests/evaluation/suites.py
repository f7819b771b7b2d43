"""A benchmark suite small enough to train on in a second, with anomalies that cannot be missed."""

from __future__ import annotations

import csv
from pathlib import Path

from streamae.demo.sensors import generate
from streamae.settings.decisions import ThresholdSettings
from streamae.settings.training import TrainSettings
from streamae.settings.tree import Settings

TRAIN_ROWS, ROWS, WINDOW = 200, 560, 8
QUICK = Settings(
    train=TrainSettings(window_size=WINDOW, hidden_size=4, recent_steps=4, max_steps=8, batch_size=32),
    threshold=ThresholdSettings(rule="sigma", min_windows=32),  # its knob k bounds the alarms of k = 3 from below
)


def write_suite(folder: Path, groups: tuple[str, ...] = ("mill", "plant"), keys: int = 2, features: int = 2) -> Path:
    """Write generated series as CSV with a manifest; each group has `keys` series."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for seed, group in enumerate(groups):
        data = generate(
            keys=keys, rows=ROWS, train_rows=TRAIN_ROWS, features=features, anomalies_per_key=1, seed=11 + seed
        )
        for one in data.series:
            file = f"{group}-{one.key}.csv"
            assert one.labels is not None
            with (folder / file).open("w", encoding="utf-8", newline="") as stream:
                writer = csv.writer(stream)
                writer.writerow(["timestamp", *one.features, "is_anomaly"])
                for row, values in enumerate(one.values.tolist()):
                    writer.writerow([row, *map(repr, values), int(one.labels[row])])
            sizes = {"rows": ROWS, "channels": features, "train_rows": TRAIN_ROWS, "step_seconds": 60}
            entries.append({"dataset": group, "series": one.key, "file": file, "timestamp_kind": "index"} | sizes)
    write_manifest(folder, entries)
    return folder


def write_manifest(folder: Path, entries: list[dict[str, object]]) -> None:
    """Write these rows."""
    with (folder / "MANIFEST.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(entries[0]))
        writer.writeheader()
        writer.writerows(entries)


def read_manifest(folder: Path) -> list[dict[str, object]]:
    """Return its rows."""
    with (folder / "MANIFEST.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))
