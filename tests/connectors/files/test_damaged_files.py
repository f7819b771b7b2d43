"""Files of every kind, whole and damaged: read to the last row, or refused in words, never a traceback.

`pytest --damaged-files 10000` reads so many; `make fuzz-nightly` does.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from streamae.connectors.files.csv_text import CsvText, _read_row_by_row, csv_dialect, read_csv_text
from streamae.connectors.files.paths import SUFFIXES
from streamae.connectors.files.series import read_series
from streamae.errors import ConfigError, DataError
from streamae.settings.data import InputSettings

pytestmark = pytest.mark.slow  # a quarter of a minute together

PARTS = 20
ENCODINGS = ("utf-8", "utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le", "utf-32")
PREAMBLES = ("", "", "", "sep={mark}\n", "# made by a logger\n# °C\n", "Report of plant 7\n\n", "Station{mark}\n\n")


@dataclass(frozen=True)
class Written:
    """A file as somebody's program writes it, and what is in it."""

    text: str
    encoding: str
    is_packed: bool
    names: tuple[str, ...]
    rows: list[tuple[str, ...]]

    @property
    def content(self) -> bytes:
        """The bytes of the file."""
        return self.packed(self.text.encode(self.encoding, "replace"))

    def packed(self, content: bytes) -> bytes:
        """Return the content as it is on disk."""
        return gzip.compress(content, mtime=0) if self.is_packed else content


def write(draw: random.Random) -> Written:
    """Return a table in a random style."""
    mark, end = draw.choice(",,,;;\t|"), draw.choice(["\n", "\n", "\r\n", "\r"])
    comma = "," if mark != "," and draw.random() < 0.5 else "."
    is_quoted, has_tail = draw.random() < 0.3, draw.random() < 0.2
    names = ("time", *(f"{draw.choice(['T', 'Druck', 'x °C', 'value'])}{i}" for i in range(draw.randint(1, 5))))

    def cell(column: int, row: int) -> str:
        if column == 0:
            return f"2025-03-{1 + row // 24:02d} {row % 24:02d}:00:00"
        number = f"{draw.gauss(0, 10 ** draw.randint(0, 3)):.{draw.choice([1, 2, 4])}f}"
        return "" if draw.random() < 0.05 else number.replace(".", comma)

    def line(cells: tuple[str, ...]) -> str:
        quoted = (f'"{text}"' for text in cells) if is_quoted else cells
        return mark.join(quoted) + (2 * mark if has_tail else "")

    rows = [tuple(cell(i, row) for i in range(len(names))) for row in range(draw.randint(3, 60))]
    text = draw.choice(PREAMBLES).replace("{mark}", mark) + "".join(f"{line(cells)}\n" for cells in [names, *rows])
    return Written(text.replace("\n", end), draw.choice(ENCODINGS), draw.random() < 0.2, names, rows)


def _cut_off(draw: random.Random, file: Written) -> bytes:
    return file.content[: draw.randrange(len(file.content) + 1)]


def _flipped(draw: random.Random, file: Written) -> bytes:
    return flipped(draw, file.content)


def flipped(draw: random.Random, whole: bytes) -> bytes:
    """Return the bytes with some of them changed."""
    content = bytearray(whole)
    for _ in range(draw.randint(1, 20)):
        content[draw.randrange(len(content))] = draw.randrange(256)
    return bytes(content)


def _with_junk(draw: random.Random, file: Written) -> bytes:
    """Return the file with bytes put in that have a meaning to one reader or another."""
    content = file.text.encode(file.encoding, "replace")
    for _ in range(draw.randint(1, 6)):
        junk = draw.choice(
            [
                *[b'"', b'""', b"'", b"\\", b"\0", b"\0" * 600, b"\r", b"\n", b"\r\r\n", b",", b";;", b"\xff", b"\xb0"],
                *["é".encode(), codecs.BOM_UTF8, codecs.BOM_UTF16_LE, b"\x1a", b"#", b"9" * 400, b"x" * 140_000, b"=1"],
            ]
        )
        place = draw.randrange(len(content) + 1)
        content = content[:place] + junk + content[place:]
    return file.packed(content)


def _without_delimiters(draw: random.Random, file: Written) -> bytes:
    """Return the file with other numbers of cells in some lines, or in all."""
    share = draw.choice([0.02, 0.5, 1.0])
    lines = file.text.splitlines(keepends=True)
    ragged = (line.replace(draw.choice(",;\t|"), "", 1) if draw.random() < share else line for line in lines)
    return file.packed("".join(ragged).encode(file.encoding, "replace"))


def _of_two_encodings(draw: random.Random, file: Written) -> bytes:
    half = len(file.text) // 2
    return file.packed(file.text[:half].encode(file.encoding, "replace") + file.text[half:].encode("cp1252", "replace"))


