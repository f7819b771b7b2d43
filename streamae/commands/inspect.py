"""`streamae inspect`: how foreign data would be read, and a settings file that says so.

Nothing is written but that file; a topic is read without a group. Must not know how anything is found out.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from streamae.commands.first_look import STDIN, proposal_of, sources_of
from streamae.commands.invocation import Invocation
from streamae.commands.past_data import TOPIC, TopicRange
from streamae.discovery.proposal import Decision
from streamae.discovery.report import as_json, report_lines
from streamae.discovery.settings_file import settings_text
from streamae.discovery.sources import Trial, spelling, try_reading
from streamae.errors import DataError, ExitCode
from streamae.settings.sources import is_secret
from streamae.settings.tree import FIELDS, LoadedSettings

DECIDED = ("input", "window", "features")  # sections that are proposed


def inspect(
    loaded: LoadedSettings,
    data: Sequence[Path] | TopicRange,
    *,
    write: Path | None = None,
    replaces: bool = False,
    as_data: bool = False,
    out: TextIO | None = None,
    progress: TextIO | None = None,
) -> ExitCode:
    """Look at sources, and say how they would be read.

    Args:
        loaded: what the user set wins over what is found.
        data: files, folders, `-` for JSON lines on standard input, or a topic.
        write: settings file to write; nothing is written where the data cannot be learnt from.
        replaces: a file that is there is replaced.
        as_data: print JSON for programs.
        out: gets the report; standard output by default.
        progress: gets what is being done; standard error by default.

    Raises:
        DataError: a source cannot be read or learnt from, or the file is there already; says what helps.
        ConfigError, RetryableError: the cluster cannot be reached.
    """
    out, progress = out or sys.stdout, progress or sys.stderr
    if write is not None and write.exists() and not replaces:
        raise DataError(f"{write}: is there already: --force replaces it")
    sources = sources_of(loaded.settings, data, progress)
    proposal = proposal_of(loaded, sources)
    if isinstance(data, TopicRange):
        topics = Decision((data.topic,), "the topic that was looked at")
        proposal = proposal.with_more({"input.topics": topics}, [])
    trial = Trial(0, 0, ())
    if not proposal.refusals:
        trial = try_reading(sources, proposal, loaded.settings.features.category_fields)
    if as_data:
        found = {"records": trial.records, "rows": trial.rows, "said": list(trial.said)}
        print(json.dumps(as_json(proposal, spelling(sources), found), ensure_ascii=False, indent=2), file=out)
    else:
        proof = () if proposal.refusals else _proof(trial)
        print("\n".join(report_lines(proposal, spelling(sources), proof)), file=out)
    if proposal.refusals:
        raise DataError("; ".join(proposal.refusals))
    if trial.records and not trial.rows:
        raise DataError(f"none of {trial.records:,} records can be read so: {'; '.join(trial.said)}")
    if write is not None:
        write.write_text(settings_text(proposal, _others(loaded), _typed(data)), encoding="utf-8")
        print(_next_steps(data, write, loaded.settings.model.bundle), file=progress if as_data else out)
    return ExitCode.OK


def main(invocation: Invocation) -> int:
    """Do what `streamae inspect` was asked for."""
    of = invocation.options
    return inspect(invocation.load(), of.data, write=of.write, replaces=of.force, as_data=of.json)


def _proof(trial: Trial) -> list[str]:
    return [f"{trial.rows:,} rows of the first {trial.records:,} records", *trial.said]


def _others(loaded: LoadedSettings) -> dict[str, Any]:
    """Return what the user set in sections that are not proposed, without secrets."""
    found = {}
    for name, source in loaded.sources.items():
        section, _, field = name.partition(".")
        value = getattr(getattr(loaded.settings, section), field)
        if source != "default" and section not in DECIDED and not is_secret(FIELDS[name]):
            found[name] = value
    return found


def _typed(data: Sequence[Path] | TopicRange) -> str:
    """Return what was looked at, as it is typed."""
    return f"{TOPIC}{data.topic}" if isinstance(data, TopicRange) else shlex.join(map(str, data))


def _next_steps(data: Sequence[Path] | TopicRange, path: Path, bundle: Path) -> str:
    """Return the commands that follow: to learn, and to serve a topic, or first the same files without services."""
    config = f"--config {shlex.quote(str(path))}"
    if isinstance(data, TopicRange) or list(data) == STDIN:
        what, runs = _typed(data) if isinstance(data, TopicRange) else "DATA", [f"streamae run {config}"]
    else:
        what, names = _typed(data), list(map(str, data))
        is_plain = not any(set(name) & set(",[{") for name in names)
        files = shlex.quote(",".join(names) if is_plain else json.dumps(names, ensure_ascii=False))
        events = shlex.quote(str(path.with_name(f"{path.stem}-events")))
        edges = f"--output.sink files --output.directory {events} --state.store memory"
        runs = [
            f"streamae run {config} --input.source files --input.files {files} {edges}",
            f"streamae run {config} --input.topics TOPIC  # once such records come from Kafka",
        ]
    train = f"streamae train {what} --bundle {shlex.quote(str(bundle))} {config}"
    return "\n  ".join([f"{path}: written. Next:", train, *runs])
