"""The count of places: what it counts, and that it can be asked of any checkout."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from scripts.places import IDEAS, PARTS, Places, count, main, table

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A small checkout: a setting in two modules, one test and one page."""
    for name, text in (
        ("streamae/settings/training.py", "clip_norm: float = 1.0\n"),
        ("streamae/training/run.py", "clip(clip_norm)\nprint(clip_norm)\nunclip_norm = 2\n"),
        ("tests/training/test_run.py", "train(clip_norm=2.0)\n"),
        ("docs/settings.md", "| `train.clip_norm` | `1.0` |\n"),
        ("docs/data.md", "nothing\n"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_files_and_lines_are_counted_by_part(checkout: Path) -> None:
    """A line counts once, a longer word not at all, and a file without any is no place."""
    found = {part: count(checkout, r"\bclip_norm\b", globs) for part, globs in PARTS.items()}
    assert found == {"package": Places(2, 3), "tests": Places(1, 1), "docs": Places(1, 1)}
    (row,) = [line for line in table(checkout).splitlines() if "clip_norm" in line]
    assert re.split(r"\s{2,}", row)[1:] == ["2 files, 3 lines", "1 files, 1 lines", "1 files, 1 lines"]


def test_every_idea_is_found_in_this_checkout() -> None:
    """A pattern that matches nothing any more would report a success that is none."""
    assert [idea for idea, pattern in IDEAS.items() if not count(ROOT, pattern, PARTS["package"]).files] == []


def test_a_folder_is_asked_for_its_own_places(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The state before a change is compared with the state after it; a wrong folder is told, not counted as nothing."""
    out = io.StringIO()
    assert main([str(checkout)], out) == 0
    assert out.getvalue() == table(checkout) + "\n"
    assert main([str(checkout / "docs")], out) == 2
    assert "no checkout of streamae" in capsys.readouterr().err
