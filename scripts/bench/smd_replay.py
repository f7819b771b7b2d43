"""`python -m scripts.bench.smd_replay`: real machines through a real Kafka, a real Redis and the real daemon.

Trains on the quiet half of one or more machines of the Server Machine Dataset, streams the labelled halves of four,
and holds the published episodes against the labels. Needs the data set's folder (`--data`; it is not part of this
repository) and skips without it. Must not know: how streamae decides; it only reads what comes out.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import NewTopic
from kafka.structs import TopicPartition

from scripts.services import KafkaBroker, RedisServer, ServiceUnavailableError
from streamae.batches import Doubles, Flags
from streamae.evaluation.metrics import EventReport, event_report, pool

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data" / "smd"
TRAINED_ON, REPLAYED = "machine-1-6", ("machine-1-6", "machine-1-4", "machine-2-1", "machine-3-2")
STEP_S = 60
START_S = 1_600_000_020  # the rows have numbers, not times: row 0 is here, on a full minute
INPUT, OUTPUT, DEAD_LETTERS, GROUP = "smd", "smd-anomalies", "smd-dead-letters", "smd-replay"
RUN_TIMEOUT_S, STOP_TIMEOUT_S = 1_800.0, 60.0


@dataclass(frozen=True, slots=True, eq=False)
class Machine:
    """One machine's file, cut in two.

    Attributes:
        name: of the machine.
        features: column names.
        values: (N, F) float64, all rows.
        labels: (N,) bool, True = anomaly.
        train_rows: rows at the front that are for training.
    """

    name: str
    features: list[str]
    values: Doubles
    labels: Flags
    train_rows: int


def read_machine(folder: Path, name: str) -> Machine:
    """Read a machine of the data set; the split stands in the manifest one level up."""
    with (folder.parent / "MANIFEST.csv").open(encoding="utf-8") as file:
        train_rows = {row["series"]: int(row["train_rows"]) for row in csv.DictReader(file)}[name]
    with gzip.open(folder / f"{name}.csv.gz", "rt", encoding="utf-8") as file:
        header = next(csv.reader(file))
        cells = np.loadtxt(file, delimiter=",")
    return Machine(name, header[1:-1], cells[:, 1:-1], cells[:, -1] > 0, train_rows)


def write_training_rows(machines: Sequence[Machine], path: Path) -> int:
    """Write the training rows of machines as CSV with names and times; return how many."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["machine", "timestamp", *machines[0].features])
        for machine in machines:
            for row in range(machine.train_rows):
                writer.writerow([machine.name, START_S + STEP_S * row, *machine.values[row].tolist()])
    return sum(machine.train_rows for machine in machines)


def fill_topic(servers: str, machines: Sequence[Machine], rows: int) -> int:
    """Write up to `rows` test rows of each machine, all machines side by side; return how many records."""
    written = 0
    with closing(KafkaProducer(bootstrap_servers=servers, linger_ms=50, compression_type="lz4")) as producer:
        for row in range(min(rows, max(len(machine.values) - machine.train_rows for machine in machines))):
            for number, machine in enumerate(machines):
                at = machine.train_rows + row
                if at < len(machine.values):
                    content: dict[str, Any] = {"machine": machine.name, "timestamp": START_S + STEP_S * at}
                    content |= zip(machine.features, machine.values[at].tolist(), strict=True)
                    producer.send(INPUT, json.dumps(content).encode(), machine.name.encode(), partition=number)
                    written += 1
        producer.flush(120)
    return written


def write_settings(path: Path, servers: str, redis_url: str, bundle: Path) -> Path:
    """Write the daemon's settings file; JSON's texts, numbers and lists are TOML's too."""
    sections: dict[str, dict[str, Any]] = {
        "kafka": {"bootstrap_servers": servers, "group_id": GROUP},
        "input": {"topics": [INPUT], "key_field": "machine", "time_field": "timestamp", "time_unit": "s"},
        "output": {"topic": OUTPUT, "dead_letter_topic": DEAD_LETTERS},
        "model": {"bundle": str(bundle), "threads": 1},
        "state": {"redis_url": redis_url, "key_prefix": GROUP},
        "service": {"http_port": 0, "log_format": "json"},
    }
    lines = [
        line
        for name, section in sections.items()
        for line in (f"[{name}]", *(f"{field} = {json.dumps(value)}" for field, value in section.items()))
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def run_daemon(settings: Path, servers: str, log: Path, partitions: int) -> float:
    """Run the daemon until all input is committed; return the seconds from its first commit to its last.

    Raises:
        RuntimeError: it ended early, took too long, or did not stop well.
    """
    command = [sys.executable, "-m", "streamae", "run", "--config", str(settings)]
    with log.open("wb") as file, subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file) as daemon:
        try:
            seconds = wait_for_end(daemon, servers, partitions)
            daemon.send_signal(signal.SIGTERM)
            code = daemon.wait(STOP_TIMEOUT_S)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            daemon.kill()
            tail = log.read_text(encoding="utf-8", errors="replace")[-2_000:]
            raise RuntimeError(f"{error}; the end of its log:\n{tail}") from error
    if code != 0:
        raise RuntimeError(f"the daemon ended with {code}, not 0")
    return seconds


