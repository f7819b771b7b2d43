"""Where real labelled series lie on a developer's machine; they are never part of the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def shared_data() -> Path:
    """Return the folder with the manifest: `STREAMAE_SHARED_DATA`, or `shared/data` beside the repository; else skip."""
    folder = Path(os.environ.get("STREAMAE_SHARED_DATA") or ROOT.parent / "shared" / "data")
    if not (folder / "MANIFEST.csv").is_file():
        pytest.skip("no labelled series on this machine: set STREAMAE_SHARED_DATA to a folder with MANIFEST.csv")
    return folder
