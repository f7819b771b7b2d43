"""What is stored and published, made anew: checkpoints, bundles, a bootstrap file, events, fingerprints, names.

`python -m tests.golden.made FOLDER REDIS_URL PREFIX` writes everything into a folder. The folder `stored` beside this
module was written by it (bundles, events and names at commit ca591bb); `test_golden.py` holds what is made now against
that. The folder `before` holds what the release before stored. It runs in a process of its own, in which numpy and torch
use no instructions that only some processors have, so that every machine computes the same.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from redis import Redis

from streamae.batches import Record, Series
from streamae.commands.bootstrap import bootstrap
from streamae.connectors.memory import MemoryBroker
from streamae.connectors.memory_store import MemoryStore
from streamae.connectors.protocols import StateStore
from streamae.connectors.redis_store import RedisStore
from streamae.core.layouts import layout_of
from streamae.errors import ExitCode
from streamae.model.bundle import load_bundle
from streamae.observe.telemetry import Telemetry
from streamae.reasons import Reason
from streamae.settings.connections import StateSettings
from streamae.settings.data import FeatureSettings
from streamae.settings.serving import ModelSettings
from streamae.settings.training import TrainSettings
from streamae.settings.tree import SETTING_NAMES, Settings, fingerprint
from streamae.training.options import TrainOptions
from streamae.training.run import train
from tests.engines import FEATURES, START_MS, STEP_MS, TOPIC, Rig, broker_with, settings, stream

STORED = Path(__file__).parent / "stored"
BEFORE = Path(__file__).parent / "before"
PACKAGE = Path(__file__).parents[2] / "streamae"
RULES = ("sigma", "static", "quantile", "block_maxima", "mad", "pot", "dspot", "conformal")
SPIKES = ((0, 50), (1, 60), (1, 61), (2, 90), (0, 110))
RECORDS = stream(3, 120, spikes=SPIKES)
HALF = len(RECORDS) * 2 // 3
SAVED = {"checkpoint_interval_ms": 15}
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {rule: {"threshold": {"rule": rule}} for rule in RULES} | {
    "grid": {"window": {"grid_ms": 2_000, "grid_merge": "mean"}},
    "gaps": {"window": {"stride": 2, "missing": "constant", "late": "drop"}, "episode": {"min_duration_windows": 2}},
    "alerts": {"alerts": {"min_deviation": {"temp": 1.0}, "overrides": ({"keys": "machine-1", "mute": True},)}},
}


def broker_with_oddities(records: Iterable[tuple[bytes, bytes]]) -> MemoryBroker:
    """Return a broker with `records` and, between them, some that are no rows of any stream."""
    odd = [
        (b"machine-0", b"no JSON"),
        (b"machine-1", b'{"ts": 1700000001000, "temp": "warm", "load": 1}'),
        (b"machine-2", b'{"temp": 1, "load": 1}'),
        (b"machine-0", b'{"ts": 1700000001000, "temp": 1, "load": 1}'),
    ]
    found = list(records)
    return broker_with([*found[:30], *odd, *found[30:]])


def rig(broker: MemoryBroker, store: StateStore, variant: dict[str, dict[str, Any]] | None = None) -> Rig:
    """Return a process that commits and saves often."""
    return Rig(broker, store, settings=settings(state=SAVED, **(variant or {})), max_poll_records=17)  # type: ignore[arg-type]


def add(broker: MemoryBroker, records: Iterable[tuple[bytes, bytes]]) -> None:
    """Append to the input topic as `broker_with` does."""
    for key, value in records:
        broker.produce(TOPIC, key, value, timestamp=START_MS, partition=sum(key) % 2)


def line(record: Record) -> dict[str, Any]:
    """Return a record as JSON, byte for byte."""
    return {
        "partition": record.partition,
        "key": _text(record.key),
        "value": _text(record.value),
        "headers": [[name, _text(value)] for name, value in record.headers],
    }


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode("latin-1")


def dump(raw: Redis, prefix: str) -> dict[str, dict[str, str]]:
    """Return all hashes of a prefix, by their names without it."""
    return {
        key.decode().removeprefix(prefix): {
            name.decode("latin-1"): base64.b64encode(value).decode() for name, value in sorted(raw.hgetall(key).items())
        }
        for key in sorted(raw.scan_iter(match=f"{prefix}:*"))
    }


def restore(raw: Redis, prefix: str, stored: dict[str, dict[str, str]]) -> None:
    """Write what `dump` returned, under another prefix."""
    for key, fields in stored.items():
        for name, value in fields.items():
            raw.hset(f"{prefix}{key}", name.encode("latin-1"), base64.b64decode(value))


def open_store(url: str, prefix: str) -> RedisStore:
    """Open the store of the group `group` as a process does."""
    return RedisStore(StateSettings(redis_url=url, key_prefix=prefix), "group")


def checkpoint_and_stream(url: str, prefix: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return what Redis holds after two thirds of the records, and all that was published in the end."""
    broker = broker_with_oddities(RECORDS[:HALF])
    raw = Redis.from_url(url)
    try:
        first = rig(broker, open_store(url, prefix))
        first.run_dry()
        first.engine.close()
        held = dump(raw, prefix)
        add(broker, RECORDS[HALF:])
        second = rig(broker, open_store(url, prefix))
        second.run_dry()
        second.engine.close()
    finally:
        raw.close()
    return held, published(second)


