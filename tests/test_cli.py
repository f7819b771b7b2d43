"""The command line: what is accepted, what is printed where, and with which code it ends."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

import streamae
from streamae.cli import build_parser, main, split_settings
from streamae.demo.sensor_demo import KEYS, SEED
from streamae.demo.transaction_demo import CARDS
from streamae.errors import ConfigError, DataError, ExitCode
from streamae.evaluation.detectors import SHIPPED
from streamae.settings.tree import SETTING_NAMES
from tests.engines import tiny_bundle

ROOT = Path(__file__).resolve().parents[1]
TAKE_SETTINGS = ("inspect", "train", "bootstrap", "run", "status", "alert", "silence")
COMMANDS = (*TAKE_SETTINGS, "demo", "evaluate", "backtest", "config", "schema")
WITH_SETTINGS = (*TAKE_SETTINGS, "evaluate", "backtest", "config")
HEAVY = ("torch", "numpy", "pydantic", "kafka", "redis", "structlog", "prometheus_client", "pyarrow", "msgspec")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's own environment sets nothing."""
    for name in [name for name in os.environ if name.startswith("STREAMAE_")]:
        monkeypatch.delenv(name)


def in_process(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the real command."""
    command = [sys.executable, "-m", "streamae", *arguments]
    return subprocess.run(
        command,
        cwd=ROOT,
        env=env or {},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_exit_codes_are_a_contract() -> None:
    """Unit files, probes and scripts rely on these numbers."""
    assert {code.name: code.value for code in ExitCode} == {
        "OK": 0,
        "FAILURE": 1,
        "USAGE": 2,
        "SETTINGS": 78,
        "INTERRUPTED": 130,
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` of each command shows how to call it, and the example is one the parser accepts."""
    assert main([command, "--help"]) == ExitCode.OK
    text = capsys.readouterr().out
    example = re.search(r"^example:\n  streamae (.+)$", text, re.MULTILINE)
    assert example
    arguments = [word for word in example[1].split(" > ")[0].split() if "*" not in word]
    arguments, _ = split_settings([*arguments, "data"] if command in {"train", "bootstrap", "backtest"} else arguments)
    assert build_parser().parse_args(arguments).command == command
    assert ("--section.field VALUE" in text) == (command in WITH_SETTINGS)


def test_the_overview_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """`streamae --help` is the table of contents."""
    assert main(["--help"]) == ExitCode.OK
    listed = re.findall(r"^    (\w+)(?: {2,}\S|$)", capsys.readouterr().out, re.MULTILINE)
    assert tuple(listed) == COMMANDS


def test_help_names_the_defaults_that_hold(capsys: pytest.CaptureFixture[str]) -> None:
    """The texts repeat what modules say that `--help` does not wait for."""
    for command in ("demo", "evaluate"):
        main([command, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert CARDS == KEYS
    for default in (f"cards (default: {KEYS})", f"numbers (default: {SEED})", f"(default: {','.join(SHIPPED)})"):
        assert default in text


def test_a_number_that_is_none_is_answered_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody is shown the name of a function."""
    assert main(["demo", "--keys", "many"]) == ExitCode.USAGE
    assert "argument --keys: must be a whole number, at least 1" in capsys.readouterr().err


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Bug reports name it."""
    assert main(["--version"]) == ExitCode.OK
    assert capsys.readouterr().out == f"streamae {streamae.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["train"],
        ["train", "data.csv"],
        ["train", "--bundle", "b"],
        ["run", "extra"],
        ["run", "--conf", "x.toml"],
        ["demo", "--keys", "0"],
        ["demo", "--keys", "many"],
        ["demo", "--config", "x.toml"],
        ["evaluate", "suite"],
        ["evaluate", "suite", "--out", "o", "--detectors", "perfect"],
        ["evaluate", "suite", "--out", "o", "--detectors", "default+perfect"],
        ["evaluate", "suite", "--out", "o", "--groups", "a,,b"],
        ["evaluate", "suite", "--out", "o", "--jobs", "0"],
        ["config", "--kafka.group_id"],
        ["config", "--kafka.group_id", "--schema"],
        ["schema", "--train.seed", "1"],
        ["demo", "--train.seed=1"],
        ["config", "--kafka"],
        ["alert", "--from", "7d"],
        ["alert", "--dry-run", "--test", "ops"],
        ["alert", "--dry-run", "--from", "soon"],
        ["alert", "resolve", "--why", "gone"],
        ["alert", "resolve", "--key", "k"],
        ["alert", "resolve", "--key", "k", "--why", " "],
        ["alert", "--dry-run", "resolve", "--key", "k", "--why", "gone"],
        ["alert", "start"],
        ["silence"],
        ["silence", "a*", "--for", "2h"],
        ["silence", "a*", "--why", "w"],
        ["silence", "a*", "--for", "0h", "--why", "w"],
        ["silence", "a", "b", "--for", "2h", "--why", "w"],
        ["silence", "--label", "team", "--for", "2h", "--why", "w"],
        ["silence", "list", "--for", "2h"],
        ["silence", "expire"],
        ["silence", "expire", "1", "--label", "team=core"],
    ],
)
def test_wrong_usage_is_told_apart_from_failure(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong command line exits 2 with a usage line on standard error, and abbreviations are not guessed."""
    assert main(arguments) == ExitCode.USAGE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("usage: streamae")


@pytest.mark.parametrize(
    ("arguments", "chosen"),
    [
        (["alert"], {"action": None, "dry_run": False, "test": None}),
        (["alert", "--dry-run"], {"dry_run": True, "since": None}),
        (["alert", "--test", "ops"], {"test": "ops"}),
        (
            ["alert", "--config", "a.toml", "resolve", "--key", "k*", "--why", "gone"],
            {"action": "resolve", "config_file": Path("a.toml"), "key": "k*", "detector": None, "why": "gone"},
        ),
        (
            ["alert", "resolve", "--detector", "d", "--why", "gone", "--who", "me", "--config", "a.toml"],
            {"action": "resolve", "config_file": Path("a.toml"), "who": "me"},
        ),
        (["silence", "a*", "--for", "2h", "--why", "w"], {"words": ["a*"], "span_ms": 7_200_000}),
        (
            ["silence", "--label", "team=core", "--label", "key=list", "--for", "1d", "--why", "w"],
            {"words": [], "labels": [("team", "core"), ("key", "list")]},
        ),
        (["silence", "list"], {"words": ["list"]}),
        (["silence", "expire", "7", "--why", "done"], {"words": ["expire", "7"], "why": "done"}),
    ],
)
def test_orders_and_runs_of_alerts_share_their_words(arguments: list[str], chosen: dict[str, object]) -> None:
    """One name starts the process, asks it for trials and gives it orders, wherever `--config` stands."""
    options = vars(build_parser().parse_args(arguments))
    assert options["check"](build_parser().parse_args(arguments)) is None
    assert {name: options[name] for name in chosen} == chosen


def test_point_adjustment_is_refused_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    """Who asks for the figure that flatters everyone is told why there is none, not that the option is unknown."""
    assert main(["evaluate", "suite", "--out", "o", "--point-adjust"]) == ExitCode.USAGE
    assert "random scores pass 0.9" in " ".join(capsys.readouterr().err.split())


def test_an_unknown_detector_is_answered_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    """Names are checked before anything is read."""
    assert main(["evaluate", "suite", "--out", "o", "--detectors", "gru,best"]) == ExitCode.USAGE
    assert "unknown detector 'best': one of default, lstm, gru" in capsys.readouterr().err


def test_a_suite_that_is_none_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The folder has no manifest: exit code 1, and what a suite is."""
    assert main(["evaluate", str(tmp_path), "--out", str(tmp_path / "out")]) == ExitCode.FAILURE
    assert "a suite is a folder with a MANIFEST.csv" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "rest", "flags"),
    [
        (["run"], ["run"], {}),
        (["run", "--train.seed", "3"], ["run"], {"train.seed": "3"}),
        (["run", "--train.seed=3"], ["run"], {"train.seed": "3"}),
        (["--train.seed", "3", "train", "a", "--bundle", "b"], ["train", "a", "--bundle", "b"], {"train.seed": "3"}),
        (["train", "--train.seed", "3", "a.csv"], ["train", "a.csv"], {"train.seed": "3"}),
        (["run", "--train.seed", "-3"], ["run"], {"train.seed": "-3"}),
        (["run", "--kafka.group_id="], ["run"], {"kafka.group_id": ""}),
        (["run", "--kafka.group_id", ""], ["run"], {"kafka.group_id": ""}),
        (["run", "--kafka.group_id=a=b --c"], ["run"], {"kafka.group_id": "a=b --c"}),
        (["run", "--kafka.group_id=a\nb"], ["run"], {"kafka.group_id": "a\nb"}),
        (["run", "--train.seed=1", "--train.seed=2"], ["run"], {"train.seed": "2"}),
        (["train", "--", "--train.seed", "3"], ["train", "--", "--train.seed", "3"], {}),
        (["train", "data.v2/a.csv", "--bundle", "b.d"], ["train", "data.v2/a.csv", "--bundle", "b.d"], {}),
    ],
)
def test_settings_flags_may_stand_anywhere(arguments: list[str], rest: list[str], flags: dict[str, str]) -> None:
    """Any setting can be given before, between and after the other arguments, in both spellings; the last one wins."""
    assert split_settings(arguments) == (rest, flags)


