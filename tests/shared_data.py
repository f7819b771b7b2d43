"""Where real labelled series lie on a developer's machine; they are never part of the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def _folder() -> Path:
    return Path(os.environ.get("STREAMAE_SHARED_DATA") or ROOT.parent / "shared" / "data")


def field_inputs() -> list[Path]:
    """Return the files made up after what people reported: `field/inputs` beside the folder of series; [] = none there."""
    folder = _folder().parent / "field" / "inputs"
    return sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []


def shared_data() -> Path:
    """Return the folder with the manifest: `STREAMAE_SHARED_DATA`, or `shared/data` beside the repository; else skip."""
    folder = _folder()
    if not (folder / "MANIFEST.csv").is_file():
        pytest.skip("no labelled series on this machine: set STREAMAE_SHARED_DATA to a folder with MANIFEST.csv")
    return folder
