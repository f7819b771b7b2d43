"""Which files there are, what kind each is by its name, and what it is called.

Must not know: what a file holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from streamae.errors import DataError
from streamae.settings.file_kinds import KINDS, Kind

SUFFIXES = (*KINDS, *(f"{suffix}.gz" for suffix, kind in KINDS.items() if kind != "parquet"))


def kind_of(path: Path) -> Kind:
    """Return the kind of a file that `find_files` found."""
    return KINDS[(_suffix(path) or "").removesuffix(".gz")]


def find_files(paths: Sequence[Path]) -> list[tuple[str, Path]]:
    """Return (name, path) of each data file, those of a folder sorted.

    A file's name is its path without suffix: relative to the folder it was found in, or its last part if it
    was given itself.

    Raises:
        DataError: a path does not exist, has another suffix, or a name stands for two files.
    """
    found: dict[str, Path] = {}
    for path in paths:
        for name, file in _files_of(path):
            if name in found and found[name].resolve() != file.resolve():
                raise DataError(f"{file} and {found[name]} have the same name: name a key field, or rename one")
            found[name] = file
    return list(found.items())


def _suffix(path: Path) -> str | None:
    name = path.name.lower()
    return next((suffix for suffix in reversed(SUFFIXES) if name.endswith(suffix)), None)


def _files_of(path: Path) -> Iterator[tuple[str, Path]]:
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            suffix = _suffix(file)
            if suffix and file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts):
                yield file.relative_to(path).as_posix()[: -len(suffix)], file
        return
    suffix = _suffix(path)
    if not path.exists():
        raise DataError(f"{path}: does not exist")
    if suffix is None:
        raise DataError(f"{path}: is none of {', '.join(SUFFIXES)}")
    yield path.name[: -len(suffix)], path