def go_on(url: str, prefix: str, stored: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Go on from a stored checkpoint; return why partitions started as they did, all that was published, and key state."""
    broker = broker_with_oddities(RECORDS[:HALF])
    before = rig(broker, MemoryStore())
    before.run_dry()
    before.engine.close()
    raw = Redis.from_url(url)
    try:
        restore(raw, prefix, stored)
    finally:
        raw.close()
    add(broker, RECORDS[HALF:])
    after = rig(broker, open_store(url, prefix))
    after.run_dry()
    reasons = re.findall(
        r'partition_starts_total\{reason="(\w+)"\} ([1-9][0-9.]*)', after.telemetry.render()[0].decode()
    )
    after.engine.close()
    raw = Redis.from_url(url)
    try:
        held = {name: values for name, values in dump(raw, prefix).items() if ":b:" in name}
    finally:
        raw.close()
    found = [f"{name} {float(count):g}" for name, count in reasons]
    return {"reasons": found, "stream": published(after), "held": held}


def published(process: Rig) -> list[dict[str, Any]]:
    """Return events, then dead letters."""
    return [line(record) for record in (*process.events(), *process.dead_letters())]


def variant(name: str) -> dict[str, Any]:
    """Return layout, fingerprints, packed state and events of one variant of the settings."""
    process = rig(broker_with(RECORDS), MemoryStore(), VARIANTS[name])
    process.run_dry()
    engine = process.engine
    return {
        "layout": layout_of(engine.stages.state),
        "state_fingerprint": engine.recovery.fingerprint,
        "settings_fingerprint": fingerprint(process.settings),
        "state": {
            f"{at.topic}-{at.index}/{key.decode()}": base64.b64encode(packed).decode()
            for (at, key), packed in sorted(process.state().items())
        },
        "events": [line(record) for record in process.events()],
    }


def series(keys: int = 3, rows: int = 400) -> list[Series]:
    """Return series to train on and to bootstrap from."""
    generator, steps = np.random.default_rng(5), np.arange(rows)
    return [
        Series(
            f"machine-{key}",
            FEATURES,
            (START_MS + steps * STEP_MS).astype(np.int64),
            np.stack([np.sin(steps / 9 + key), np.cos(steps / 7)], axis=1).astype(np.float32)
            + generator.normal(0, 0.1, (rows, 2)).astype(np.float32),
        )
        for key in range(keys)
    ]


def history(folder: Path) -> Path:
    """Write the file that is bootstrapped from."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["key", "ts", *FEATURES])
    for one in series():
        for time_ms, row in zip(one.event_times_ms.tolist(), one.values.tolist(), strict=True):
            writer.writerow([one.key, time_ms, *row])
    path = folder / "history.csv"
    path.write_text(text.getvalue(), encoding="utf-8")
    return path


def bootstrap_file(bundle: Path, folder: Path) -> bytes:
    """Return what `streamae bootstrap` writes for a stored bundle."""
    chosen = Settings.model_validate(
        {
            "input": {"key_field": "key", "time_field": "ts"},
            "model": {"bundle": str(bundle), "device": "cpu", "threads": 1},
        }
    )
    out, said = folder / "learnt-keys", io.StringIO()
    bootstrap(chosen, [history(folder)], out, said, said, now_ms=START_MS + 10_000_000)
    return out.read_bytes()


def names() -> dict[str, list[str]]:
    """Return the names that others rely on: settings, metrics, exit codes, reasons, fail points."""
    metrics = re.findall(r"^# TYPE (\S+ \S+)$", Telemetry().render()[0].decode(), re.MULTILINE)
    sources = [path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))]
    return {
        "settings": sorted(SETTING_NAMES),
        "metrics": sorted(name for name in metrics if name.startswith("streamae_")),
        "exit_codes": [f"{code.name} {code.value}" for code in ExitCode],
        "reasons": sorted(Reason),
        "fail_points": sorted({name for text in sources for name in re.findall(r'fail_point\("(\w+)"\)', text)}),
    }


