"""What every form of `streamae alert` needs of the settings is said before anything is read or sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamae.cli import main
from streamae.errors import ExitCode

FORMS = pytest.mark.parametrize("form", [[], ["--dry-run"], ["--test", "ops"]], ids=["run", "dry run", "test"])


@FORMS
def test_without_a_settings_file_the_option_for_one_is_named(
    form: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Who forgets `--config` is not sent to write what he has long written."""
    assert main(["alert", *form]) == ExitCode.SETTINGS
    assert capsys.readouterr().err == (
        "alerts.receivers: nobody would be told: write a table [[alerts.receivers]] into a settings file, and name it"
        " with --config (default)\n"
    )


@FORMS
def test_a_settings_file_without_receivers_is_named(
    form: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may be another one than was meant; what else is wrong is said with it."""
    path = tmp_path / "streamae.toml"
    path.write_text('[output]\nsink = "files"\n', encoding="utf-8")
    assert main(["alert", *form, "--config", str(path)]) == ExitCode.SETTINGS
    assert capsys.readouterr().err.splitlines() == [
        f"alerts.receivers: nobody would be told: write a table [[alerts.receivers]] into {path} (default)",
        f"output.sink: alerts are read from the topic of events: it must be kafka (file:{path})",
    ]
