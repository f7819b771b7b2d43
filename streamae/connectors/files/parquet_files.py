"""Parquet as rows of plain Python values; must not know what is made of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import compute, parquet

from streamae.errors import DataError

CHUNK_ROWS = 16_384  # rows that are Arrow columns at a time


def read_parquet_rows(path: Path, max_rows: int) -> Iterator[dict[str, Any]]:
    """Yield the rows: numbers, text, truth values, decimals, times, lists and objects as Python has them.

    Raises:
        DataError: not readable as Parquet, a column stands twice, or more than `max_rows` rows; names the file.
    """
    try:
        table = parquet.read_table(path, partitioning=None)
        names = table.column_names
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise DataError(f"{path}: column {twice[0]!r} stands twice")
        if table.num_rows > max_rows:
            raise DataError(f"{path}: {table.num_rows:,} rows, input.max_rows is {max_rows:,}")
        plain = _with_plain_times(table)
        for start in range(0, plain.num_rows, CHUNK_ROWS):
            yield from plain.slice(start, CHUNK_ROWS).to_pylist()
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise DataError(f"{path}: not readable as Parquet: {error}") from error


def _with_plain_times(table: Any) -> Any:
    """Return the table with times in microseconds, the finest Python knows; narrow floats as they are written."""
    for i, column in enumerate(table.schema):
        if pa.types.is_timestamp(column.type):
            kind = pa.timestamp("us", column.type.tz)
            table = table.set_column(i, column.name, compute.cast(table.column(i), kind, safe=False))
        elif pa.types.is_dictionary(column.type):
            table = table.set_column(i, column.name, compute.cast(table.column(i), column.type.value_type))
    return table
