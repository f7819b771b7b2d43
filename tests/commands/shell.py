"""Commands as a person types them, each by the real `main` in one other process, so that torch loads once.

`run` may change signal handlers, logging and standard output of its process; here that is nobody else's.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
QUICK = ("--train.kind", "pca", "--model.device", "cpu", "--model.threads", "1")
SERVED = ("--model.device", "cpu", "--model.threads", "1", "--service.http_port", "0")


@dataclass(frozen=True)
class Answer:
    """What a command said.

    Attributes:
        code: its exit code.
        out, err: what it printed.
    """

    code: int
    out: str
    err: str

    @property
    def log(self) -> list[dict[str, Any]]:
        """The lines of the log of `run`."""
        return [json.loads(line) for line in self.out.splitlines() if line.startswith("{")]

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The lines of the log about one thing."""
        return [line for line in self.log if line["event"] == event]

    @property
    def refusal(self) -> str:
        """The one line that says why not."""
        (line,) = [line for line in self.err.splitlines() if line.startswith("streamae: ")]
        return line


@dataclass(frozen=True)
class FirstContact:
    """What came of the three commands, one after the other as they are printed.

    Attributes:
        folder: in which all of it lies.
        inspected, trained, ran: what each command said; None = it was not reached.
    """

    folder: Path
    inspected: Answer
    trained: Answer | None = None
    ran: Answer | None = None

    @property
    def codes(self) -> tuple[int | None, ...]:
        """The exit codes."""
        return tuple(None if one is None else one.code for one in (self.inspected, self.trained, self.ran))

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What `inspect` wrote, by name of the setting."""
        tree = tomllib.loads((self.folder / "streamae.toml").read_text(encoding="utf-8"))
        return {f"{section}.{name}": value for section, of in tree.items() for name, value in of.items()}

    @cached_property
    def bundle(self) -> dict[str, Any]:
        """What the bundle says of itself."""
        content: dict[str, Any] = json.loads((self.folder / "bundle" / "bundle.json").read_text(encoding="utf-8"))
        return content

    @property
    def features(self) -> list[str]:
        """The features that were learnt."""
        names: list[str] = self.bundle["features"]
        return names

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events that were published."""
        return [one["value"] for one in self._published("anomalies.jsonl")]

    @property
    def episodes(self) -> list[dict[str, Any]]:
        """The last event of each episode."""
        return list({event["episode_id"]: event for event in self.events}.values())

    @property
    def scores(self) -> list[dict[str, Any]]:
        """The score of each window, where `--output.scores_topic scores` asked for them."""
        return [one["value"] for one in self._published("scores.jsonl")]

    @property
    def dead_letters(self) -> list[dict[str, str]]:
        """The headers of each dead letter."""
        return [dict(one["headers"]) for one in self._published("anomalies-dead-letters.jsonl")]

    def blamed(self, time: str) -> set[str]:
        """Return the features to blame for the episodes that have this instant in them, within an hour."""
        return {
            feature["name"]
            for event in self.events
            if event["start_time"] <= time <= event["end_time"]
            for feature in event["features"][:1]
        }

    def _published(self, name: str) -> list[dict[str, Any]]:
        path = self.folder / "streamae-events" / name
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


class Shell:
    """One process that is given commands."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.commands.shell"],
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if not name.startswith("STREAMAE_")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def say(self, *words: str | Path) -> Answer:
        """Type `streamae` and these words."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([str(word) for word in words]), file=self._process.stdin, flush=True)
        return Answer(*json.loads(self._process.stdout.readline()))

    def first_contact(
        self, folder: Path, *data: Path, flags: Sequence[str] = (), live: Path | None = None, more: Sequence[str] = ()
    ) -> FirstContact:
        """Look at data, learn from it and run on it, by the commands that are printed; stop where one refuses.

        Args:
            folder: for settings, bundle and events.
            data: files.
            flags: that `inspect` is given too.
            live: another file to run on.
            more: flags for `run` only.
        """
        settings, bundle = folder / "streamae.toml", folder / "bundle"
        inspected = self.say("inspect", *data, "--write", settings, "--model.bundle", bundle, *flags)
        if inspected.code:
            return FirstContact(folder, inspected)
        train, run = printed_commands(inspected.out)[:2]
        trained = self.say(*train, *QUICK)
        if trained.code:
            return FirstContact(folder, inspected, trained)
        if live is not None:
            run[run.index("--input.files") + 1] = str(live)
        return FirstContact(folder, inspected, trained, self.say(*run, *SERVED, *more))

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def printed_commands(report: str) -> list[list[str]]:
    """Return the words of each command that `inspect --write` prints at its end, without the name of the program."""
    lines = report.partition("written. Next:")[2].splitlines()[1:]
    return [shlex.split(line, comments=True)[1:] for line in lines]


def _serve() -> None:
    """Do what is read from standard input, a JSON array of words a line, and answer in one line each."""
    from streamae.cli import main

    answers = sys.stdout
    for line in sys.stdin:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = int(main(json.loads(line)))
            except SystemExit as ended:
                code = int(ended.code or 0)
        print(json.dumps([code, out.getvalue(), err.getvalue()]), file=answers, flush=True)


if __name__ == "__main__":
    _serve()
