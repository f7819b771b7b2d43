"""The `streamae` command: arguments in, exit code out.

What is set comes from `--config FILE`, the environment and `--section.field VALUE`, which every command that takes
settings accepts. A command is the module of its name in `commands`, loaded when it is called, so that `--help` waits
for nothing.
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
from streamae.commands.alert_arguments import add_alerting
from streamae.commands.invocation import Invocation
from streamae.commands.past_data import MAX_RECORDS, age_or_time, data_of
from streamae.errors import ConfigError, ExitCode, StreamaeError

_FLAG = re.compile(r"--(?P<name>\w+\.\w+)(=(?P<value>.*))?", re.DOTALL)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; settings flags are taken out before (`split_settings`)."""
    parser = argparse.ArgumentParser(
        prog="streamae",
        description="Find anomalies in keyed streams of records.",
        epilog="`streamae COMMAND --help` shows what a command takes, with an example.",
        formatter_class=_Help,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"streamae {__version__}", help="print the version")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_inspection(commands)
    _add_learning(commands)
    _add_running(commands)
    add_alerting(commands, _command)
    _add_demo(commands)
    _add_evaluation(commands)
    _add_backtest(commands)
    config = _command(
        commands, "config", "print each setting, its value and where that comes from", "config --train.seed 3"
    )
    config.add_argument("--schema", action="store_true", help="print the JSON Schema of the settings file instead")
    _command(commands, "schema", "print the JSON Schema of anomaly events", "schema > event.json", takes_settings=False)
    return parser


