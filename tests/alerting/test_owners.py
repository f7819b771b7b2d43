"""Whose key it is: the first pattern counts, wrong files name their line, and a broken new file changes nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from streamae.alerting.owners import EXAMPLES, MOST_COUNTED, KeysWithoutOwner, Owners
from streamae.errors import ConfigError

DEFAULT = {"team": "operations"}
TEXT = "pattern,team,service\npress-*,metal,forming\npress-9,never,never\n\nline-[12],plant,\n"


def write(path: Path, text: str, changed_s: int = 1) -> Path:
    """Write a file with a time of its own."""
    path.write_text(text, encoding="utf-8")
    os.utime(path, (changed_s, changed_s))
    return path


@pytest.fixture
def owners(tmp_path: Path) -> Owners:
    """The owners of the file above."""
    return Owners.read(write(tmp_path / "owners.csv", TEXT), DEFAULT)


def test_the_first_pattern_that_fits_counts(owners: Owners) -> None:
    """Order decides, an empty cell is no label, and a pattern is for the whole key and its case."""
    assert owners.labels_of("press-9") == {"team": "metal", "service": "forming"}
    assert owners.labels_of("line-2") == {"team": "plant"}
    assert owners.labels_of("PRESS-9") == DEFAULT
    assert owners.labels_of("x-press-9") == DEFAULT
    assert owners.labels_of("press-\n9") == {"team": "metal", "service": "forming"}


def test_keys_without_an_owner_are_counted_once_each(owners: Owners) -> None:
    """Somebody has to see which keys are nobody's."""
    for key in ("a", "b", "a", "press-1"):
        owners.labels_of(key)
    assert owners.without_owner.count == 2
    assert owners.without_owner.examples == ["a", "b"]


def test_keys_without_an_owner_stay_bounded() -> None:
    """A stream of random keys does not fill the memory."""
    keys = KeysWithoutOwner()
    for number in range(MOST_COUNTED + 50):
        keys.note(f"key-{number}")
    assert keys.count == MOST_COUNTED
    assert len(keys.examples) == EXAMPLES


def test_without_a_file_all_keys_are_the_default_owners() -> None:
    """No file is no mistake: then no key counts as without an owner."""
    owners = Owners.read(None, DEFAULT)
    assert owners.labels_of("a") == DEFAULT
    assert owners.without_owner.count == 0
    assert owners.reread_if_changed() is owners


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "line 1: the header"),
        ("pattern\n*\n", "line 1: the header"),
        ("key,team\n*,a\n", "line 1: the header"),
        ("pattern,se-am\n", "line 1: no names for labels of an owner: 'se-am'"),
        ("pattern,severity\n", "line 1: no names for labels of an owner: 'severity'"),
        ("pattern,team,team\n", "line 1: no names for labels of an owner"),
        ("pattern,team\n*,a\n*,a,b\n", "line 3: 3 cells, the header has 2"),
        ("pattern,team\n,a\n", "line 2: there is no pattern"),
        ('pattern,team\n"a,b\n', "line 2: unexpected end of data"),
    ],
)
def test_a_wrong_file_names_its_line(tmp_path: Path, text: str, what: str) -> None:
    """Whoever wrote the file finds the place."""
    with pytest.raises(ConfigError, match=r"alerts\.owners") as caught:
        Owners.read(write(tmp_path / "owners.csv", text), DEFAULT)
    assert what in str(caught.value)


def test_bytes_that_are_no_text_are_said(tmp_path: Path) -> None:
    """A file in another encoding is refused, not half read."""
    path = tmp_path / "owners.csv"
    path.write_bytes(b"pattern,team\n*,m\xfcll\n")
    with pytest.raises(ConfigError, match="utf-8"):
        Owners.read(path, DEFAULT)


def test_a_missing_file_is_a_mistake_at_the_start(tmp_path: Path) -> None:
    """Nobody starts with other owners than those that were asked for."""
    with pytest.raises(ConfigError, match=r"^alerts\.owners: cannot be read: .*none\.csv: No such file"):
        Owners.read(tmp_path / "none.csv", DEFAULT)


def test_a_changed_file_counts_from_then_on(tmp_path: Path) -> None:
    """Teams change without a restart, and what is unchanged is not read again."""
    path = write(tmp_path / "owners.csv", TEXT)
    owners = Owners.read(path, DEFAULT)
    assert owners.reread_if_changed() is owners
    write(path, "pattern,team\n*,all\n", changed_s=2)
    changed = owners.reread_if_changed()
    assert changed.labels_of("press-1") == {"team": "all"}
    assert owners.labels_of("press-1") == {"team": "metal", "service": "forming"}
    assert changed.problem == ""


@pytest.mark.parametrize("text", ["pattern,team\n*,a,b\n", None])
def test_a_broken_new_file_keeps_the_old_owners(tmp_path: Path, text: str | None) -> None:
    """A slip in the file pages nobody else; it is said once for each state of the file, and mended it counts."""
    path = write(tmp_path / "owners.csv", TEXT)
    owners = Owners.read(path, DEFAULT)
    owners.labels_of("nobody")
    if text is None:
        path.unlink()
    else:
        write(path, text, changed_s=2)
    kept = owners.reread_if_changed()
    assert kept is not owners
    assert "owners.csv" in kept.problem
    assert kept.labels_of("press-1")["team"] == "metal"
    assert kept.reread_if_changed() is kept
    assert kept.without_owner.examples == ["nobody"]
    write(path, "pattern,team\n*,all\n", changed_s=3)
    assert kept.reread_if_changed().labels_of("press-1") == {"team": "all"}
