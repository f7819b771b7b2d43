"""What users have stored, and what their consumers read, stays as it is, byte for byte.

A change that turns one of these red makes every key of every user learn anew, or every stored bundle unreadable, or a
consumer miss what it knew. Where that is meant, write `stored` again with `made.py` and say so in CHANGELOG.md.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from numpy._core._multiarray_umath import __cpu_dispatch__

from scripts.services import RedisServer
from tests.golden.made import STORED, VARIANTS, files_of, read_json

ROOT = Path(__file__).resolve().parents[2]
PORTABLE = {"NPY_DISABLE_CPU_FEATURES": " ".join(__cpu_dispatch__), "ATEN_CPU_CAPABILITY": "default"}

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def made(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with everything made anew."""
    folder = tmp_path_factory.mktemp("golden") / "made"
    command = [sys.executable, "-m", "tests.golden.made", str(folder), redis_server.url, folder.parent.name]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | PORTABLE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_a_checkpoint_is_stored_as_it_was(made: Path) -> None:
    """Names of Redis keys, fields of the manifest and packed state of each key are those that users have."""
    assert read_json(made / "checkpoint.json") == read_json(STORED / "checkpoint.json")


def test_a_stored_checkpoint_is_gone_on_from(made: Path) -> None:
    """A daemon takes stored state for its own, replays nothing, and publishes what it would have published."""
    found = read_json(made / "gone-on-from-stored.json")
    assert found["reasons"] == ["clean 2"]
    assert found["stream"] == read_json(STORED / "stream.json")


def test_a_checkpoint_of_the_release_before_is_gone_on_from(made: Path) -> None:
    """An upgrade replays nothing, publishes the same, and ends with the same state as if there had been none."""
    found = read_json(made / "gone-on-from-before.json")
    assert found == read_json(made / "gone-on-from-stored.json")
    assert len(found["held"]) == 3


def test_events_and_dead_letters_are_as_they_were(made: Path) -> None:
    """Ids, headers and values are those that consumers and alerting tools know."""
    assert read_json(made / "stream.json") == read_json(STORED / "stream.json")


@pytest.mark.parametrize("name", VARIANTS)
def test_each_rule_keeps_its_state_and_decides_as_it_did(made: Path, name: str) -> None:
    """Columns, fingerprints, packed state and events, under each threshold rule and some other settings."""
    assert read_json(made / f"variant-{name}.json") == read_json(STORED / f"variant-{name}.json")


@pytest.mark.parametrize("name", ["zscore", "lstm"])
def test_a_stored_bundle_is_read_and_written_as_it_was(made: Path, name: str) -> None:
    """A bundle of before is served, under the same version, which stored state depends on."""
    assert files_of(made / "saved-again" / name) == files_of(STORED / "bundles" / name)


def test_a_bootstrap_writes_what_it_wrote(made: Path) -> None:
    """A file that was bootstrapped before fits the daemon of today."""
    assert (made / "learnt-keys").read_bytes() == (STORED / "learnt-keys").read_bytes()


@pytest.mark.parametrize("kind", ["settings", "metrics", "exit_codes", "reasons", "fail_points"])
def test_names_that_others_rely_on_are_still_there(made: Path, kind: str) -> None:
    """More may come; none that a settings file, a dashboard, a unit or a consumer uses goes."""
    now, before = (read_json(folder / "names.json")[kind] for folder in (made, STORED))
    assert set(before) - set(now) == set()


def test_the_fingerprint_of_the_defaults_stays(made: Path) -> None:
    """Every event carries it: consumers see a change of settings where there was none."""
    name = "default-fingerprint.json"
    assert read_json(made / name) == read_json(STORED / name)


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("checkpoint.json", lambda content: content.popitem()),
        ("stream.json", lambda content: content.pop()),
        ("variant-pot.json", lambda content: content["state"].popitem()),
    ],
)
def test_a_difference_is_seen(made: Path, name: str, spoil: Callable[[Any], object]) -> None:
    """None of these comparisons is of something empty."""
    content = read_json(made / name)
    spoil(content)
    assert content != read_json(STORED / name)
