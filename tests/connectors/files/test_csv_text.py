"""CSV files as text: what is good is read as it stands, what is not costs no other row."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from streamae.connectors.files.csv_text import BadRow, CsvText, csv_dialect, read_csv_text
from streamae.errors import DataError
from streamae.settings.data import InputSettings

HEAD = "t,a,note\n"
ROWS = [f"{i},{i}.50,k{i}\n" for i in range(1, 6)]


def read(path: Path, content: str | bytes, limit: int | None = None) -> CsvText:
    """Write and read one file."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_csv_text(path, csv_dialect(path, InputSettings()), limit)


def rows(found: CsvText) -> list[tuple[str, ...]]:
    """Return the rows of the table."""
    return list(zip(*found.table.to_pydict().values(), strict=True))


def with_lines(*lines: str) -> str:
    """Return a file with lines in the middle, from line 4 on."""
    return "".join([HEAD, *ROWS[:2], *lines, *ROWS[2:]])


def test_cells_are_kept_as_they_are_written(tmp_path: Path) -> None:
    """No number, no date, nothing missing is guessed: leading zeros, blanks and the word null stay."""
    found = read(tmp_path / "a.csv", HEAD + '007, 1.50 ,null\n,NaN,"x, ""y"""\n')
    assert rows(found) == [("007", " 1.50 ", "null"), ("", "NaN", 'x, "y"')]
    assert (found.bad_rows, found.table.column_names) == ([], ["t", "a", "note"])


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.txt"])
@pytest.mark.parametrize("is_packed", [False, True])
def test_gzip_is_known_by_its_content(tmp_path: Path, name: str, is_packed: bool) -> None:
    """Whatever the file is called, also in several members as appending leaves them."""
    first, second = "".join([HEAD, *ROWS]).encode(), b"6,6.50,k6\n"
    content = gzip.compress(first) + gzip.compress(second) if is_packed else first + second
    assert len(rows(read(tmp_path / name, content))) == 6


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends_change_nothing(tmp_path: Path, encoding: str, end: str) -> None:
    """The same content is the same rows, below a preamble with blank lines too."""
    text = end.join(["logger 7", "", "t;T [°C]", "1;20,5 °", "2;;", "3;21,5 °", ""])
    found = read(tmp_path / "a.csv", text.encode(encoding))
    assert rows(found) == [("1", "20,5 °"), ("3", "21,5 °")]
    assert (found.bad_rows, found.table.column_names) == ([BadRow(5, "3 fields instead of 2", "2;;")], ["t", "T [°C]"])


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("9\n", "1 fields instead of 3"),
        ("9,9,k,\n", "4 fields instead of 3"),
        ('9,"9,k\n', "a quote is opened but not closed in its row"),
        ('9,"9,k"\n', "2 fields instead of 3"),
    ],
)
def test_a_bad_row_costs_no_other_row(tmp_path: Path, line: str, what: str) -> None:
    """It is told with its line and its text; a quote that is never closed does not swallow what follows."""
    found = read(tmp_path / "a.csv", with_lines(line, '"8","8,5","k, 8"\n', line, "\n"))
    assert len(rows(found)) == 6
    text = line.rstrip("\n")
    assert found.bad_rows == [BadRow(4, what, text), BadRow(6, what, text)]
    assert rows(found)[2] == ("8", "8,5", "k, 8")


def test_a_quote_that_would_close_in_a_later_row_swallows_nothing(tmp_path: Path) -> None:
    """Even where what it swallows would have the right number of cells."""
    found = read(tmp_path / "a.csv", with_lines('9,9,"k\n') + '8,8,"k8"\n')
    assert len(rows(found)) == 6
    assert found.bad_rows == [BadRow(4, "a quote is opened but not closed in its row", '9,9,"k')]


