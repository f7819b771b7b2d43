"""`python -m scripts.loadgen`: machines to try streamae on: their quiet history, their live stream, and its events.

History and live stream are one generated stream, cut where the anomalies begin: the same keys and seed give machines
that go on where their history ended. Must not know: how streamae decides; it only reads what comes out.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import NewTopic
from kafka.errors import KafkaError, TopicAlreadyExistsError
from kafka.structs import TopicPartition

from streamae.demo.sensors import Injection, SyntheticStream, generate
from streamae.errors import DataError

HISTORY_ROWS = 1_000  # of each key, before the live stream
LIVE_ROWS = 1_000  # the stream is generated this long at least, so that a shorter one is its beginning
ANOMALIES_PER_ROW = 2.0 / LIVE_ROWS
OUTPUT_TOPICS = ("anomalies", "anomalies-dead-letters")
ALERT_TOPICS = {"anomalies-alert-dead-letters": {}, "anomalies-alert-orders": {"cleanup.policy": "compact"}}
SEAM_MS = 2 * 3_600_000  # between two runs into one topic; more than `window.max_gap_ms`, so that windows start anew
PROGRESS_INTERVAL_S = 5.0
FLUSH_TIMEOUT_S = 60.0
BOOTSTRAP_TIMEOUT_MS = 5_000
SHOWN_FEATURES = 3
LEAST_SHARE = 0.1  # of the score, for a feature to be shown

EXAMPLES = """examples, in this order, with `make services` and `streamae run` in terminals of their own:
  python -m scripts.loadgen train --out history.csv
  streamae train history.csv --bundle bundle --input.key_field key
  streamae run --input.time_field timestamp
  python -m scripts.loadgen stream
  python -m scripts.loadgen watch

`python -m scripts.loadgen COMMAND --help` lists the options of a command."""


def machines(keys: int, rows: int, seed: int) -> SyntheticStream:
    """Generate history and live stream; `rows` of the latter, which are the same rows for all `rows` <= LIVE_ROWS."""
    live = max(rows, LIVE_ROWS)
    return generate(keys, HISTORY_ROWS + live, seed=seed, anomalies_per_key=ANOMALIES_PER_ROW * live)


def write_history(stream: SyntheticStream, path: Path) -> int:
    """Write the rows before the live stream as CSV: key, timestamp, features. Return their number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["key", "timestamp", *stream.features])
        for series in stream.series:
            times = series.event_times_ms[:HISTORY_ROWS].tolist()
            values = series.values[:HISTORY_ROWS].astype(float).round(4).tolist()
            writer.writerows([series.key, iso(when), *row] for when, row in zip(times, values, strict=True))
    return HISTORY_ROWS * len(stream.series)


def live_records(stream: SyntheticStream, rows: int, shift_ms: int = 0) -> Iterator[tuple[bytes, bytes]]:
    """Yield (key, JSON value) of `rows` live rows of every key, in the order of time, moved by `shift_ms`."""
    for row in range(HISTORY_ROWS, HISTORY_ROWS + rows):
        for series in stream.series:
            content: dict[str, Any] = {"timestamp": iso(int(series.event_times_ms[row]) + shift_ms)}
            values = series.values[row].astype(float).round(4).tolist()
            content |= zip(stream.features, values, strict=True)
            yield series.key.encode(), json.dumps(content).encode()


def truth(stream: SyntheticStream, rows: int, shift_ms: int = 0) -> list[str]:
    """Return a table of the anomalies that begin within the first `rows` live rows."""
    last_row = HISTORY_ROWS + rows
    injected = [found for found in stream.injections if found.start_row < last_row]
    times = stream.series[0].event_times_ms + shift_ms

    def cells(found: Injection) -> tuple[str, str, str, str, str]:
        end = times[min(found.end_row, last_row) - 1]
        features = ", ".join(stream.features[feature] for feature in found.features)
        return found.key, found.kind.value, plain(times[found.start_row]), plain(end), features

    table = [("key", "injected", "first row", "last row", "features")]
    table += sorted((cells(found) for found in injected), key=lambda row: row[2])
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in table]


def _cluster(servers: str) -> dict[str, Any]:
    return {"bootstrap_servers": servers.split(","), "bootstrap_timeout_ms": BOOTSTRAP_TIMEOUT_MS}


