"""Small table files for tests, written by hand or by pyarrow."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

PLAIN = """timestamp,cpu,mem,is_anomaly
2024-01-01 00:00:00,1,0.5,0
2024-01-01 00:01:00,2,,0
2024-01-01 00:02:00,3,1.5,1
"""
START_MS = 1_704_067_200_000  # 2024-01-01T00:00:00Z

KEYED = """time,machine,cpu
1,b,10
1,a,20
2,b,11
2,a,21
3,b,12
"""


def write_csv(path: Path, text: str = PLAIN) -> Path:
    """Write a CSV file, gzipped if its name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), mtime=0) if path.suffix.lower() == ".gz" else text.encode())
    return path


def write_parquet(path: Path, columns: dict[str, Any]) -> Path:
    """Write a Parquet file from columns; pyarrow arrays keep their type."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table(columns), path)
    return path