@pytest.mark.parametrize("arguments", [["--a.b"], ["--a.b", "--c.d=1"], ["--a.b", "--"]])
def test_a_flag_without_a_value_is_refused(arguments: list[str]) -> None:
    """The next option is never taken for a value."""
    with pytest.raises(ValueError, match=r"--a\.b needs a value"):
        split_settings(arguments)


def test_config_shows_every_setting_with_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`streamae config` answers "which value, and why" for all three sources at once."""
    file = tmp_path / "s.toml"
    file.write_text("[kafka]\ngroup_id = 'from-file'\n", encoding="utf-8")
    monkeypatch.setenv("STREAMAE_THRESHOLD__K", "6")
    assert main(["config", "--config", str(file), "--train.seed", "3"]) == ExitCode.OK
    rows = {line.split()[0]: line.split(maxsplit=2)[1:] for line in capsys.readouterr().out.splitlines()}
    assert tuple(rows) == SETTING_NAMES
    assert rows["kafka.group_id"] == ['"from-file"', f"file:{file}"]
    assert rows["threshold.k"] == ["6.0", "env:STREAMAE_THRESHOLD__K"]
    assert rows["train.seed"] == ["3", "flag:--train.seed"]
    assert rows["train.layers"] == ["1", "default"]


def test_config_masks_secrets(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Pasting the output into a ticket gives nothing away."""
    monkeypatch.setenv("STREAMAE_STATE__REDIS_PASSWORD", "hunter2")
    assert main(["config"]) == ExitCode.OK
    captured = capsys.readouterr()
    assert "hunter2" not in captured.out + captured.err
    assert re.search(r"^state\.redis_password +\*{8} +env:", captured.out, re.MULTILINE)