def create_topics(servers: str, topic: str, partitions: int) -> list[str]:
    """Create the input topic and those that streamae writes to, where missing; return the created ones."""
    created = []
    admin = KafkaAdminClient(**_cluster(servers))
    try:
        for name in (topic, *OUTPUT_TOPICS, *ALERT_TOPICS):
            try:
                count = partitions if name == topic else 1
                kept = ALERT_TOPICS.get(name)
                admin.create_topics([NewTopic(name, num_partitions=count, replication_factor=1, topic_configs=kept)])
                created.append(name)
            except TopicAlreadyExistsError:
                continue
    finally:
        admin.close()
    return created


def newest_time_ms(servers: str, topic: str) -> int | None:
    """Return the event time of the newest record that `stream` left in a topic; None if it left none."""
    newest: list[int] = []
    consumer = KafkaConsumer(**_cluster(servers), enable_auto_commit=False)
    try:
        for index in consumer.partitions_for_topic(topic) or ():
            partition = TopicPartition(topic, index)
            consumer.assign([partition])
            if end := consumer.end_offsets([partition])[partition]:
                consumer.seek(partition, end - 1)
                for record in consumer.poll(timeout_ms=5_000).get(partition, []):
                    try:
                        moment = datetime.fromisoformat(json.loads(record.value)["timestamp"])
                    except (ValueError, TypeError, KeyError):
                        continue  # somebody else's record
                    newest.append(round(moment.timestamp() * 1_000))
    finally:
        consumer.close()
    return max(newest, default=None)


def send(servers: str, topic: str, records: Iterator[tuple[bytes, bytes]], total: int, rate: float) -> int:
    """Send records, keyed, at most `rate` a second; return how many. Ctrl-C ends it early.

    Raises:
        KafkaError: the broker did not take a record.
    """
    failures: list[Exception] = []
    producer = KafkaProducer(**_cluster(servers), linger_ms=20)
    started = shown = time.monotonic()
    sent = 0
    try:
        for key, value in records:
            ahead_s = started + sent / rate - time.monotonic()
            if ahead_s > 0.01:  # sleeping is coarse: rather a few records at once
                time.sleep(ahead_s)
            producer.send(topic, key=key, value=value).add_errback(failures.append)
            sent += 1
            if time.monotonic() - shown >= PROGRESS_INTERVAL_S:
                shown = time.monotonic()
                print(f"{sent:,} of {total:,} records, {sent / (shown - started):,.0f} a second", flush=True)
    except KeyboardInterrupt:
        print("interrupted")
    finally:
        producer.flush(FLUSH_TIMEOUT_S)
        producer.close(FLUSH_TIMEOUT_S)
    if failures:
        raise failures[0]
    print(f"{sent:,} of {total:,} records sent in {time.monotonic() - started:.1f} s")
    return sent


def events(servers: str, topic: str, count: int | None, silence_s: float | None) -> Iterator[bytes]:
    """Yield committed records of a topic from its beginning: `count` of them, or until none came for `silence_s`."""
    consumer = KafkaConsumer(
        topic,
        **_cluster(servers),
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        metadata_max_age_ms=2_000,  # the topic may be created after us
    )
    seen, last = 0, time.monotonic()
    try:
        while silence_s is None or time.monotonic() - last < silence_s:
            for batch in consumer.poll(timeout_ms=200).values():
                for record in batch:
                    yield record.value or b""
                    seen += 1
                    last = time.monotonic()
                    if seen == count:
                        return
    finally:
        consumer.close()


def event_line(value: bytes) -> str:
    """Return what happened to which key, how bad, when, and which values are to blame; what is no event, as it is."""
    try:
        return _line(json.loads(value))
    except (ValueError, TypeError, KeyError):
        return f"no event: {value[:100]!r}"


def _line(event: dict[str, Any]) -> str:
    guilty = ", ".join(
        f"{part['name']} {part['actual']:.4g} (expected {part['expected']:.4g})"
        for part in event["features"][:SHOWN_FEATURES]
        if part["share"] >= LEAST_SHARE
    )
    start, peak, end = (plain(event[f"{name}_time_ms"]) for name in ("start", "peak", "end"))
    when = start
    if end != start:
        when += f" to {_after(start, end)}, peak {_after(start, peak)}"
    return f"{event['kind']:7}  {event['key']}  severity {event['severity']:3.0f}  {when}  {guilty}".rstrip()


