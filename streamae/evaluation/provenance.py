"""What a kept result was made by, as a digest: a result holds only as long as nothing that makes it has changed.

Must not know: how a result is made, or where it is kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, TextIO

from streamae.settings.section import Section

PACKAGE = Path(__file__).resolve().parents[1]
# Cannot change a figure: an evaluation reads a suite, serves bundles of its own, and all its edges are in memory.
# Whatever is not named here counts, a setting that is added tomorrow too. By section, its fields; None = all.
NOT_COUNTED: Mapping[str, tuple[str, ...] | None] = {
    "kafka": None,
    "output": None,
    "state": None,
    "service": None,
    "input": ("source", "topics", "files"),
    "model": ("bundle",),
}


def counted(settings: Section) -> dict[str, Any]:
    """Return what of a whole tree of settings can change a figure, as plain values by section and field."""
    left_out: dict[str, Any] = {name: True if fields is None else set(fields) for name, fields in NOT_COUNTED.items()}
    return settings.model_dump(mode="json", exclude=left_out)


def files_digest(folder: Path) -> str:
    """Digest of all files below a folder, code or data, with their places; not of what Python has compiled there."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder)
        if path.is_file() and not any(part == "__pycache__" or part.startswith(".") for part in place.parts):
            digest.update(f"{place.as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


code_digest = cache(files_digest)  # as it was when first asked for: sources may be edited while jobs run


def digest_of(facts: list[Any]) -> str:
    """Digest of plain facts, the same in every process."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def tell_outdated(count: int, place: Path, progress: TextIO) -> None:
    """Say how many results that lie there do not hold any more; nothing where all do."""
    if count:
        print(f"{count} results in {place} were made by other settings, data or code and are made again", file=progress)
