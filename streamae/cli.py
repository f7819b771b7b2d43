"""The `streamae` command: arguments in, exit code out.

Settings come from `--config FILE`, the environment and `--section.field VALUE`, which every command that takes
settings accepts. A command is the module of its name in `commands`, loaded when it is called, so that `--help` waits for nothing.
This module must not know how any command does its work.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from streamae import __version__
from streamae.commands.invocation import Invocation
from streamae.errors import ConfigError, ExitCode, StreamaeError

_FLAG = re.compile(r"--(?P<name>\w+\.\w+)(=(?P<value>.*))?", re.DOTALL)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; settings flags are taken out before (`split_settings`)."""
    parser = argparse.ArgumentParser(
        prog="streamae", description="Find anomalies in keyed streams of records.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"streamae {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    train = _command(commands, "train", "train a bundle from files", "train data/*.csv --bundle bundle")
    train.add_argument("data", nargs="+", type=Path, metavar="DATA", help="CSV, CSV.gz or Parquet files, or folders")
    train.add_argument("--bundle", type=Path, required=True, metavar="DIR", help="where the bundle is written")
    train.add_argument(
        "--from", dest="start", type=Path, metavar="BUNDLE", help="train the weights of this bundle further"
    )
    train.add_argument(
        "--report",
        type=Path,
        metavar="FILE",
        help="where the HTML report is written (DIR.html, needs streamae[report])",
    )
    train.add_argument("--tune", action="store_true", help="look for the size of the bottleneck first")

    bootstrap = _command(
        commands,
        "bootstrap",
        "let keys learn from files, before `run` meets them",
        "bootstrap history/*.csv --out learnt-keys --config streamae.toml",
    )
    bootstrap.add_argument(
        "data", nargs="+", type=Path, metavar="DATA", help="CSV, CSV.gz or Parquet files, or folders"
    )
    bootstrap.add_argument("--out", type=Path, required=True, metavar="FILE", help="for state.bootstrap_file")

    _command(commands, "run", "run the daemon", "run --config streamae.toml --service.log_level debug")

    status = _command(
        commands, "status", "ask a running daemon how it and its keys are", "status --config streamae.toml"
    )
    status.add_argument("--url", metavar="URL", help="of the daemon; by default that of the service settings")
    status.add_argument("--json", action="store_true", help="print the answer as it comes")

    demo = _command(commands, "demo", "train and run on generated streams, offline", "demo --out out/demo", False)
    demo.add_argument("--stream", choices=("sensors", "transactions"), default="sensors", help="what is generated")
    demo.add_argument("--out", type=Path, default=Path("out/demo"), metavar="DIR", help="for results (%(default)s)")
    demo.add_argument("--keys", type=_positive, default=None, metavar="N", help="number of generated streams")
    demo.add_argument("--seed", type=int, default=None, metavar="N", help="of everything random")

    _add_evaluations(commands)

    config = _command(commands, "config", "print effective settings and their sources", "config --train.seed 3")
    config.add_argument("--schema", action="store_true", help="print the JSON Schema of the settings file instead")

    _command(commands, "schema", "print the JSON Schema of anomaly events", "schema > event.json", False)
    return parser


def _add_evaluations(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands that judge detectors on past data."""
    evaluate = _command(
        commands,
        "evaluate",
        "compare detectors on a suite of labelled series",
        "evaluate shared/data --out out/evaluation --groups nab,smd --detectors default,default+sigma3 --jobs 2",
    )
    evaluate.add_argument("suite", type=Path, metavar="SUITE", help="folder with a MANIFEST.csv and labelled series")
    evaluate.add_argument("--out", type=Path, required=True, metavar="DIR", help="for results; what is there is kept")
    evaluate.add_argument("--groups", type=_names, default=(), metavar="A,B", help="groups of the suite (all)")
    evaluate.add_argument("--series", metavar="GLOB", help="only series whose name, or group/name, matches")
    evaluate.add_argument("--detectors", type=_detectors, metavar="A,B", help="networks, or network+decision")
    evaluate.add_argument("--seeds", type=_positive, default=1, metavar="N", help="trainings of each (%(default)s)")
    evaluate.add_argument("--jobs", type=_positive, default=1, metavar="N", help="processes of one core (%(default)s)")
    evaluate.add_argument(
        "--fleet", action="store_true", help="one bundle for the series of a group with equal channels"
    )
    evaluate.add_argument("--point-adjust", action=_RefusePointAdjustment, help=argparse.SUPPRESS)

    backtest = _command(
        commands,
        "backtest",
        "show which alerts a history would have brought",
        "backtest data/*.csv --bundle bundle --out out/backtest",
    )
    backtest.add_argument("data", nargs="+", type=Path, metavar="DATA", help="CSV, CSV.gz or Parquet files, or folders")
    backtest.add_argument("--bundle", type=Path, required=True, metavar="DIR", help="written by `streamae train`")
    backtest.add_argument("--out", type=Path, required=True, metavar="DIR", help="for results")
    backtest.add_argument("--labels", action="store_true", help="compare with the column is_anomaly")


def split_settings(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Take every `--section.field VALUE` and `--section.field=VALUE` out of the arguments; the last one wins.

    Raises:
        ValueError: a flag has no value.
    """
    rest: list[str] = []
    flags: dict[str, str] = {}
    remaining = iter(arguments)
    for argument in remaining:
        flag = _FLAG.fullmatch(argument)
        if argument == "--":
            rest += [argument, *remaining]
        elif flag is None:
            rest.append(argument)
        elif flag["value"] is not None:
            flags[flag["name"]] = flag["value"]
        else:
            value = next(remaining, "--")
            if value.startswith("--"):
                raise ValueError(f"{argument} needs a value")
            flags[flag["name"]] = value
    return rest, flags


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code (`streamae.errors.ExitCode`)."""
    try:
        invocation = _parse(sys.argv[1:] if argv is None else argv)
        code: int = import_module(f"streamae.commands.{invocation.options.command}").main(invocation)
        sys.stdout.flush()
        return code
    except SystemExit as stop:  # argparse: --help and --version, or wrong usage, already explained
        return ExitCode.USAGE if stop.code else ExitCode.OK
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return ExitCode.SETTINGS
    except BrokenPipeError:  # `streamae config | head`: nobody reads on, which is not our failure
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except (StreamaeError, OSError) as error:
        print(f"streamae: {' '.join(str(error).split())}", file=sys.stderr)
        return ExitCode.FAILURE
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED


def _parse(argv: Sequence[str]) -> Invocation:
    """Raises SystemExit after printing what is wrong, or the help that was asked for."""
    parser = build_parser()
    try:
        arguments, flags = split_settings(argv)
    except ValueError as error:
        parser.error(str(error))
    options = parser.parse_args(arguments)
    if flags and not options.takes_settings:
        parser.error(f"{options.command} takes no settings: --{next(iter(flags))}")
    return Invocation(options, flags)


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    summary: str,
    example: str,
    takes_settings: bool = True,
) -> argparse.ArgumentParser:
    """Add one command with its example; most take settings."""
    epilog = f"example:\n  streamae {example}"
    if takes_settings:
        epilog += "\n\nAny setting can be given as --section.field VALUE; `streamae config` lists them."
    parser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(takes_settings=takes_settings)
    if takes_settings:
        parser.add_argument("--config", dest="config_file", type=Path, metavar="FILE", help="settings in TOML")
    return parser


def _positive(text: str) -> int:
    """Read an integer above zero, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _names(text: str) -> tuple[str, ...]:
    """Read names separated by commas, for argparse."""
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise argparse.ArgumentTypeError("must be names separated by commas")
    return names


def _detectors(text: str) -> tuple[str, ...]:
    """Read names of detectors, for argparse."""
    from streamae.evaluation.detectors import split

    names = _names(text)
    for name in names:
        try:
            split(name)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
    return names


class _RefusePointAdjustment(argparse.Action):
    """Says why there is no such option: who asks for it deserves an answer."""

    def __init__(self, option_strings: Sequence[str], dest: str, **rest: object) -> None:
        super().__init__(option_strings, dest, nargs=0, help=str(rest["help"]))

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from streamae.evaluation.measures import NO_POINT_ADJUSTMENT

        parser.error(f"--point-adjust: {NO_POINT_ADJUSTMENT}")
