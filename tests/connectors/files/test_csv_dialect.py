"""How a CSV file is written is found out from its beginning, and said where it may be meant otherwise."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamae.connectors.cell_values import NumberRules
from streamae.connectors.files.csv_dialect import Dialect, sniff
from streamae.connectors.files.record_files import CsvFile
from streamae.errors import DataError
from streamae.settings.data import InputSettings


def found(text: str | bytes, *, is_whole: bool = True, **settings: Any) -> Dialect:
    """Sniff a file given as text."""
    head = text.encode() if isinstance(text, str) else text
    return sniff(head, InputSettings(**settings), is_whole=is_whole)


def table(head: str, row: Callable[[int], str], count: int = 20) -> str:
    """Return lines of data below a head; each begins with its time."""
    return head + "".join(f"2025-03-03T{i:02d}:00:00{row(i)}\n" for i in range(count))


def settings_of_doubts(dialect: Dialect) -> list[str]:
    """Return the settings that answer the doubts."""
    return [doubt.setting for doubt in dialect.doubts]


PLAIN = table("t,a,b\n", lambda i: f",{i}.5,7")


def test_a_plain_file_has_no_doubts() -> None:
    """What most people have is read as it always was, and nothing is said."""
    dialect = found(PLAIN)
    assert (dialect.encoding, dialect.delimiter, dialect.decimal_mark, dialect.thousands_mark) == (
        "utf-8",
        ",",
        ".",
        None,
    )
    assert (dialect.names, dialect.skip_lines, dialect.first_line, dialect.trailing_empty) == (("t", "a", "b"), 0, 2, 0)
    assert (dialect.doubts, dialect.is_ascii, dialect.width) == ((), True, 3)


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(mark: str) -> None:
    """The one that cuts all lines alike, also where names or text cells hold another one."""
    text = table(f'"Temp. [C], inside; x"{mark}b{mark}note\n', lambda i: f'{mark}{i}{mark}"on, off; a|b"')
    assert (found(text).delimiter, len(found(text).names)) == (mark, 3)


def test_columns_may_be_aligned_with_blanks() -> None:
    """Any number of blanks is one delimiter."""
    dialect = found(table("  time   temp   p\n", lambda i: f"    {i}.5  7"))
    assert (dialect.delimiter, dialect.names) == (" ", ("time", "temp", "p"))


@pytest.mark.parametrize("cells", [lambda i: f"{i}.5", lambda i: f"{i},5", lambda i: f"2025-03-03 {i:02d}:00:00"])
def test_one_column_is_not_cut(cells: Callable[[int], str]) -> None:
    """Neither a decimal comma nor the blank within a time is a delimiter."""
    text = "value\n" + "".join(f"{cells(i)}\n" for i in range(20))
    dialect = found(text)
    assert (dialect.names, dialect.delimiter in text) == (("value",), False)


def test_what_a_file_says_of_its_delimiter_is_believed() -> None:
    """Excel writes and reads `sep=;` as the first line."""
    dialect = found(table("sep=;\r\nt;a\r\n", lambda i: f";{i},5"))
    assert (dialect.delimiter, dialect.skip_lines, dialect.names) == (";", 1, ("t", "a"))


@pytest.mark.parametrize(
    ("encoding", "said", "is_ascii"),
    [
        ("utf-8", "utf-8", False),
        ("utf-8-sig", "utf-8-sig", False),
        ("cp1252", "cp1252", False),
        ("latin-1", "cp1252", False),
        ("utf-16", "utf-16", False),
        ("utf-16-le", "utf-16-le", False),
        ("utf-16-be", "utf-16-be", False),
        ("utf-32", "utf-32", False),
    ],
)
def test_the_encoding_is_found(encoding: str, said: str, is_ascii: bool) -> None:
    """By its mark, by its zeros, else UTF-8 where it is that; names come without mark and blanks."""
    dialect = found(table(" t\tT [°C]\n", lambda i: f"\t{i}.5").encode(encoding))
    assert (dialect.encoding, dialect.names, dialect.is_ascii) == (said, ("t", "T [°C]"), is_ascii)


def test_a_head_may_end_within_a_character() -> None:
    """The rest of it is in what follows; the last line counts only where it is whole."""
    head = table("t,°\n", lambda i: f",{i}°").encode()[:-2]
    assert found(head, is_whole=False).encoding == "utf-8"


@pytest.mark.parametrize(
    ("head", "first_line"),
    [
        ("Report of plant 7, line 2\nfrom: March\n\nt,a,b\n", 5),
        ("# a, b, c\n# unit: °C\nt,a,b\n", 4),
        ("Station North,,\n,,\nt,a,b\n", 4),
        ("# t,a,b\n", 2),
        ("Station,North,7\nLat,48.1,\nLon,11.5,\nt,a,b\n", 5),
        ("Station,North,plant\n\nt,a,b\n", 4),
        ('"t\n(UTC)",a,b\n', 3),
        ("\n\nt,a,b\n", 4),
        ("#group,false,true\n#datatype,dateTime:RFC3339,double\n#default,,\nt,a,b\n", 5),
    ],
)
def test_names_are_found_below_a_preamble(head: str, first_line: int) -> None:
    """Titles, comments, padded rows and blank lines are left out; a comment that holds the names is not."""
    dialect = found(table(head, lambda i: f",{i}.5,7"))
    assert (dialect.first_line, len(dialect.names), dialect.names[1:]) == (first_line, 3, ("a", "b"))
    assert dialect.doubts == ()


@pytest.mark.parametrize("units", [",°C,hPa", "[s],[m/s],[-]", '"TS","Deg C","hPa"\n"","Avg","Smp"'])
def test_a_line_of_units_is_left_out_and_said(units: str) -> None:
    """Where all others hold values it holds words."""
    dialect = found(table(f"t,a,b\n{units}\n", lambda i: f",{i}.5,7"))
    assert (dialect.names, dialect.first_line) == (("t", "a", "b"), 3 + units.count("\n"))
    assert set(settings_of_doubts(dialect)) == {"input.skip_lines"}


@pytest.mark.parametrize(
    "first", ["2025-03-02T00:00:00,NA,", "2025-03-02T00:00:00,failed,off", "2025-03-02T00:00:00,,"]
)
def test_a_first_row_without_numbers_is_data(first: str) -> None:
    """A missing or failed reading at the beginning is no line of units."""
    dialect = found(table(f"t,a,b\n{first}\n", lambda i: f",{i}.5,7"))
    assert (dialect.first_line, dialect.doubts) == (2, ())


@pytest.mark.parametrize(
    ("head", "names"),
    [
        ("t,0,1\n", ("t", "0", "1")),
        ("Date,2019,2020\n", ("Date", "2019", "2020")),
        ("t,a,b,,\n", ("t", "a", "b")),
        ("t,a,b\n", ("t", "a", "b")),
    ],
)
def test_names_may_look_like_numbers_and_end_with_empty_ones(head: str, names: tuple[str, ...]) -> None:
    """Frames have numbered columns; a delimiter at the end of each line is no column, also where the names lack it."""
    dialect = found(table(head, lambda i: f",{i}.5,7,,"))
    assert (dialect.names, dialect.trailing_empty, dialect.first_line) == (names, 2, 2)


def test_a_seldom_remark_without_a_name_is_no_column() -> None:
    """It would have no name to be called by."""
    dialect = found(table("t;a;\n", lambda i: f";{i};{'calibrated' if i == 3 else ''}"))
    assert (dialect.names, dialect.trailing_empty) == (("t", "a"), 1)


def test_names_are_such_that_a_field_of_a_record_can_have_them() -> None:
    """Counters of Windows are called by paths of backslashes, which no field of the codec may have."""
    dialect = found(table('t,"\\\\SRV\\CPU","a ""b""\nc"\n', lambda i: f",{i}.5,7"))
    assert dialect.names == ("t", "//SRV/CPU", "a 'b' c")


def test_an_index_without_content_is_no_doubt() -> None:
    """An empty first column needs no question about its name."""
    dialect = found("\n".join([",t,a", *(f",2025-03-03T00:{i:02d}:00,{i}.5" for i in range(60))]).encode())
    assert (dialect.names, dialect.doubts) == (("column_1", "t", "a"), ())


def test_an_index_gets_a_name_and_a_doubt() -> None:
    """As frames write it: the first column has none, and may well be the time."""
    dialect = found(table(",a\n", lambda i: f",{i}.5"))
    assert dialect.names == ("column_1", "a")
    assert settings_of_doubts(dialect) == ["input.skip_lines"]


@pytest.mark.parametrize(
    ("cells", "marks"),
    [
        (['"20,73"', '"3,5"'], (",", None)),
        (['"0,123"', '"1,203"'], (",", None)),
        (['"1,203.4"', "12.5"], (".", ",")),
        (['"1,203,400"', "12"], (".", ",")),
        (["1'203.4", "12.5"], (".", "'")),
        (["1\u2019203.4", "12.5"], (".", "'")),
        (["1 203.4", "12.5"], (".", " ")),
        (['"1\u00a0203,4"', '"12,5"'], (",", " ")),
        (['"1.203,4"', '"12,5"'], (",", ".")),
        (['"-1,5e-3"', "12"], (",", None)),
        (["1.203", "12.5"], (".", None)),
        (["20.731", "19.884"], (".", None)),
        (["192.168.100.200", "192.168.100.201"], (".", None)),
        (["NA", "12.5"], (".", None)),
    ],
)
def test_number_marks_are_found(cells: list[str], marks: tuple[str, str | None]) -> None:
    """The marks with which most cells are numbers; nothing is said where the cells leave no choice."""
    dialect = found(table("t,a,b\n", lambda i: f",{cells[i % 2]},7"))
    assert (dialect.decimal_mark, dialect.thousands_mark) == marks
    assert settings_of_doubts(dialect) == []


@pytest.mark.parametrize(
    ("text", "marks", "setting"),
    [
        (table("t,a\n", lambda i: f',"{i + 1},731"'), (".", ","), "input.decimal_mark"),
        (table("t;a\n", lambda i: f";{i + 1},731"), (",", None), "input.decimal_mark"),
        (table("t;a\n", lambda i: ";1,050" if i % 2 else ";950"), (".", ","), "input.decimal_mark"),
        (table("t;a\n", lambda i: ";1.050" if i % 2 else ";950"), (".", None), "input.thousands_mark"),
        (table("t,a,b\n", lambda i: f',"{i},73",{i}.25'), (".", None), "input.decimal_mark"),
    ],
)
def test_what_numbers_leave_open_is_said(text: str, marks: tuple[str, str | None], setting: str) -> None:
    """Three digits behind every comma may be either; two columns may disagree; a setting ends the doubt."""
    dialect = found(text)
    assert (dialect.decimal_mark, dialect.thousands_mark) == marks
    assert settings_of_doubts(dialect) == [setting]
    if len(dialect.names) == 2:
        assert found(text, decimal_mark=marks[0], thousands_mark=marks[1]).doubts == ()


@pytest.mark.parametrize(
    ("early", "late", "marks", "has_doubt"),
    [
        ("0", "0,5", (",", None), False),
        ("999", "1.234,5", (",", "."), False),
        ("999", "1.000", (".", None), True),
        ("0", "12", (".", None), False),
    ],
)
@pytest.mark.parametrize("late_rows", [1_200, 3])
def test_marks_that_show_late_in_a_file_count(
    tmp_path: Path, early: str, late: str, marks: tuple[str, str | None], has_doubt: bool, late_rows: int
) -> None:
    """A machine that stands still writes whole numbers for hours: what comes then is read, or asked about, all the same."""
    cells = [early] * 1_500 + [late] * late_rows + [early] * 500
    path = tmp_path / "late.csv"
    path.write_text("time;a\n" + "".join(f"{number};{cell}\n" for number, cell in enumerate(cells)))
    file = CsvFile(path, InputSettings())
    assert marks == (file.settings.decimal_mark, file.settings.thousands_mark)
    assert has_doubt == bool(file.dialect.doubts)


def test_a_fraction_is_no_number_with_points_between_thousands() -> None:
    """`0.442` beside `1.322,67` is not 442: it is asked about, and nothing is made a thousand times larger in silence."""
    dialect = found(table("t;a;b\n", lambda i: f";{i % 9}.442;{i + 1}.322,67"))
    assert (",", ".") == (dialect.decimal_mark, dialect.thousands_mark)
    assert ["input.decimal_mark"] == settings_of_doubts(dialect)
    assert NumberRules(True, ",", ".").number("0.442") is None


def test_settings_win() -> None:
    """What is set is not found out."""
    text = table("x;y\nt;a,b;c\n", lambda i: ";1,203;7")
    assert found(text, decimal_mark=",").decimal_mark == ","
    assert found(text, thousands_mark=",").thousands_mark == ","
    assert found(text, skip_lines=1).names == ("t", "a,b", "c")
    assert found(text, skip_lines=1, text_encoding="cp1252").encoding == "cp1252"
    assert found("a b\n" * 3, delimiter=",").names == ("a b",)
    assert found("1;2\n3;4\n5;6\n", skip_lines=1).names == ("3", "4")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf \r\n", "is empty"),
        (b"\0" * 512, "is empty"),
        (b"PAR1\x15\x04", "Parquet"),
        (b"PK\x03\x04\x14\x00", "Excel"),
        (gzip.compress(b"t,a\n1,2\n", mtime=0), "gzip"),
        (b"\r\n<!DOCTYPE html><html>", "web page"),
        (b'{"t": 1, "a": 2}\n', "JSON"),
        (bytes(range(256)) * 9, "is no text"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (PLAIN.split("\n", 1)[1].encode(), "line 1 holds values"),
        (b"1,2,3\n4,5,6\n7,8,9\n", "line 1 holds values"),
        (table("a,b\n", lambda i: f",{i},2").encode(), "line 1 names 2 columns, but most rows have 3"),
        (table("t,a,a\n", lambda i: f",{i},2").encode(), "columns 2 and 3 have the same name 'a'"),
        (table("t,,a\n", lambda i: f",{i},2").encode(), "line 1 has no name for column 2"),
    ],
)
def test_what_is_no_table_is_refused_in_words(content: bytes, says: str) -> None:
    """It says what the file looks like, or which line is wrong."""
    with pytest.raises(DataError, match=says):
        found(content)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"text_encoding": "klingon"}, "input.text_encoding"),
        ({"text_encoding": "hex"}, "input.text_encoding"),
        ({"skip_lines": 500}, "input.skip_lines"),
        ({"skip_lines": 0, "delimiter": ";"}, "input.delimiter or input.skip_lines"),
    ],
)
def test_settings_that_do_not_fit_are_named(settings: dict[str, Any], says: str) -> None:
    """A wrong setting is a clear line, no traceback."""
    with pytest.raises(DataError, match=says):
        found("a;b;c\n1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n", **settings)


def test_a_head_without_any_line_end_is_refused() -> None:
    """Whatever it is, it is no table of rows."""
    with pytest.raises(DataError, match="no end of line"):
        found("a,b,c" * 100, is_whole=False)


def test_a_quote_that_is_never_closed_does_not_hide_the_table() -> None:
    """One damaged row within the head changes nothing of what is found."""
    lines = PLAIN.splitlines(keepends=True)
    damaged = "".join([*lines[:3], '2025-03-03T02:30:00,"5,1\n', *lines[3:]])
    assert found(damaged) == found(PLAIN)
