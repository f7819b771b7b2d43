"""How rows were made travels from `train` to every command that serves the bundle."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from streamae.cli import main
from streamae.errors import ExitCode
from streamae.model.bundle import load_bundle
from tests.commands.test_train import ROOT, SMALL, write_csv

FLAGS = {"input.key_field": "machine", "input.time_field": "when", "input.value_fields": "temp,load"}
GRID = {"window.grid_ms": "2000", "window.stride": "2", "features.scaling": "global"}


def arguments(flags: dict[str, Any]) -> list[str]:
    """Return settings as arguments."""
    return [f"--{name}={value}" for name, value in flags.items()]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle trained from CSV on a grid."""
    folder = tmp_path_factory.mktemp("trained")
    data = write_csv(folder / "past.csv", rows=240)
    small = {f"train.{name}": value for name, value in (SMALL | {"kind": "zscore"}).items()} | {"model.device": "cpu"}
    given = arguments(FLAGS | GRID | small)
    assert main(["train", str(data), "--bundle", str(folder / "bundle"), *given]) == ExitCode.OK
    return folder / "bundle"


def rows(capsys: pytest.CaptureFixture[str]) -> dict[str, tuple[str, str]]:
    """Return value and source of each setting that was printed."""
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    return {name: (rest.rpartition("  ")[0].strip(), rest.rpartition("  ")[2]) for name, rest in lines}


def test_train_writes_what_was_in_effect(bundle: Path) -> None:
    """Also what nobody set: a default of today may be another one tomorrow. New bundles lose no record to a bad value."""
    found = load_bundle(bundle).contract
    assert found is not None
    assert found["source"] == "files:csv"
    assert found["meaning"]["window.grid_ms"] == 2_000
    assert found["meaning"]["window.missing"] == "previous"
    assert found["mechanics"]["input.time_field"] == "when"
    assert found["defaults"]["input.bad_value"] == "missing"
    assert found["defaults"]["window.equal_time"] == "keep"


def test_config_shows_the_bundle_as_the_source(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of what the user left open; a Kafka topic is told nothing of the columns of the file."""
    assert main(["config", "--model.bundle", str(bundle)]) == ExitCode.OK
    shown = rows(capsys)
    assert shown["window.grid_ms"] == ("2000", "bundle")
    assert shown["input.bad_value"] == ('"missing"', "bundle")
    assert shown["input.time_field"] == ("-", "default")
    files = arguments({"input.source": "files", "input.files": "new.csv"})
    assert main(["config", "--model.bundle", str(bundle), *files]) == ExitCode.OK
    assert rows(capsys)["input.time_field"] == ('"when"', "bundle")


def test_config_without_a_bundle_shows_defaults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before the first training there is nothing else to show, also where its folder waits for it."""
    for place in (tmp_path / "none", tmp_path):
        assert main(["config", "--model.bundle", str(place)]) == ExitCode.OK
        assert rows(capsys)["window.grid_ms"] == ("-", "default")


@pytest.mark.parametrize("command", ["run", "config", "bootstrap", "backtest"])
def test_another_grid_ends_every_command(
    command: str, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With 78 and both values, before anything is read."""
    flags = arguments({"window.grid_ms": "20000", "model.bundle": bundle})
    data = [str(tmp_path / "data.csv"), "--out", str(tmp_path / "out")] if command in {"bootstrap", "backtest"} else []
    of = ["--bundle", str(bundle)] if command == "backtest" else []
    assert main([command, *data, *of, *flags]) == ExitCode.SETTINGS
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        "window.grid_ms: 20000, but the bundle was trained with 2000: leave the setting out, or train again"
        " (flag:--window.grid_ms)\n"
    )


def test_another_stride_is_told(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line; the command does its work."""
    assert main(["config", "--model.bundle", str(bundle), "--window.stride", "1"]) == ExitCode.OK
    assert capsys.readouterr().err == (
        "warning: window.stride: 1, but the bundle was trained with 2 (flag:--window.stride)\n"
    )


@pytest.mark.parametrize("command", ["backtest", "bootstrap"])
def test_past_data_are_read_as_in_training(
    command: str, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same kind of file needs no setting at all: key, time, fields and grid come from the bundle."""
    data, out = write_csv(tmp_path / "new.csv", rows=240), tmp_path / "out"
    of = ["--bundle", str(bundle)] if command == "backtest" else ["--model.bundle", str(bundle)]
    assert main([command, str(data), "--out", str(out), *of, "--model.device=cpu"]) == ExitCode.OK
    assert "480 rows" in capsys.readouterr().out


def test_a_contract_that_is_none_is_one_line(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A bundle that would set where records come from is refused as a bundle, without a traceback."""
    spoiled = load_bundle(bundle)
    assert spoiled.contract is not None
    contract = json.loads(json.dumps(spoiled.contract))
    contract["defaults"]["kafka.bootstrap_servers"] = "elsewhere:9092"
    dataclasses.replace(spoiled, contract=contract).save(bundle.with_name("spoiled"))
    assert main(["config", "--model.bundle", str(bundle.with_name("spoiled"))]) == ExitCode.FAILURE
    assert "contract.defaults: kafka.bootstrap_servers is none that this program knows" in capsys.readouterr().err


@pytest.mark.slow
def test_the_daemon_reads_and_tells_what_the_bundle_says(bundle: Path, tmp_path: Path) -> None:
    """A file of the trained kind is run without one setting of how it is read; another stride is in the log."""
    data = write_csv(tmp_path / "live.csv", rows=60)
    flags = {
        "input.source": "files",
        "input.files": data,
        "output.sink": "files",
        "output.directory": tmp_path / "out",
        "state.store": "memory",
        "model.bundle": bundle,
        "service.http_port": 0,
        "window.stride": 1,
    }
    command = [sys.executable, "-m", "streamae", "run", *arguments(flags)]
    done = subprocess.run(command, cwd=ROOT, env={}, capture_output=True, text=True, timeout=120, check=False)
    told = "window.stride: 1, but the bundle was trained with 2 (flag:--window.stride)"
    assert (done.returncode, done.stderr) == (ExitCode.OK, f"warning: {told}\n")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["text"] for line in lines if line["event"] == "settings_doubt"] == [told]
    (starting,) = (line for line in lines if line["event"] == "starting")
    assert starting["settings"]["window.grid_ms"] == starting["settings"]["input.key_field"] == "bundle"
    assert not (tmp_path / "out" / "anomalies-dead-letters.jsonl").exists()