def train_bundles(folder: Path) -> None:
    """Train the bundles that are stored; their weights depend on the processor, so nobody makes them again."""
    of, model = TrainSettings(window_size=8, max_steps=30, memory_windows=0, recent_steps=4), ModelSettings(threads=1)
    options = TrainOptions(of, model=model).with_train(kind="zscore")
    train(series(), options).save(folder / "zscore")
    encoded = FeatureSettings(since_previous=True, time_features=("hour",), scaling="key")
    options = TrainOptions(of, features=encoded, model=model).with_train(kind="lstm", hidden_size=4)
    train(series(rows=800), options).save(folder / "lstm")


def files_of(bundle: Path) -> dict[str, bytes]:
    """Return the files of a bundle."""
    return {path.name: path.read_bytes() for path in sorted(bundle.iterdir())}


def write(folder: Path, url: str, prefix: str) -> None:
    """Write all that can be made anew from the stored bundles, and what they say when they are saved again."""
    bundles = folder / "bundles" if (folder / "bundles").is_dir() else STORED / "bundles"
    held, stream_of_events = checkpoint_and_stream(url, prefix)
    write_json(folder / "checkpoint.json", held)
    write_json(folder / "stream.json", stream_of_events)
    for name in VARIANTS:
        write_json(folder / f"variant-{name}.json", variant(name))
    (folder / "learnt-keys").write_bytes(bootstrap_file(bundles / "zscore", folder))
    (folder / "history.csv").unlink()
    write_json(folder / "names.json", names())
    write_json(folder / "default-fingerprint.json", fingerprint(Settings()))


def write_json(path: Path, content: Any) -> None:
    """Write JSON that differences can be read in."""
    path.write_text(json.dumps(content, indent=1, sort_keys=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read what `write_json` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))


def main() -> None:
    """Write everything that can be made anew, save the bundles again, and go on from the stored checkpoint."""
    folder, url, prefix = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    folder.mkdir(parents=True, exist_ok=True)
    write(folder, url, prefix)
    for name in ("zscore", "lstm"):
        load_bundle(STORED / "bundles" / name).save(folder / "saved-again" / name)
    for of in (STORED, BEFORE):
        gone_on = go_on(url, f"{prefix}-{of.name}", read_json(of / "checkpoint.json"))
        write_json(folder / f"gone-on-from-{of.name}.json", gone_on)


if __name__ == "__main__":
    main()