def _add_learning(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands that learn from past data."""
    train = _command(
        commands, "train", "train a model on past data and write it as a bundle", "train data/*.csv --bundle bundle"
    )
    _add_data(train)
    train.add_argument(
        "--bundle", type=Path, required=True, metavar="DIR", help="folder to write; a bundle that is there is replaced"
    )
    train.add_argument(
        "--from", dest="start", type=Path, metavar="DIR", help="folder of a bundle whose weights are trained further"
    )
    train.add_argument(
        "--report",
        type=Path,
        metavar="FILE",
        help="HTML report to write (default: beside the bundle, DIR.html); needs streamae[report]",
    )
    train.add_argument(
        "--tune", action="store_true", help="try several sizes of the bottleneck first and keep the best"
    )

    bootstrap = _command(
        commands,
        "bootstrap",
        "let keys learn from past data, before `run` meets them",
        "bootstrap history/*.csv --out learnt-keys --config streamae.toml",
    )
    _add_data(bootstrap)
    bootstrap.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help="file to write; give it to `run` as state.bootstrap_file, with the same model.bundle",
    )


def _add_inspection(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command that looks at data before anything is learnt."""
    inspect = _command(
        commands,
        "inspect",
        "look at data: how it would be read, what is doubtful, and settings that say so",
        "inspect data.csv --write streamae.toml",
    )
    inspect.add_argument(
        "data",
        nargs="+",
        metavar="SOURCE",
        help="files, folders of them, - for JSON lines on standard input, or kafka:TOPIC, which is read without a group",
    )
    inspect.add_argument("--write", type=Path, metavar="FILE", help="settings file to write, with the reasons")
    inspect.add_argument("--force", action="store_true", help="replace a settings file that is there")
    inspect.add_argument("--json", action="store_true", help="print what was found as JSON")


def _add_running(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands that run the engine, or ask it."""
    _command(
        commands,
        "run",
        "run the daemon: read records from Kafka, publish anomalies",
        "run --config streamae.toml --service.log_level debug",
    )

    status = _command(
        commands, "status", "ask a running daemon how it and its keys are", "status --config streamae.toml"
    )
    status.add_argument(
        "--url", metavar="URL", help="address of the daemon (default: service.http_host and service.http_port)"
    )
    status.add_argument("--json", action="store_true", help="print the daemon's answer as JSON")


def _add_demo(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command that shows all of it without services."""
    demo = _command(
        commands,
        "demo",
        "train and detect on made-up data, without Kafka or Redis",
        "demo --out out/demo",
        takes_settings=False,
    )
    demo.add_argument(
        "--stream",
        choices=("sensors", "transactions"),
        default="sensors",
        help="kind of data to make up (default: %(default)s)",
    )
    demo.add_argument(
        "--out",
        type=Path,
        default=Path("out/demo"),
        metavar="DIR",
        help="folder to write bundle and picture to (default: %(default)s)",
    )
    demo.add_argument("--keys", type=_positive, metavar="N", help="number of machines or cards (default: 60)")
    demo.add_argument("--seed", type=int, metavar="N", help="seed of all random numbers (default: 7)")


def _add_evaluation(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command that judges detectors on labelled data."""
    evaluate = _command(
        commands,
        "evaluate",
        "compare detectors on a suite of labelled series",
        "evaluate shared/data --out out/evaluation --groups nab,smd --detectors default,default+sigma3 --jobs 2",
    )
    evaluate.add_argument(
        "suite",
        type=Path,
        metavar="SUITE",
        help="folder with a MANIFEST.csv and labelled series, or one labelled file (input.label_field, else is_anomaly)",
    )
    evaluate.add_argument(
        "--train-rows",
        type=_positive,
        metavar="N",
        help="of one labelled file: rows of each key that train (default: half, or up to the first anomaly)",
    )
    evaluate.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder to write figures and report to; figures there that still hold are not made again",
    )
    evaluate.add_argument("--groups", type=_names, default=(), metavar="A,B", help="groups of the suite (default: all)")
    evaluate.add_argument(
        "--series", metavar="GLOB", help="only series whose name, or group/name, matches (default: all)"
    )
    evaluate.add_argument(
        "--detectors",
        type=_detectors,
        metavar="A,B",
        help="networks, alone or with another decision, such as gru+sigma3 (default: default,pca)",
    )
    evaluate.add_argument(
        "--seeds", type=_positive, default=1, metavar="N", help="trainings of each network (default: %(default)s)"
    )
    evaluate.add_argument(
        "--jobs", type=_positive, default=1, metavar="N", help="processes, one core each (default: %(default)s)"
    )
    evaluate.add_argument(
        "--fleet", action="store_true", help="one bundle for all series of a group that have the same channels"
    )
    evaluate.add_argument("--point-adjust", action=_RefusePointAdjustment, help=argparse.SUPPRESS)


def _add_backtest(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    backtest = _command(
        commands,
        "backtest",
        "show which alerts past data would have brought",
        "backtest data/*.csv --bundle bundle --out out/backtest",
    )
    _add_data(backtest)
    backtest.add_argument(
        "--bundle", type=Path, required=True, metavar="DIR", help="folder of a bundle that `train` has written"
    )
    backtest.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write tables and report to")
    backtest.add_argument(
        "--labels", action="store_true", help="compare the alerts with input.label_field, else is_anomaly"
    )


def _add_data(command: argparse.ArgumentParser) -> None:
    """Let a command take past data."""
    command.add_argument(
        "data",
        nargs="+",
        metavar="DATA",
        help="files of CSV, JSON lines or Parquet, folders of them, or kafka:TOPIC, which is read without a group",
    )
    command.add_argument(
        "--since",
        type=age_or_time,
        metavar="AGE",
        help="of a topic only what was written since: 14d, 6h, 30m, or an ISO 8601 time",
    )
    command.add_argument(
        "--max-records",
        type=_positive,
        metavar="N",
        help=f"of a topic the newest N records of all partitions (default: {MAX_RECORDS:,})",
    )


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
    if "data" in options:
        try:
            options.data = data_of(options.data, getattr(options, "since", None), getattr(options, "max_records", None))
        except ValueError as error:
            parser.error(str(error))
    wrong = options.check(options) if "check" in options else None
    if wrong is not None:
        parser.error(wrong)
    if flags and not options.takes_settings:
        parser.error(f"{options.command} takes no settings: --{next(iter(flags))}")
    return Invocation(options, flags)


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    summary: str,
    example: str,
    *,
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
        formatter_class=_Help,
        allow_abbrev=False,
    )
    parser.set_defaults(takes_settings=takes_settings)
    if takes_settings:
        parser.add_argument("--config", dest="config_file", type=Path, metavar="FILE", help="settings file (TOML)")
    return parser


def _positive(text: str) -> int:
    """Read an integer above zero, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a whole number, at least 1")
    return int(text)


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


class _Help(argparse.RawDescriptionHelpFormatter):
    """Keeps examples as they are, and each command beside its sentence."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog)
        self._action_max_length = 13  # argparse forgets that the names of commands are indented twice


class _RefusePointAdjustment(argparse.Action):
    """Says why there is no such option: who asks for it deserves an answer."""

    def __init__(self, option_strings: Sequence[str], dest: str, **rest: object) -> None:
        super().__init__(option_strings, dest, nargs=0, help=str(rest["help"]))

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from streamae.evaluation.measures import NO_POINT_ADJUSTMENT

        parser.error(f"--point-adjust: {NO_POINT_ADJUSTMENT}")
