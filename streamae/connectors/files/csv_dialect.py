"""How a CSV file is written, found out from its beginning: encoding, delimiter, where the names stand, number marks.

What a setting says is not found out. Must not know: what a column means, or how times are read.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from streamae.connectors.files.csv_cut import BLANKS, DELIMITERS, FITS, SAMPLE_ROWS, Cut
from streamae.connectors.files.csv_rows import CsvRow
from streamae.connectors.files.number_marks import CsvDoubt, find_marks
from streamae.connectors.files.text_files import HEAD_BYTES, decoded, encoding_of
from streamae.errors import DataError
from streamae.settings.data import InputSettings

SAMPLE_LINES = 1_000  # lines that are looked at
_SEP_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)  # written by and for Excel
_OBJECT = re.compile(r'(\[\s*)?\{\s*["}]')
OF_MARKS = ("input.decimal_mark", "input.thousands_mark")  # settings
_NO_NAME = re.compile(r"[\x00-\x1f\x7f]+")
_LAST_RESORT = "\x1f"  # a delimiter for one column whose text has all others


@dataclass(frozen=True)
class Dialect:
    r"""How a CSV file is written.

    Attributes:
        encoding: as Python names it.
        is_ascii: the beginning has ASCII only: what follows may be another encoding than UTF-8.
        delimiter: between cells; a blank stands for any number of blanks.
        skips_blanks: blanks behind a delimiter do not count: `"a", "b"`.
        skip_lines: lines before that of the names.
        first_line: number of the line where data begin, counted from 1.
        names: of the columns, all different, none empty; what no field of a record can be called is written otherwise:
            a backslash as a slash, double quotes as single ones, an end of line as a blank.
        trailing_empty: columns behind them, without name: `1;2;;`.
        decimal_mark, thousands_mark: of numbers, as in the settings.
        doubts: what may be meant otherwise.
        has_marks: a number shows how it is spelt; else any marks would do.
    """

    encoding: str
    is_ascii: bool
    delimiter: str
    skips_blanks: bool
    skip_lines: int
    first_line: int
    names: tuple[str, ...]
    trailing_empty: int
    decimal_mark: str
    thousands_mark: str | None
    doubts: tuple[CsvDoubt, ...]
    has_marks: bool = False

    @property
    def width(self) -> int:
        """Cells a row must have."""
        return len(self.names) + self.trailing_empty


def sniff(head: bytes, settings: InputSettings, *, is_whole: bool) -> Dialect:
    """Find out how a CSV file is written.

    Args:
        head: its beginning, unpacked: see `read_head`.
        settings: `text_encoding`, `delimiter`, `skip_lines`, `decimal_mark` and `thousands_mark` win where they are set.
        is_whole: the head is the whole file.

    Raises:
        DataError: no table, or one without names; says what helps, but not which file.
    """
    encoding = encoding_of(head, settings.text_encoding, is_whole=is_whole)
    text = decoded(head, encoding, is_whole=is_whole)
    cut = _best_cut(_lines(text, is_whole=is_whole), settings)
    if cut.header is None:
        raise DataError(cut.why_no_names())
    sample = cut.data[:SAMPLE_ROWS]
    names, doubts = _names(cut.header, cut.width, is_first_used=any(row.cells[0].strip(BLANKS) for row in sample))
    doubts += [CsvDoubt(f"line {row.line} is taken for units and left out", "input.skip_lines") for row in cut.units]
    dialect = Dialect(
        encoding=encoding,
        is_ascii=encoding == "utf-8" and settings.text_encoding is None and text.isascii(),
        delimiter=cut.delimiter if cut.width > 1 else _absent(text, cut.delimiter),
        skips_blanks=cut.skips_blanks,
        skip_lines=cut.header.line - 1,
        first_line=(cut.units or [cut.header])[-1].last + 1,
        names=names,
        trailing_empty=cut.width - len(names),
        decimal_mark=settings.decimal_mark or ".",
        thousands_mark=settings.thousands_mark,
        doubts=tuple(doubts),
    )
    return with_marks(dialect, {name: [row.cells[i] for row in sample] for i, name in enumerate(names)}, settings)


def with_marks(dialect: Dialect, cells: Mapping[str, Sequence[str]], settings: InputSettings) -> Dialect:
    """Return a dialect with the number marks that cells show, by name of the column; what was decided before is forgotten."""
    has_comma_cut = dialect.delimiter == "," and dialect.width > 1
    marks = find_marks(cells, settings.decimal_mark, settings.thousands_mark, has_comma_cut=has_comma_cut)
    others = (doubt for doubt in dialect.doubts if doubt.setting not in OF_MARKS)
    doubts = (*others, *marks.doubts)
    return replace(
        dialect,
        decimal_mark=marks.decimal,
        thousands_mark=marks.thousands,
        doubts=doubts,
        has_marks=marks.are_shown,
    )


def _lines(text: str, *, is_whole: bool) -> list[str]:
    """Return the first whole lines of the head with their ends."""
    if not text.strip(BLANKS):
        raise DataError("is empty")
    if _OBJECT.match(text.lstrip(BLANKS)):
        raise DataError("is no table but looks like JSON: name it .jsonl")
    lines = list(io.StringIO(text, newline=""))
    if not is_whole and len(lines) == 1:
        raise DataError(f"has no end of line in its first {HEAD_BYTES} bytes")
    return (lines if is_whole else lines[:-1])[:SAMPLE_LINES]


def _best_cut(lines: Sequence[str], settings: InputSettings) -> Cut:
    said = _SEP_LINE.fullmatch(lines[0])
    wanted = settings.delimiter or (said[1] if said else None)
    is_start_known = settings.skip_lines is not None
    start = settings.skip_lines if settings.skip_lines is not None else int(said is not None)
    cuts = [Cut(lines, mark, start, is_start_known=is_start_known) for mark in wanted or DELIMITERS]
    best = max(cuts, key=lambda cut: cut.rank)
    if wanted:
        return best
    if best.width == 1 or best.header is None:
        by_blanks = Cut(lines, " ", start, is_start_known=is_start_known)
        if by_blanks.header is not None and by_blanks.width > 1 and by_blanks.has_values and by_blanks.quality >= 0.9:
            return by_blanks
    if best.header is not None and best.quality < FITS:
        raise DataError("no delimiter gives most lines as many fields: set input.delimiter or input.skip_lines")
    return best


def _names(header: CsvRow, width: int, *, is_first_used: bool) -> tuple[tuple[str, ...], list[CsvDoubt]]:
    """Return the names of the columns; those at the end that have none are left out."""
    names = [_NO_NAME.sub(" ", cell.strip(BLANKS)).replace("\\", "/").replace('"', "'") for cell in header.cells]
    while len(names) > 1 and not names[-1]:
        names.pop()
    names[0] = names[0].lstrip("#").strip(BLANKS) or names[0]
    if len(names) > width:
        helps = "set input.delimiter or input.skip_lines"
        raise DataError(f"line {header.line} names {len(names)} columns, but most rows have {width} fields: {helps}")
    doubts = []
    if not names[0]:  # as pandas writes an index
        names[0] = "column_1"
        if is_first_used:
            doubts.append(CsvDoubt("the first column has no name and is called column_1", "input.skip_lines"))
    for i, name in enumerate(names):
        if not name:
            raise DataError(f"line {header.line} has no name for column {i + 1}: write one, or set input.skip_lines")
        if name in names[:i]:
            first = names.index(name) + 1
            raise DataError(f"columns {first} and {i + 1} have the same name {name!r}: rename one")
    return tuple(names), doubts


def _absent(text: str, wanted: str) -> str:
    """Return a delimiter that one column does not hold."""
    return next((mark for mark in (wanted, *DELIMITERS) if mark not in text), _LAST_RESORT)