def wait_for_end(daemon: subprocess.Popen[bytes], servers: str, partitions: int) -> float:
    """Wait until the group has committed the end of the topic; return the seconds since its first commit."""
    topic = [TopicPartition(INPUT, index) for index in range(partitions)]
    deadline = time.monotonic() + RUN_TIMEOUT_S
    first: tuple[float, int] | None = None
    reader = KafkaConsumer(bootstrap_servers=servers, group_id=GROUP, enable_auto_commit=False)
    with closing(reader):
        ends = reader.end_offsets(topic)
        total = sum(ends.values())
        while time.monotonic() < deadline:
            if daemon.poll() is not None:
                raise RuntimeError(f"the daemon ended with {daemon.returncode} before its work was done")
            done = sum(reader.committed(partition) or 0 for partition in topic)
            if done and first is None:
                first = (time.monotonic(), done)
            if done == total and first is not None:
                seconds = time.monotonic() - first[0]
                return float(
                    seconds * total / max(total - first[1], 1)
                )  # as if the first part had gone at the same pace
            time.sleep(0.1)
    raise RuntimeError(f"the daemon did not finish within {RUN_TIMEOUT_S:.0f} s")


def read_topic(servers: str, topic: str) -> list[dict[str, Any]]:
    """Return the JSON values of a topic of one partition, as any consumer with `read_committed` sees them."""
    partition = TopicPartition(topic, 0)
    reader = KafkaConsumer(bootstrap_servers=servers, isolation_level="read_committed", enable_auto_commit=False)
    found: list[dict[str, Any]] = []
    with closing(reader):
        reader.assign([partition])
        reader.seek_to_beginning(partition)
        end = reader.end_offsets([partition])[partition]
        while reader.position(partition) < end:
            for batch in reader.poll(timeout_ms=500).values():
                found += [json.loads(record.value) for record in batch]
    return found


def judge(machines: Sequence[Machine], events: Sequence[Mapping[str, Any]], rows: int) -> dict[str, EventReport]:
    """Return a report by machine: rows inside a published episode are in alarm."""
    newest = {event["episode_id"]: event for event in events}
    reports: dict[str, EventReport] = {}
    for machine in machines:
        labels = machine.labels[machine.train_rows : machine.train_rows + rows]
        alarms = np.zeros_like(labels)
        for event in newest.values():
            if event["key"] == machine.name:
                first, last = (
                    int(event[field] // 1_000 - START_S) // STEP_S - machine.train_rows
                    for field in ("start_time_ms", "end_time_ms")
                )
                alarms[first : last + 1] = True
        reports[machine.name] = event_report(labels, alarms)
    return reports


def table(reports: Mapping[str, EventReport]) -> str:
    """Return the figures by machine and over all."""
    heads = ("events", "recall", "precision", "false/10k", "F1", "strict F1", "delay", "in alarm")
    lines = [f"{'machine':14}" + "".join(f"{head:>11}" for head in heads)]
    for name, report in {**reports, "all": pool(reports.values())}.items():
        scores = (report.recall, report.precision, report.false_per_10k, report.f1, report.strict_f1)
        figures = "".join(f"{score:>11.2f}" for score in scores)
        lines.append(f"{name:14}{report.events:>11}{figures}{report.median_delay:>11.0f}{report.alarm_share:>11.1%}")
    return "\n".join(lines)


def replay(folder: Path, machines: Sequence[Machine], trained_on: Sequence[Machine], rows: int) -> int:
    """Train, serve, read; print all figures. Return the exit code."""
    train_rows = write_training_rows(trained_on, folder / "train.csv")
    paths = [str(folder / "train.csv"), "--bundle", str(folder / "bundle")]
    flags = ["--input.key_field", "machine", "--model.threads", "1"]
    started = time.monotonic()
    command = [sys.executable, "-m", "streamae", "train", *paths, *flags]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    print(f"trained on {train_rows:,} rows in {time.monotonic() - started:.0f} s", flush=True)
    with KafkaBroker() as broker, RedisServer() as redis:
        servers = broker.bootstrap_servers
        with closing(KafkaAdminClient(bootstrap_servers=servers)) as admin:
            admin.create_topics(
                [NewTopic(INPUT, len(machines), 1), *(NewTopic(name, 1, 1) for name in (OUTPUT, DEAD_LETTERS))]
            )
        records = fill_topic(servers, machines, rows)
        print(f"streaming {records:,} records of {len(machines)} machines", flush=True)
        settings = write_settings(folder / "streamae.toml", servers, redis.url, folder / "bundle")
        seconds = run_daemon(settings, servers, folder / "daemon.log", len(machines))
        events, dead = read_topic(servers, OUTPUT), read_topic(servers, DEAD_LETTERS)
    print(f"{records / seconds:,.0f} records/s, {len(events)} events, {len(dead)} dead letters\n")
    print(table(judge(machines, events, rows)))
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Return 0 when everything ran or the data is not there, 1 when something failed."""
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.smd_replay", description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the machines' files")
    parser.add_argument("--train", nargs="+", default=[TRAINED_ON], metavar="NAME", help="machines to train on")
    parser.add_argument("--rows", type=int, default=10**9, help="test rows of each machine at most")
    chosen = parser.parse_args(arguments)
    missing = [name for name in (*REPLAYED, *chosen.train) if not (chosen.data / f"{name}.csv.gz").exists()]
    if missing:
        print(f"skipped: {chosen.data} holds no {missing[0]}.csv.gz (give the data set's folder with --data)")
        return 0
    machines, trained_on = ([read_machine(chosen.data, name) for name in names] for names in (REPLAYED, chosen.train))
    try:
        with TemporaryDirectory() as folder:
            return replay(Path(folder), machines, trained_on, chosen.rows)
    except (RuntimeError, subprocess.CalledProcessError, ServiceUnavailableError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
