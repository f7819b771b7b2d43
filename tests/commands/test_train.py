"""Offline commands: settings reach the training, and a bundle comes out that the daemon can load."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamae.cli import main
from streamae.commands.train import train
from streamae.errors import BundleError, ConfigError, DataError, ExitCode
from streamae.model.bundle import load_bundle
from streamae.settings.data import WindowSettings
from streamae.settings.training import TrainSettings
from streamae.settings.tree import Settings
from streamae.training.options import TrainOptions

ROOT = Path(__file__).resolve().parents[2]

SMALL: dict[str, Any] = {
    "window_size": 8,
    "hidden_size": 4,
    "recent_steps": 2,
    "max_steps": 6,
    "max_epochs": 1,
}


def settings(**sections: dict[str, Any]) -> Settings:
    """Return settings that train in a moment."""
    return Settings.model_validate({"train": SMALL, "model": {"device": "cpu", "threads": 1}} | sections)


def write_csv(path: Path, keys: tuple[str, ...] = ("a", "b"), rows: int = 120, spike: int | None = None) -> Path:
    """Write noisy waves, one row a second and key; `spike` is a row at which the first key's temperature jumps."""
    random = np.random.default_rng(0)
    lines = ["machine,when,temp,load,note"]
    for row in range(rows):
        for key in keys:
            temp, load = np.sin(row / 5) + random.normal(0, 0.1), random.normal(0, 1)
            temp += 20.0 * (row == spike and key == keys[0])
            lines.append(f"{key},{1_700_000_000 + row},{temp:.4f},{load:.4f},{row}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


INPUT = {"key_field": "machine", "time_field": "when", "value_fields": ["temp", "load"]}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("keys", "key_field", "is_doubted"),
    [(("a", "b"), None, True), (("a",), None, False), (("a", "b"), "machine", False)],
)
def test_several_keys_in_a_file_taken_for_one_are_noticed(
    tmp_path: Path, keys: tuple[str, ...], key_field: str | None, is_doubted: bool
) -> None:
    """Whoever forgets the key column is told its setting, instead of getting a model of two machines as one."""
    progress = io.StringIO()
    data = write_csv(tmp_path / "mixed.csv", keys)
    train(settings(input=INPUT | {"key_field": key_field}), [data], tmp_path / "bundle", io.StringIO(), progress)
    hint = "mixed: 120 of 240 rows are not newer than an earlier row and are rows of their own; if the file holds several keys"
    assert (hint in progress.getvalue()) is is_doubted
    assert ("--input.key_field" in progress.getvalue()) is is_doubted


@pytest.mark.slow
def test_settings_reach_the_training(tmp_path: Path) -> None:
    """Every section that has a say in training is heard: the bundle tells, and torch is given the threads."""
    asked = {
        "train": SMALL | {"seed": 7, "kind": "gru", "learning_rate": 0.5},
        "window": {"stride": 3, "missing_overrides": {"temp": "constant"}},
        "features": {"scaling": "key"},
    }
    data = write_csv(tmp_path / "data.csv", rows=400)
    train(settings(input=INPUT, **asked), [data], tmp_path / "bundle", io.StringIO(), io.StringIO())
    told = load_bundle(tmp_path / "bundle").options
    plain = asked["train"] | {"stride": 3, "missing_overrides.temp": "constant", "scaling": "key"}
    assert {name: told[name] for name in plain} == plain


@pytest.mark.slow
def test_a_bundle_comes_out(tmp_path: Path) -> None:
    """Training reads the configured columns and writes a bundle that loads, with one line about it."""
    out, progress = io.StringIO(), io.StringIO()
    data = write_csv(tmp_path / "data.csv")
    assert train(settings(input=INPUT), [data], tmp_path / "bundle", out, progress) == ExitCode.OK
    bundle = load_bundle(tmp_path / "bundle")
    assert bundle.features == ("temp", "load")
    assert bundle.architecture.window_size == 8
    expected = f"{tmp_path / 'bundle'}: bundle {bundle.version} from 240 rows of 2 keys with 2 features\n"
    assert out.getvalue() == expected
    assert "validation" in progress.getvalue()


def test_a_bundle_can_be_where_training_starts(tmp_path: Path) -> None:
    """The same directory may hold the start and get the result; one that is missing is named first."""
    data, place = write_csv(tmp_path / "data.csv"), tmp_path / "bundle"
    with pytest.raises(BundleError, match=r"bundle\.json: is missing"):
        train(settings(input=INPUT), [data], place, io.StringIO(), io.StringIO(), start=place)
    train(settings(input=INPUT), [data], place, io.StringIO(), io.StringIO())
    first = load_bundle(place)
    train(settings(input=INPUT), [data], place, io.StringIO(), io.StringIO(), start=place)
    assert load_bundle(place).options["started_from"] == first.version


