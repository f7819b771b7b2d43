"""The replay script on a made-up data set of the same form: reading, judging, skipping, and once the whole way."""

from __future__ import annotations

import csv
import gzip
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts.bench import smd_replay
from scripts.bench.smd_replay import (
    REPLAYED,
    START_S,
    STEP_S,
    Machine,
    judge,
    main,
    read_machine,
    table,
    write_training_rows,
)

FEATURES = ["cpu", "net"]
TRAIN_ROWS, ROWS = 300, 620
ANOMALY = slice(500, 512)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of four machines with an anomaly each, and its manifest one level up."""
    folder = tmp_path_factory.mktemp("data") / "smd"
    folder.mkdir()
    with (folder.parent / "MANIFEST.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["dataset", "series", "train_rows"])
        writer.writerows(["smd", name, TRAIN_ROWS] for name in REPLAYED)
    for number, name in enumerate(REPLAYED):
        values = np.sin(np.arange(ROWS)[:, None] / 9.0 + [0.0, 1.0]) * 0.2 + 0.5
        values += np.random.default_rng(number).normal(0.0, 0.02, values.shape)
        values[ANOMALY] += 1.5
        labels = np.zeros(ROWS, dtype=int)
        labels[ANOMALY] = 1
        with gzip.open(folder / f"{name}.csv.gz", "wt", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["timestamp", *FEATURES, "is_anomaly"])
            writer.writerows([row, *values[row].round(6).tolist(), labels[row]] for row in range(ROWS))
    return folder


def machine(labels: list[int], name: str = "m", train_rows: int = 10) -> Machine:
    """A machine whose test rows have these labels."""
    flags = np.array([0] * train_rows + labels, dtype=np.bool_)
    return Machine(name, FEATURES, np.zeros((len(flags), 2)), flags, train_rows)


def event(first: int, last: int, key: str = "m", episode: str = "e", train_rows: int = 10) -> dict[str, Any]:
    """An event whose episode covers test rows `first` to `last`."""
    times = [1_000 * (START_S + STEP_S * (train_rows + row)) for row in (first, last)]
    return {"episode_id": episode, "key": key, "start_time_ms": times[0], "end_time_ms": times[1]}


def test_machine_is_read_with_its_split(folder: Path) -> None:
    """Values without time and label, labels as flags, and the number of training rows from the manifest."""
    found = read_machine(folder, REPLAYED[1])
    assert found.features == FEATURES
    assert found.values.shape == (ROWS, 2)
    assert found.train_rows == TRAIN_ROWS
    assert np.flatnonzero(found.labels).tolist() == list(range(ANOMALY.start, ANOMALY.stop))


def test_training_file_holds_training_rows_only(folder: Path, tmp_path: Path) -> None:
    """No labelled row and no label reaches training; row numbers have become times a minute apart."""
    found = [read_machine(folder, name) for name in REPLAYED[:2]]
    assert write_training_rows(found, tmp_path / "train.csv") == 2 * TRAIN_ROWS
    with (tmp_path / "train.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * TRAIN_ROWS
    assert set(rows[0]) == {"machine", "timestamp", *FEATURES}
    assert [int(row["timestamp"]) for row in rows[:2]] == [START_S, START_S + STEP_S]
    assert [rows[row]["machine"] for row in (0, TRAIN_ROWS)] == list(REPLAYED[:2])
    assert float(rows[TRAIN_ROWS + 7]["net"]) == found[1].values[7, 1]


def test_rows_of_an_episode_are_in_alarm() -> None:
    """An episode over the anomaly is a hit with its delay; rows are counted from the first test row."""
    report = judge([machine([0] * 5 + [1] * 5 + [0] * 90)], [event(7, 11)], 1_000)["m"]
    assert (report.events, report.found, report.false_episodes, report.delays) == (1, 1, 0, (2,))
    assert report.normal_alarm_rows == 2


def test_newest_event_of_an_episode_counts() -> None:
    """A later event of the same episode replaces the earlier one, it does not add to it."""
    report = judge([machine([0] * 100)], [event(50, 90), event(50, 51)], 1_000)["m"]
    assert report.normal_alarm_rows == 2


def test_episodes_stay_with_their_machine() -> None:
    """A machine is not judged by another's alarms, and silence is a miss."""
    reports = judge([machine([0, 1, 1, 0]), machine([0] * 4, "other")], [event(1, 2, "other")], 1_000)
    assert (reports["m"].found, reports["m"].episodes) == (0, 0)
    assert reports["other"].false_episodes == 1


def test_only_streamed_rows_are_judged() -> None:
    """With fewer rows streamed, anomalies behind them are not counted as missed."""
    assert judge([machine([0] * 50 + [1] * 5)], [], 40)["m"].events == 0


def test_table_has_a_line_a_machine_and_one_for_all() -> None:
    """Every machine and the sum of them appear with their figures; undefined ones are named as such."""
    text = table(judge([machine([0] * 9 + [1]), machine([0] * 10, "quiet")], [event(9, 9)], 1_000))
    lines = {line.split()[0]: line.split()[1:] for line in text.splitlines()}
    assert lines["m"][:3] == ["1", "1.00", "1.00"]
    assert math.isnan(float(lines["quiet"][1]))
    assert lines["all"][0] == "1"


def test_absent_data_is_skipped_with_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the data set is not, nothing is started, one line says so, and the exit code is 0."""
    assert main(["--data", str(tmp_path)]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("skipped: ")
    assert str(tmp_path) in line


def test_default_folder_is_beside_the_repository() -> None:
    """The data set is looked for outside of the repository, so that it cannot be committed."""
    assert smd_replay.ROOT not in smd_replay.DATA.parents


@pytest.mark.integration
@pytest.mark.usefixtures("kafka", "redis_server")
def test_the_whole_way(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Training, a real Kafka, a real Redis and the daemon: every planted anomaly is published."""
    assert main(["--data", str(folder)]) == 0
    printed = capfd.readouterr().out
    assert f"streaming {4 * (ROWS - TRAIN_ROWS):,} records of 4 machines" in printed
    assert re.search(r"\d records/s, \d+ events, 0 dead letters", printed)
    total = re.search(r"^all +(\d+) +([\d.]+)", printed, re.MULTILINE)
    assert total is not None
    assert total[1] == "4"
    assert float(total[2]) == 1.0
