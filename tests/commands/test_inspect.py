"""`streamae inspect`: what it prints and writes for files of the kinds that people have."""

from __future__ import annotations

import gzip
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamae.cli import main
from streamae.connectors.files.series import read_series
from streamae.errors import ExitCode
from streamae.settings.sources import load_settings
from tests.discovery.tables import noise, times

ROWS = 120
STAMPS = times(ROWS)
TEMPS = noise(ROWS)
LOADS = noise(ROWS, 40.0, seed=2)


def _csv(rows: list[str], names: str = "time,temp,load") -> str:
    return "\n".join([names, *rows]) + "\n"


PLAIN = _csv([f"{stamp},{temp},{load}" for stamp, temp, load in zip(STAMPS, TEMPS, LOADS, strict=True)])
EU = _csv(
    [
        f"{day};{hour};{str(temp).replace('.', ',')};{load}".replace(".", ",") + ";;"
        for day, hour, temp, load in zip(
            times(ROWS, form="%d/%m/%Y"), times(ROWS, form="%H:%M:%S"), TEMPS, LOADS, strict=True
        )
    ],
    "Date;Time;temp;load;;",
)
LONG = _csv(
    [
        f"{stamp},n1,{name},{value}"
        for stamp, temp, load in zip(STAMPS, TEMPS, LOADS, strict=True)
        for name, value in (("temp", temp), ("load", load))
    ],
    "time,node,name,value",
)
JSON = "\n".join(
    json.dumps({"time": stamp, "fields": {"temp": temp, "load": load}, "tags": {"host": "a"}})
    for stamp, temp, load in zip(STAMPS, TEMPS, LOADS, strict=True)
)
KINDS: dict[str, tuple[str, bytes]] = {
    "plain": ("data.csv", PLAIN.encode()),
    "with a BOM": ("data.csv", PLAIN.encode("utf-8-sig")),
    "in Latin-1": ("data.csv", PLAIN.replace("temp", "T [°C]").encode("latin-1")),
    "gzip": ("data.csv.gz", gzip.compress(PLAIN.encode())),
    "European": ("data.csv", EU.encode()),
    "long": ("data.csv", LONG.encode()),
    "newest first": ("data.csv", _csv(PLAIN.splitlines()[:0:-1]).encode()),
    "quoted with decimal commas": (
        "data.csv",
        _csv(
            [f'{stamp},"{temp:.2f}"'.replace(".", ",") for stamp, temp in zip(STAMPS, TEMPS, strict=True)], "t,x"
        ).encode(),
    ),
    "JSON lines": ("data.jsonl", JSON.encode()),
}


def _inspect(*words: str | Path) -> int:
    return main(["inspect", *map(str, words)])


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], Path]:
    """Write a file of a kind."""

    def write(kind: str) -> Path:
        name, content = KINDS[kind]
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return write


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_reads_what_was_looked_at(kind: str, written: Callable[[str], Path], tmp_path: Path) -> None:
    """From a foreign file to rows without opening the documentation."""
    data, settings = written(kind), tmp_path / "streamae.toml"
    assert _inspect(data, "--write", settings) == ExitCode.OK
    loaded = load_settings(settings, {}, {}).settings
    said: list[str] = []
    series = read_series([data], loaded.input, tell=said.append)
    assert sum(map(len, series)) == ROWS * (2 if kind == "long" else 1)
    assert not any("cannot be used" in line for line in said)
    assert loaded.window.max_gap_ms == 600_000
    assert loaded.window.grid_ms == (60_000 if kind == "long" else None)


