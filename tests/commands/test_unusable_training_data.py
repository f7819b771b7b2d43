"""Bad input to `streamae train`, from the file to the line that a person reads: refused with what to do, or handled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from streamae.cli import main
from streamae.errors import ExitCode
from streamae.model.bundle import load_bundle

ROWS, STEP_MS, START_MS = 300, 60_000, 1_700_000_000_000
QUICK = ("--train.kind", "pca", "--train.window_size", "8", "--model.device", "cpu", "--model.threads", "1")

_NOISE = np.random.default_rng(0).normal(size=(ROWS, 2)).round(3)
TIMES: list[object] = [START_MS + STEP_MS * row for row in range(ROWS)]
A: list[object] = _NOISE[:, 0].tolist()
B: list[object] = _NOISE[:, 1].tolist()


def table(times: Sequence[object], *columns: Sequence[object], names: str = "timestamp,a,b") -> str:
    """Return a CSV file."""
    rows = zip(times, *columns, strict=False)
    return "\n".join([names, *(",".join(map(str, row)) for row in rows)]) + "\n"


def only(column: list[object], kept: Callable[[int], bool]) -> list[object]:
    """Return the column with empty cells but where `kept`."""
    return [cell if kept(row) else "" for row, cell in enumerate(column)]


Refused = tuple[str, str, tuple[str, ...], ExitCode, str]

REFUSED: list[Refused] = [
    ("an empty file", "", (), ExitCode.FAILURE, "data.csv: is empty"),
    ("a header alone", "timestamp,a,b\n", (), ExitCode.FAILURE, "no rows to look at"),
    (
        "too few rows",
        table(TIMES[:20], A, B),
        (),
        ExitCode.FAILURE,
        "only 0 windows of 8 rows to calibrate on, at least 8 are needed, from 20 rows: give a longer series (about 32",
    ),
    (
        "an empty feature that was asked for",
        table(TIMES, A, [""] * ROWS),
        ("--input.value_fields", "a,b"),
        ExitCode.FAILURE,
        "b holds no numbers: leave it out of --input.value_fields",
    ),
    ("nothing but empty cells", table(TIMES, [""] * ROWS, [""] * ROWS), (), ExitCode.FAILURE, "no field holds numbers"),
    (
        "a feature that begins with the calibration rows",
        table(TIMES, A, only(B, lambda row: row >= 240)),
        (),
        ExitCode.FAILURE,
        "feature 'b' has no value in the 240 training rows: leave it out",
    ),
    (
        "text alone",
        table(TIMES, ["x"] * ROWS, names="timestamp,a"),
        (),
        ExitCode.FAILURE,
        "no field holds numbers to learn from: name them",
    ),
    ("a column twice", table(TIMES, A, B, names="timestamp,a,a"), (), ExitCode.FAILURE, "have the same name 'a'"),
    (
        "a column that is not there",
        table(TIMES, A, B),
        ("--input.value_fields", "a,c"),
        ExitCode.FAILURE,
        "input.value_fields: no field 'c'; there are timestamp, a, b",
    ),
    (
        "no such key",
        table(TIMES, A, B),
        ("--input.key_field", "machine"),
        ExitCode.FAILURE,
        "input.key_field: no field 'machine'",
    ),
    (
        "no such time",
        table(TIMES, A, B),
        ("--input.time_field", "when"),
        ExitCode.FAILURE,
        "input.time_field: no field 'when'",
    ),
    (
        "a policy for no feature",
        table(TIMES, A, B),
        ("--window.missing_overrides", '{"c": "constant"}'),
        ExitCode.SETTINGS,
        "window.missing_overrides: 'c' is no feature",
    ),
    (
        "a logarithm of no field",
        table(TIMES, A, B),
        ("--features.log_fields", "c"),
        ExitCode.SETTINGS,
        "features: log_fields: 'c' is none of the numeric fields a, b",
    ),
    (
        "words for times",
        table(["soon"] * ROWS, A, B),
        (),
        ExitCode.FAILURE,
        "no field holds a time: name it with --input.time_field",
    ),
    ("time that stands still", table(TIMES[:1] * ROWS, A, B), (), ExitCode.FAILURE, "all rows of a key have one time"),
    (
        "rows too far apart",
        table([START_MS + 7_200_000 * row for row in range(ROWS)], A, B),
        ("--window.max_gap_ms", "3600000"),
        ExitCode.FAILURE,
        "they are usually 7200000 ms apart, but after 3600000 ms a window begins anew: set window.max_gap_ms",
    ),
]

HANDLED: list[tuple[str, str, tuple[str, ...], str]] = [
    ("all is well", table(TIMES, A, B), ("a", "b"), ""),
    (
        "a constant feature",
        table(TIMES, A, [5] * ROWS),
        ("a", "b"),
        "feature 'b': one value only in the rows to train on",
    ),
    ("constant features", table(TIMES, [1] * ROWS, [5] * ROWS), ("a", "b"), "features 'a', 'b': one value only"),
    (
        "mostly missing",
        table(TIMES, A, only(B, lambda row: row % 4 == 0)),
        ("a", "b"),
        "b: told in 25 % of the rows: does the last value stand in between?",
    ),
    (
        "missing where it is calibrated",
        table(TIMES, A, only(B, lambda row: row < 240)),
        ("a", "b"),
        "feature 'b': no value in the newest 60 rows, which tell its usual error",
    ),
    (
        "one infinity",
        table(TIMES, A, ["inf", *B[1:]]),
        ("a", "b"),
        "data.csv: values that are no number count as missing: 1 b (not_finite)",
    ),
    (
        "a row without a time",
        table(["", *TIMES[1:]], A, B),
        ("a", "b"),
        "1 of 300 records cannot be used and are left out (1 missing_time)",
    ),
    ("time that runs backwards", table(TIMES[::-1], A, B), ("a", "b"), "not in the order of time (299 steps back"),
    (
        "a word among numbers",
        table(TIMES, A, [*B[:9], "n/a?", *B[10:]]),
        ("a", "b"),
        "data.csv: values that are no number count as missing: 1 b (wrong_type)",
    ),
    ("an empty column", table(TIMES, A, [""] * ROWS), ("a",), "left out  b: no value in any row"),
    ("infinities alone", table(TIMES, A, ["inf"] * ROWS), ("a",), "left out  b: the same text in every row: 'inf'"),
    ("notes beside numbers", table(TIMES, A, ["fine"] * ROWS), ("a",), "left out  b: the same text in every row"),
    (
        "a few rows out of order",
        table([TIMES[1], TIMES[0], *TIMES[2:]], A, B),
        ("a", "b"),
        "rows were not in the order of time (1 steps back, most of key 'data'): they are sorted",
    ),
]


def train(folder: Path, text: str, *flags: str) -> tuple[int, Path]:
    """Train on a file of this text; return the exit code and the bundle's place."""
    (folder / "data.csv").write_text(text, encoding="utf-8")
    return main(
        ["train", str(folder / "data.csv"), "--bundle", str(folder / "bundle"), *QUICK, *flags]
    ), folder / "bundle"