def test_config_schema_is_a_json_schema(capsys: pytest.CaptureFixture[str]) -> None:
    """Editors and CI of users can check a settings file."""
    assert main(["config", "--schema"]) == ExitCode.OK
    jsonschema.Draft202012Validator.check_schema(json.loads(capsys.readouterr().out))


def test_schema_is_the_published_event_contract(capsys: pytest.CaptureFixture[str]) -> None:
    """Consumers get the contract from the program that writes the events."""
    assert main(["schema"]) == ExitCode.OK
    jsonschema.Draft202012Validator.check_schema(json.loads(capsys.readouterr().out))


@pytest.mark.parametrize("command", [["run"], ["config"], ["train", "data.csv", "--bundle", "b"]])
def test_wrong_settings_are_all_listed(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every problem is one line on standard error, with code 78, before anything is started."""
    monkeypatch.setenv("STREAMAE_THRESHOLD__K", "-1")
    arguments = [*command, "--kafka.groupid", "x", "--train.seed", "y"]
    assert main(arguments) == ExitCode.SETTINGS
    captured = capsys.readouterr()
    assert captured.out == ""
    assert [line.partition(":")[0] for line in captured.err.splitlines()] == [
        "kafka.groupid",
        "threshold.k",
        "train.seed",
    ]


@pytest.mark.parametrize("command", [["run"], ["config"], ["backtest", "data.csv", "--bundle", "b", "--out", "o"]])
def test_an_alert_budget_for_a_rule_that_has_none_is_refused(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A fixed threshold brings the alarms it brings: said when settings are read, with the lines that can be changed."""
    flags = ["--threshold.rule", "static", "--threshold.alert_budget_per_week", "2"]
    assert main([*command, *flags]) == ExitCode.SETTINGS
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        "threshold.alert_budget_per_week: a fixed threshold has no rate of alarms: leave the budget out, or write"
        ' threshold.rule = "block_maxima" (flag:--threshold.alert_budget_per_week)\n'
    )