def test_the_next_commands_are_printed(
    written: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever has come so far need not look for what comes next; the parser accepts it."""
    data, settings = written("plain"), tmp_path / "my settings.toml"
    _inspect(data, "--write", settings)
    printed = capsys.readouterr().out
    assert f"streamae train {data} --bundle bundle --config '{settings}'" in printed
    assert f"streamae run --config '{settings}'" in printed
    assert f"{ROWS} rows of the first {ROWS} records" in printed


def test_a_settings_file_is_not_overwritten(
    written: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may hold an hour of somebody's thoughts."""
    data, settings = written("plain"), tmp_path / "streamae.toml"
    settings.write_text("# mine\n", encoding="utf-8")
    assert _inspect(data, "--write", settings) == ExitCode.FAILURE
    assert settings.read_text(encoding="utf-8") == "# mine\n"
    assert "--force" in capsys.readouterr().err
    assert _inspect(data, "--write", settings, "--force") == ExitCode.OK


def test_what_cannot_be_learnt_from_is_refused_and_not_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One clear line with what helps, and no settings that would invent the times."""
    data, settings = tmp_path / "data.csv", tmp_path / "streamae.toml"
    data.write_text(_csv([f"{temp},{load}" for temp, load in zip(TEMPS, LOADS, strict=True)], "a,b"), encoding="utf-8")
    assert _inspect(data, "--write", settings) == ExitCode.FAILURE
    assert "--input.row_ms" in capsys.readouterr().err
    assert not settings.exists()
    assert _inspect(data, "--write", settings, "--input.row_ms", "1000") == ExitCode.OK
    assert load_settings(settings, {}, {}).settings.input.row_ms == 1_000


def test_a_reading_of_which_nothing_comes_is_not_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Settings by which `run` would refuse every record are no success."""
    data, settings = tmp_path / "data.jsonl", tmp_path / "streamae.toml"
    data.write_text(JSON, encoding="utf-8")
    assert _inspect(data, "--write", settings, "--input.min_time_ms", str(10**13)) == ExitCode.FAILURE
    assert f"none of {ROWS} records can be read so" in capsys.readouterr().err
    assert not settings.exists()


def test_flags_win_over_what_is_found(written: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever knows better says so, and is believed."""
    assert _inspect(written("plain"), "--input.value_fields", "temp", "--json") == ExitCode.OK
    found = json.loads(capsys.readouterr().out)
    assert [feature["name"] for feature in found["features"]] == ["temp"]
    assert found["settings"]["input.value_fields"]["is_given"]
    assert found["left_out"] == [{"field": "load", "why": "not in input.value_fields"}]
    assert found["read"] == {"records": ROWS, "rows": ROWS, "said": []}


def test_json_lines_come_from_standard_input(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A console consumer's output is piped as it is."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(JSON.encode())))
    settings = tmp_path / "streamae.toml"
    assert _inspect("-", "--write", settings) == ExitCode.OK
    assert "fields.temp" in capsys.readouterr().out
    of = load_settings(settings, {}, {}).settings.input
    assert (of.key_field, of.value_fields) == ("tags.host", ("fields.temp", "fields.load"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data.csv", b""),
        ("data.csv", b"time,a\n"),
        ("data.csv", b"\x00\x01\x02" * 99),
        ("data.csv.gz", b"no gzip"),
        ("data.parquet", b"PAR1"),
        ("data.jsonl", b""),
        ("data.jsonl", b"[1, 2, 3]"),
        ("data.txt", b"a"),
    ],
)
def test_what_cannot_be_read_ends_in_one_line(
    name: str, content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No input ends in a traceback."""
    (tmp_path / name).write_bytes(content)
    assert _inspect(tmp_path / name) == ExitCode.FAILURE
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("streamae: ")
    assert sum(line.startswith("streamae: ") for line in lines) == 1


def test_a_folder_is_looked_at_as_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Files of one kind, a key each."""
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(PLAIN, encoding="utf-8")
    assert _inspect(tmp_path, "--json") == ExitCode.OK
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["key"]["field"], found["key"]["keys"]) == (2 * ROWS, None, 2)


def test_a_topic_goes_alone(written: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    """A topic has one reading, files another."""
    assert _inspect(written("plain"), "kafka:sensors") == ExitCode.USAGE
    assert "nothing beside a topic" in capsys.readouterr().err


def test_what_was_set_elsewhere_is_kept_but_no_secret(written: Callable[[str], Path], tmp_path: Path) -> None:
    """The file is a whole one; a password belongs in no file that is shown around."""
    settings = tmp_path / "streamae.toml"
    flags = ["--kafka.group_id", "g", "--state.redis_password", "hunter2", "--window.stride", "2"]
    assert _inspect(written("plain"), "--write", settings, *flags) == ExitCode.OK
    loaded = load_settings(settings, {}, {}).settings
    assert (loaded.kafka.group_id, loaded.window.stride) == ("g", 2)
    assert "hunter2" not in settings.read_text(encoding="utf-8")


def test_what_no_record_can_be_read_by_is_not_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A settings file with which not one record is read would only fail later, in `train`."""
    data = tmp_path / "data.jsonl"
    data.write_text("\n".join(json.dumps({"time": at, 'te"mp': temp}) for at, temp in zip(STAMPS, TEMPS, strict=True)))
    assert _inspect(data, "--write", tmp_path / "streamae.toml") != ExitCode.OK
    assert f"none of {ROWS} records can be read so: " in capsys.readouterr().err
    assert not (tmp_path / "streamae.toml").exists()