def _after(start: str, moment: str) -> str:
    """Leave the date out where it is that of `start`."""
    return moment[11:] if moment[:10] == start[:10] else moment


def iso(time_ms: int) -> str:
    """Return an event time as ISO 8601 in UTC."""
    return _moment(time_ms).isoformat().replace("+00:00", "Z")


def plain(time_ms: int) -> str:
    """Return an event time to the minute, UTC, for people."""
    return f"{_moment(time_ms):%Y-%m-%d %H:%M}"


def _moment(time_ms: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=int(time_ms))


def _train(options: argparse.Namespace) -> int:
    rows = write_history(machines(options.keys, LIVE_ROWS, options.seed), options.out)
    print(f"{options.out}: {rows:,} quiet rows of {options.keys} keys")
    return 0


def _stream(options: argparse.Namespace) -> int:
    stream = machines(options.keys, options.rows, options.seed)
    if created := create_topics(options.bootstrap_servers, options.topic, options.partitions):
        print(f"created {', '.join(created)}")
    newest_ms, shift_ms = newest_time_ms(options.bootstrap_servers, options.topic), 0
    if newest_ms is not None:
        shift_ms = newest_ms + SEAM_MS - int(stream.series[0].event_times_ms[HISTORY_ROWS])
        print(f"{options.topic} holds an earlier run: this one begins two hours of event time after its end")
    total = options.keys * options.rows
    records = live_records(stream, options.rows, shift_ms)
    sent = send(options.bootstrap_servers, options.topic, records, total, options.rate)
    print("\n".join(truth(stream, sent // options.keys, shift_ms)))
    return 0 if sent == total else 130


def _watch(options: argparse.Namespace) -> int:
    seen = 0
    print(f"waiting for events in {options.topic} (times are event time, UTC); Ctrl-C ends", file=sys.stderr)
    try:
        for value in events(options.bootstrap_servers, options.topic, options.count, options.timeout_s):
            print(event_line(value), flush=True)
            seen += 1
    except KeyboardInterrupt:
        pass
    print(f"{seen} events", file=sys.stderr)
    return 0 if options.count is None or seen == options.count else 1


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _above_zero(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError("must be above 0")
    return number


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    layout: Any = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m scripts.loadgen",
        description=(__doc__ or "").split(". Must not")[0] + ".",
        epilog=EXAMPLES,
        formatter_class=layout,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, run: Any, summary: str, example: str) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=f"example:\n  python -m scripts.loadgen {example}",
            formatter_class=layout,
        )
        added.set_defaults(run=run)
        return added

    train = command("train", _train, "write quiet history as CSV", "train --out history.csv")
    train.add_argument("--out", type=Path, required=True, metavar="FILE.csv", help="columns: key, timestamp, features")

    stream = command("stream", _stream, "send live records with anomalies", "stream --keys 50 --rate 2000")
    stream.add_argument("--topic", default="sensors", help="created when missing (%(default)s)")
    stream.add_argument("--partitions", type=_positive, default=3, metavar="N", help="of a created topic (%(default)s)")
    stream.add_argument("--rows", type=_positive, default=LIVE_ROWS, metavar="N", help="of each key (%(default)s)")
    stream.add_argument("--rate", type=_above_zero, default=500.0, metavar="N", help="records a second (%(default)g)")

    for added in (train, stream):
        added.add_argument("--keys", type=_positive, default=20, metavar="N", help="number of machines (%(default)s)")
        added.add_argument("--seed", type=int, default=7, metavar="N", help="of everything random (%(default)s)")

    watch = command("watch", _watch, "print the events of a topic, a line each", "watch --count 10 --timeout-s 60")
    watch.add_argument("--topic", default=OUTPUT_TOPICS[0], help="(%(default)s)")
    watch.add_argument(
        "--count", type=_positive, metavar="N", help="end after this many; exit code 1 if there are less"
    )
    watch.add_argument("--timeout-s", type=_above_zero, metavar="S", help="end when none came for so long")

    usual = os.environ.get("STREAMAE_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:9092")
    for added in (stream, watch):
        added.add_argument("--bootstrap-servers", default=usual, metavar="HOST:PORT", help="(%(default)s)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    options = build_parser().parse_args(argv)
    try:
        code: int = options.run(options)
    except KafkaError as error:
        print(f"Kafka at {options.bootstrap_servers}: {error}; is it up (`make services`)?", file=sys.stderr)
        return 1
    except (DataError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main())
