"""What kept results are held valid by: nearly every setting, and every file of the package."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

from streamae.evaluation.provenance import NOT_COUNTED, PACKAGE, counted, files_digest, tell_outdated
from streamae.settings.tree import SETTING_NAMES, Settings


def test_every_setting_counts_that_is_not_named() -> None:
    """A setting that is added counts by itself, and what is named as not counting is there."""
    assert NOT_COUNTED.keys() <= Settings.model_fields.keys()
    left_out = {
        name
        for section, fields in NOT_COUNTED.items()
        for name in (fields or [name.partition(".")[2] for name in SETTING_NAMES if name.startswith(f"{section}.")])
        for name in (f"{section}.{name}",)
    }
    found = {f"{section}.{name}" for section, fields in counted(Settings()).items() for name in fields}
    assert left_out <= set(SETTING_NAMES)
    assert found == set(SETTING_NAMES) - left_out


def test_a_change_of_any_file_of_the_package_changes_the_digest(tmp_path: Path) -> None:
    """Code and data, in every room; where the package lies and what Python has compiled there is all the same."""
    copy = tmp_path / "copy"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("*.pyc"))
    whole = files_digest(PACKAGE)
    assert files_digest(copy) == whole
    (copy / "core" / "__pycache__").mkdir(exist_ok=True)
    (copy / "core" / "__pycache__" / "grid.pyc").write_bytes(b"compiled")
    assert files_digest(copy) == whole
    files = [path for path in copy.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert {path.suffix for path in files} >= {".py", ".lua", ".json"}
    unnoticed = []
    for path in files:
        content = path.read_bytes()
        path.write_bytes(content + b" ")
        unnoticed += [path] if files_digest(copy) == whole else []
        path.write_bytes(content)
    assert unnoticed == []
    (copy / "core" / "grid.py").rename(copy / "core" / "other.py")
    assert files_digest(copy) != whole


def test_only_results_that_do_not_hold_are_told_of(tmp_path: Path) -> None:
    """One line with their number and their place, none where all hold."""
    progress = io.StringIO()
    tell_outdated(0, tmp_path, progress)
    assert not progress.getvalue()
    tell_outdated(3, tmp_path, progress)
    assert progress.getvalue() == (
        f"3 results in {tmp_path} were made by other settings, data or code and are made again\n"
    )