def test_data_that_is_missing_leaves_no_bundle(tmp_path: Path) -> None:
    """An error stops before anything is written."""
    with pytest.raises(DataError, match=r"none\.csv"):
        train(settings(), [tmp_path / "none.csv"], tmp_path / "bundle", io.StringIO(), io.StringIO())
    assert not (tmp_path / "bundle").exists()


def test_settings_that_do_not_fit_the_data_are_refused(tmp_path: Path) -> None:
    """A policy for a feature that the data does not have is a settings error."""
    data = write_csv(tmp_path / "data.csv")
    wrong = settings(input=INPUT, window={"missing_overrides": {"pressure": "constant"}})
    with pytest.raises(ConfigError, match="pressure"):
        train(wrong, [data], tmp_path / "bundle", io.StringIO(), io.StringIO())


def test_the_command_line_trains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`streamae train` with flags does it all: result on standard output, progress on standard error, code 0."""
    data = write_csv(tmp_path / "data.csv")
    flags = {f"train.{name}": str(value) for name, value in SMALL.items()}
    flags |= {"input.key_field": "machine", "input.time_field": "when", "input.value_fields": "load,temp"}
    arguments = [part for name, value in flags.items() for part in (f"--{name}", value)]
    assert main(["train", str(data), *arguments, "--bundle", str(tmp_path / "bundle")]) == ExitCode.OK
    captured = capsys.readouterr()
    assert captured.out.count("\n") == 1
    assert "step" in captured.err
    first = load_bundle(tmp_path / "bundle")
    assert first.features == ("load", "temp")
    further = ["--from", str(tmp_path / "bundle"), "--bundle", str(tmp_path / "further")]
    assert main(["train", str(data), *arguments, *further]) == ExitCode.OK
    assert load_bundle(tmp_path / "further").options["started_from"] == first.version


def test_the_command_line_explains_bad_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong path is one line on standard error with code 1."""
    assert main(["train", str(tmp_path / "none.csv"), "--bundle", str(tmp_path / "b")]) == ExitCode.FAILURE
    assert capsys.readouterr().err == f"streamae: {tmp_path / 'none.csv'}: does not exist\n"


@pytest.mark.slow
def test_from_files_to_episodes(tmp_path: Path) -> None:
    """Train, then run on a finite input: the anomaly is found in the right key, and the process ends by itself."""
    data = write_csv(tmp_path / "live.csv", rows=300, spike=200)
    train(settings(input=INPUT), [write_csv(tmp_path / "past.csv")], tmp_path / "bundle", io.StringIO(), io.StringIO())
    text = f"""
    input = {{ source = "files", files = ["{data}"], key_field = "machine", time_field = "when" }}
    output = {{ sink = "files", directory = "{tmp_path / "out"}" }}
    state = {{ store = "memory" }}
    model = {{ bundle = "{tmp_path / "bundle"}", device = "cpu", threads = 1 }}
    service = {{ http_port = 0 }}
    """
    (tmp_path / "streamae.toml").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "streamae", "run", "--config", str(tmp_path / "streamae.toml")]
    done = subprocess.run(command, cwd=ROOT, env={}, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (ExitCode.OK, "")
    events = [json.loads(line)["value"] for line in (tmp_path / "out" / "anomalies.jsonl").read_text().splitlines()]
    opened = [(event["key"], event["start_time_ms"]) for event in events if event["kind"] == "opened"]
    assert ("a", 1_700_000_200_000) in opened
    assert json.loads(done.stdout.splitlines()[-1])["event"] == "stopped"


def test_training_bridges_no_longer_gap_than_the_live_stream() -> None:
    """On a grid both restart a window after a silence of its own length."""
    options = TrainOptions(TrainSettings(window_size=16), WindowSettings(grid_ms=250))
    assert options.max_gap_ms == 16 * 250


def test_the_command_line_tunes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--tune` compares sizes on the terminal and trains with the one that is marked."""
    data = write_csv(tmp_path / "data.csv", keys=("a",))
    flags = {f"train.{name}": str(value) for name, value in SMALL.items()} | {
        "input.value_fields": "load,temp",
        "input.row_ms": "1000",
    }
    arguments = [part for name, value in flags.items() for part in (f"--{name}", value)]
    assert main(["train", str(data), *arguments, "--tune", "--bundle", str(tmp_path / "bundle")]) == ExitCode.OK
    told = capsys.readouterr().err.splitlines()
    (marked,) = [line.split()[1] for line in told if line.startswith("*")]
    bundle = load_bundle(tmp_path / "bundle")
    assert str(bundle.architecture.code_size) == marked
    assert any(line.startswith("tune: size 2: separation 0.") for line in told)
