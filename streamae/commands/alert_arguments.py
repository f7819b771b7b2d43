"""The arguments of `streamae alert` and `streamae silence`: which may stand together, and what each means.

    alert | alert --dry-run | alert --test RECEIVER | alert resolve ...
    silence PATTERN ... | silence list | silence expire ID

Must not know what any of them does: `--help` waits for nothing.
"""

from __future__ import annotations

import re
from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamae.commands.durations import duration
from streamae.commands.past_data import age_or_time

LIST, EXPIRE = "list", "expire"
DRY_RUN_SPAN = "7d"
_ALERT_EXAMPLE = "alert --config streamae.toml"
_SILENCE_EXAMPLE = "silence 'machine-0*' --for 2h --why reboot --config streamae.toml"
_CONFIG = "settings file (TOML)"
_WHO = "who orders it (default: this user and host)"
_LABEL = re.compile(r"([a-zA-Z_][a-zA-Z0-9_]*)=(.+)", re.DOTALL)


def add_alerting(commands: Any, command: Callable[..., ArgumentParser]) -> None:
    """Add both commands.

    Args:
        commands: where they go.
        command: adds one of this name, sentence and example, with `--config`.
    """
    _add_alert(command(commands, "alert", "tell people of anomalies, once, and when they are over", _ALERT_EXAMPLE))
    _add_silence(command(commands, "silence", "withhold messages for a while", _SILENCE_EXAMPLE))


def _add_alert(alert: ArgumentParser) -> None:
    """Without any of these it runs until it is stopped."""
    instead = alert.add_mutually_exclusive_group()
    instead.add_argument(
        "--dry-run", action="store_true", help="print what the past would have brought; nothing is sent or committed"
    )
    instead.add_argument("--test", metavar="RECEIVER", help="send a made-up alert to it, and take it back")
    alert.add_argument(
        "--from",
        dest="since",
        type=age_or_time,
        metavar="AGE",
        help=f"--dry-run: look at what was published since: 7d, 12h, or an ISO 8601 time (default: {DRY_RUN_SPAN})",
    )
    alert.set_defaults(check=wrong_alert)
    actions = alert.add_subparsers(dest="action", metavar="ACTION")
    resolve = actions.add_parser(
        "resolve",
        help="end alerts of what is retired",
        description="End all alerts of detectors or keys that are retired: they are resolved as `operator`.",
        epilog="example:\n  streamae alert resolve --key 'rack-7-*' --why 'rack 7 is scrapped' --config streamae.toml",
        formatter_class=alert.formatter_class,
        allow_abbrev=False,
    )
    resolve.add_argument("--config", dest="config_file", type=Path, default=SUPPRESS, metavar="FILE", help=_CONFIG)
    resolve.add_argument("--detector", metavar="PATTERN", help="of the names of detectors")
    resolve.add_argument("--key", metavar="PATTERN", help="of keys; with --detector both must fit")
    resolve.add_argument("--why", required=True, type=_text, metavar="TEXT", help="for whoever asks later")
    resolve.add_argument("--who", type=_text, metavar="NAME", help=_WHO)


def _add_silence(silence: ArgumentParser) -> None:
    silence.add_argument(
        "words",
        nargs="*",
        metavar="PATTERN | list | expire ID",
        help="pattern of keys to silence (* = any text, ? = a character, [ab] = one of them); or list what there is, or"
        " end one",
    )
    silence.add_argument(
        "--label",
        dest="labels",
        action="append",
        default=[],
        type=_label,
        metavar="NAME=PATTERN",
        help="only alerts with such a label, such as team=core; may be repeated: all must fit",
    )
    silence.add_argument("--for", dest="span_ms", type=duration, metavar="SPAN", help="how long: 2h, 30m, 7d")
    silence.add_argument("--why", type=_text, metavar="TEXT", help="for whoever asks later")
    silence.add_argument("--who", type=_text, metavar="NAME", help=_WHO)
    silence.set_defaults(check=wrong_silence)


def wrong_alert(options: Namespace) -> str | None:
    """Return what is wrong with the arguments of `alert`, None = nothing."""
    if options.since is not None and not options.dry_run:
        return "--from goes with --dry-run"
    if options.action is None:
        return None
    if options.dry_run or options.test is not None:
        return f"alert {options.action} goes with neither --dry-run nor --test"
    if options.detector is None and options.key is None:
        return "alert resolve needs --detector or --key, or both"
    return None


def wrong_silence(options: Namespace) -> str | None:
    """Return what is wrong with the arguments of `silence`, None = nothing."""
    words = options.words
    if words == [LIST] or (len(words) == 2 and words[0] == EXPIRE):
        if options.labels or options.span_ms is not None:
            return f"silence {words[0]} takes neither --label nor --for"
        return None
    if len(words) > 1 or words == [EXPIRE]:
        return "silence takes one PATTERN (quote it, or the shell fills it in), or list, or expire ID"
    if not words and not options.labels:
        return "silence needs a PATTERN of keys, or --label NAME=PATTERN, or list, or expire ID"
    if options.span_ms is None or options.why is None:
        return "silence needs --for SPAN and --why TEXT"
    return None


def _label(text: str) -> tuple[str, str]:
    """Read `NAME=PATTERN`, for argparse."""
    found = _LABEL.fullmatch(text)
    if found is None:
        raise ArgumentTypeError("must be NAME=PATTERN, such as team=core")
    return found[1], found[2]


def _text(text: str) -> str:
    """Read words that say something, for argparse."""
    if not text.strip():
        raise ArgumentTypeError("must not be empty")
    return text.strip()