def _of_something_else(draw: random.Random, file: Written) -> bytes:
    content: bytes = draw.choice(
        [
            draw.randbytes(draw.randint(0, 3_000)),
            b"\x1f\x8b" + draw.randbytes(60),
            b"PAR1" + draw.randbytes(60),
            file.text.split("\n", 1)[0].encode(),
            b'"' * draw.randint(1, 400),
            b"," * draw.randint(1, 4_000),
            b"\n" * 99,
            b" ",
            "".join(draw.choices(',;\t| "\r\n1a.é', k=draw.randint(1, 900))).encode(),
            b"\n".join(b"%d" % i for i in range(99)),
        ]
    )
    return content


DAMAGES: tuple[Callable[[random.Random, Written], bytes], ...] = (
    _cut_off,
    _flipped,
    _with_junk,
    _without_delimiters,
    _of_two_encodings,
    _of_something_else,
)


def some_settings(draw: random.Random) -> dict[str, Any]:
    """Return settings as somebody may have them for another file."""
    kinds: dict[str, list[Any]] = {
        "delimiter": [",", ";", " ", "\t", "°"],
        "text_encoding": ["utf-8", "utf-16", "cp1252", "ascii", "cp037", "utf-7", "shift_jis", "idna"],
        "skip_lines": [0, 1, 5],
        "decimal_mark": [",", "."],
        "thousands_mark": [" ", "'"],
    }
    return {name: draw.choice(values) for name, values in kinds.items() if draw.random() < 0.1}


def read(path: Path, content: bytes, settings: dict[str, Any]) -> CsvText:
    """Read a file; what is read at once is what is read row by row."""
    path.write_bytes(content)
    found = read_csv_text(path, csv_dialect(path, InputSettings(**settings)))
    slowly = _read_row_by_row(path, found.dialect, None)
    assert found.table.to_pydict() == slowly.table.to_pydict()
    assert found.bad_rows == slowly.bad_rows
    assert [row.line for row in found.bad_rows] == sorted({row.line for row in found.bad_rows})
    return found


@pytest.fixture
def draws(request: pytest.FixtureRequest, pytestconfig: pytest.Config) -> list[random.Random]:
    """One source of chance for each file of a part."""
    part, count = request.param, pytestconfig.getoption("--damaged-files")
    return [random.Random(f"{part} {i}") for i in range(count // PARTS)]


@pytest.mark.parametrize("draws", range(PARTS), indirect=True)
def test_a_whole_file_is_read_to_the_last_cell(tmp_path: Path, draws: list[random.Random]) -> None:
    """Whatever the delimiter, encoding, quotes, preamble, line ends and packing."""
    for number, draw in enumerate(draws):
        file = write(draw)
        found = read(tmp_path / "a.csv", file.content, {})
        assert tuple(found.table.column_names) == file.names, number
        assert list(zip(*found.table.to_pydict().values(), strict=True)) == file.rows, number
        assert not found.bad_rows, number


@pytest.mark.parametrize("draws", range(PARTS), indirect=True)
def test_a_damaged_file_is_read_or_refused_in_words(tmp_path: Path, draws: list[random.Random]) -> None:
    """No exception but the one that says what is wrong with which file."""
    for draw in draws:
        file = write(draw)
        content = draw.choice(DAMAGES)(draw, file)
        with suppress(DataError):
            read(tmp_path / "a.csv", content, some_settings(draw))


def as_json_lines(file: Written) -> Written:
    """Return the same rows as JSON lines."""
    lines = (json.dumps(dict(zip(file.names, cells, strict=True))) for cells in file.rows)
    return replace(file, text="".join(f"{line}\n" for line in lines))


def as_parquet(draw: random.Random, file: Written) -> bytes:
    """Return the same rows as Parquet, damaged."""
    columns = dict(zip(file.names, map(list, zip(*file.rows, strict=True)), strict=True))
    written = io.BytesIO()
    parquet.write_table(pa.table(columns), written)
    content = written.getvalue()
    return flipped(draw, content) if draw.random() < 0.7 else content[: draw.randrange(len(content))]


@pytest.mark.parametrize("draws", range(PARTS), indirect=True)
def test_damaged_data_become_series_or_are_refused_in_words(tmp_path: Path, draws: list[random.Random]) -> None:
    """Whatever a file is and however it is called, the way to series raises what a command can show."""
    for number, draw in enumerate(draws):
        file, damage = write(draw), draw.choice(DAMAGES)
        contents = [damage(draw, file), damage(draw, as_json_lines(file)), as_parquet(draw, file)]
        path = tmp_path / f"{number}{draw.choice(SUFFIXES)}"
        path.write_bytes(contents[draw.choice([0, 1, 2])])
        settings = InputSettings(row_ms=1_000, bad_value="missing", numbers="text", **some_settings(draw))
        with suppress(DataError, ConfigError):
            read_series([path], settings)