@pytest.mark.parametrize(("text", "flags", "code", "said"), [case[1:] for case in REFUSED], ids=[c[0] for c in REFUSED])
def test_what_cannot_be_trained_on_is_refused(
    text: str, flags: tuple[str, ...], code: ExitCode, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where, what and what to do about it in the last line; no traceback, no bundle, nothing on standard output."""
    found, bundle = train(tmp_path, text, *flags)
    captured = capsys.readouterr()
    assert found == code
    assert said in captured.err.splitlines()[-1]
    assert captured.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["data.csv"]
    assert not bundle.exists()


@pytest.mark.parametrize(("text", "features", "said"), [case[1:] for case in HANDLED], ids=[c[0] for c in HANDLED])
def test_what_is_odd_is_trained_on_and_told(
    text: str, features: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bundle comes out, of the features that could be used, and a person hears what was made of the data."""
    code, bundle = train(tmp_path, text)
    told = capsys.readouterr().err
    assert code == ExitCode.OK
    assert load_bundle(bundle).features == features
    assert said in told
    odd = ("one value only", "no value in", "left out", "not in the order", "count as missing", "is held")
    assert any(part in told for part in odd) == bool(said)


@pytest.mark.parametrize(
    ("command", "names", "said"),
    [
        ("train", "timestamp,a,c", "train: the bundle to start from has other features: b"),
        ("train", "timestamp,b,a", "train: the bundle to start from has other features: the order of features"),
        ("backtest", "timestamp,a,c", "there is no column 'b'; there are timestamp, a, c"),
    ],
)
def test_a_bundle_of_other_features_is_told_by_name(
    command: str, names: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weights and scaling belong to features: files without them, or in another order to train on, are refused."""
    gru = ("--train.kind", "gru", "--train.max_steps", "1", "--train.hidden_size", "2", "--train.window_size", "8")
    code, bundle = train(tmp_path, table(TIMES, A, B), *gru)
    assert code == ExitCode.OK
    other = tmp_path / "other.csv"
    other.write_text(table(TIMES, A, B, names=names), encoding="utf-8")
    places = ["--bundle", str(tmp_path / "second"), "--from", str(bundle), *gru]
    if command == "backtest":
        places = ["--bundle", str(bundle), "--out", str(tmp_path / "out")]
    assert main([command, str(other), *places]) != ExitCode.OK
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "second").exists()