@pytest.mark.parametrize(
    ("error", "code", "printed"),
    [
        (DataError("data.csv: no rows\nadd some"), ExitCode.FAILURE, "streamae: data.csv: no rows add some\n"),
        (
            PermissionError(13, "Permission denied", "out"),
            ExitCode.FAILURE,
            "streamae: [Errno 13] Permission denied: 'out'\n",
        ),
        (ConfigError(["a.b: wrong", "c.d: wrong too"]), ExitCode.SETTINGS, "a.b: wrong\nc.d: wrong too\n"),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED, ""),
    ],
)
def test_errors_become_codes_and_lines(
    error: BaseException,
    code: ExitCode,
    printed: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An expected error is one clear line without a traceback, whichever command met it."""

    class Broken(io.StringIO):
        """Standard output on which the command's first word fails."""

        def write(self, _: str) -> int:
            raise error

    monkeypatch.setattr(sys, "stdout", Broken())
    assert main(["config"]) == code
    assert capsys.readouterr().err == printed


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unexpected errors are not swallowed: they must be reported whole."""

    class Broken(io.StringIO):
        def write(self, _: str) -> int:
            raise ZeroDivisionError

    monkeypatch.setattr(sys, "stdout", Broken())
    with pytest.raises(ZeroDivisionError):
        main(["config"])


def test_a_reader_that_goes_away_is_no_error() -> None:
    """`streamae config | head -1` prints no traceback and exits 0."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "streamae", "config"],
        cwd=ROOT,
        env={},
        stdout=write,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (ExitCode.OK, b"")


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    """Help answers at once: no numerics, no client and no settings library is imported for it."""
    program = (
        "import sys; from streamae.cli import main; code = main(sys.argv[1:]); "
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, env={}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "[]\n")


def test_settings_are_judged_without_torch() -> None:
    """`streamae config` and a refused start do not wait for torch."""
    program = (
        "import sys; from streamae.cli import main; main(['config']); code = main(['run', '--nope.nope', '1']); "
        "print('torch' in sys.modules, file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env={}, capture_output=True, text=True, check=False
    )
    assert done.returncode == ExitCode.SETTINGS
    assert done.stderr.splitlines() == ["nope.nope: unknown setting (flag:--nope.nope)", "False"]


def test_the_module_is_the_command() -> None:
    """`python -m streamae` works as the installed script does, and passes the code on."""
    done = in_process("config", "--kafka.group_id", "x")
    assert (done.returncode, done.stderr) == (ExitCode.OK, "")
    assert '"x"' in done.stdout
    assert in_process("fly").returncode == ExitCode.USAGE


def test_the_environment_of_the_process_is_used() -> None:
    """Variables reach the command, unknown ones stop it."""
    done = in_process("config", env={"STREAMAE_KAFKA__GROUPID": "x"})
    assert done.returncode == ExitCode.SETTINGS
    assert done.stderr == "kafka.groupid: unknown setting, did you mean kafka.group_id? (env:STREAMAE_KAFKA__GROUPID)\n"


def test_a_bundle_that_is_missing_is_one_line(tmp_path: Path) -> None:
    """`run` without a trained bundle fails with 1 and names what is missing, without a traceback."""
    done = in_process("run", "--model.bundle", str(tmp_path / "none"), "--service.http_port", "0")
    assert done.returncode == ExitCode.FAILURE
    assert "none" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.slow
def test_settings_that_do_not_fit_the_bundle_are_settings_errors(tmp_path: Path) -> None:
    """What only the start can judge ends with 78 too, so that systemd does not try again and again."""
    tiny_bundle().save(tmp_path / "bundle")
    overrides = '{"pressure": "constant"}'
    arguments = ["--model.bundle", str(tmp_path / "bundle"), "--window.missing_overrides", overrides]
    done = in_process("run", *arguments, "--service.http_port", "0", "--state.store", "memory")
    assert done.returncode == ExitCode.SETTINGS
    assert done.stderr.startswith("window.missing_overrides: 'pressure' is no feature of the bundle")