def test_a_cell_may_hold_line_ends(tmp_path: Path) -> None:
    """In quotes; the lines of rows behind it are told right, with and without them."""
    found = read(tmp_path / "a.csv", with_lines('9,9,"k\n9"\n', "bad\n"))
    assert rows(found)[2] == ("9", "9", "k\n9")
    assert found.bad_rows == [BadRow(6, "1 fields instead of 3", "bad")]


def test_bytes_that_are_no_text_stay_in_their_cell(tmp_path: Path) -> None:
    """A damaged byte is seen and spoils one cell; zeros of a logger that lost power spoil one row."""
    content = (HEAD + "1,1,°\n2,2,°\n").encode() + b"3,3\xb0,x\n" + b"\0" * 6 + b"\n4,4,x\n"
    found = read(tmp_path / "a.csv", content)
    assert rows(found) == [("1", "1", "°"), ("2", "2", "°"), ("3", "3\\xb0", "x"), ("4", "4", "x")]
    assert found.bad_rows == [BadRow(5, "1 fields instead of 3", "\0" * 6)]


def test_what_is_ascii_at_first_may_be_another_encoding_below(tmp_path: Path) -> None:
    """The beginning alone does not tell; where it is UTF-8 to the end it stays that."""
    text = HEAD + "1,1.5,x\n" * 60_000 + "2,2.5,°\n"
    for encoding in ("utf-8", "cp1252"):
        found = read(tmp_path / "a.csv", text.encode(encoding))
        assert (found.dialect.encoding, rows(found)[-1]) == (encoding, ("2", "2.5", "°"))


@pytest.mark.parametrize("damage", ["", "bad\n", '"bad\n'])
def test_a_limit_reads_no_further(tmp_path: Path, damage: str) -> None:
    """So many good rows, from the beginning."""
    found = read(tmp_path / "a.csv", with_lines(damage), limit=3)
    assert [row[0] for row in rows(found)] == ["1", "2", "3"]
    assert len(rows(read(tmp_path / "a.csv", with_lines(damage), limit=0))) == 0


@pytest.mark.parametrize("text", [HEAD, HEAD.strip(), "# nothing yet\n" + HEAD])
def test_a_table_may_be_without_rows(tmp_path: Path, text: str) -> None:
    """A logger that has just begun has names only."""
    found = read(tmp_path / "a.csv", text)
    assert (found.table.column_names, rows(found)) == (["t", "a", "note"], [])


def test_columns_aligned_with_blanks_and_blanks_before_quotes(tmp_path: Path) -> None:
    """What is read row by row from the start gives the same kind of table."""
    found = read(tmp_path / "a.csv", " t   a\n 1  2.5 \n10  3.5\n\n")
    assert rows(found) == [("1", "2.5"), ("10", "3.5")]
    found = read(tmp_path / "a.csv", '"t", "a"\n"1", "2,5"\n"2", "3,5"\n')
    assert rows(found) == [("1", "2,5"), ("2", "3,5")]


def test_a_very_long_line_is_a_bad_row(tmp_path: Path) -> None:
    """Longer than a block of the reader, or a cell longer than any that is meant."""
    found = read(tmp_path / "a.csv", with_lines(f"9,9,{'x' * 3_000_000}\n"))
    assert len(rows(found)) == 5
    assert [row.line for row in found.bad_rows] == [4]


@pytest.mark.parametrize("content", [gzip.compress(with_lines().encode() * 9, mtime=0)[:-30], b"\x1f\x8b\x08junk", b""])
def test_what_cannot_be_read_names_the_file(tmp_path: Path, content: bytes) -> None:
    """Damaged, or no table at all."""
    with pytest.raises(DataError, match=r"a\.csv: "):
        read(tmp_path / "a.csv", content)


def test_a_file_that_is_not_there_or_is_a_folder_is_named(tmp_path: Path) -> None:
    """Whoever looks at it first."""
    for path in (tmp_path, tmp_path / "none.csv"):
        with pytest.raises(DataError, match="not readable"):
            csv_dialect(path, InputSettings())
