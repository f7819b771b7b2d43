"""The first look at foreign data, for `inspect`, and for `train`, which says what it took for what.

Must not know: what is learnt from the data, or how a report looks.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from streamae.commands.past_data import TopicRange
from streamae.discovery.proposal import Proposal
from streamae.discovery.report import report_lines
from streamae.discovery.scene import Wish
from streamae.discovery.settings_file import toml
from streamae.discovery.sources import (
    Source,
    file_sources,
    proposal_for,
    spelling,
    text_source,
    topic_source,
)
from streamae.errors import ConfigError, DataError
from streamae.settings.tree import LoadedSettings, Settings

STDIN = [Path("-")]
SAMPLE_RECORDS = 10_000  # of a topic
SECTIONS = ("input", "window", "features")  # of settings that are found out


def learnt_settings(loaded: LoadedSettings, data: Sequence[Path] | TopicRange, progress: TextIO) -> LoadedSettings:
    """Return the settings with which data are learnt from: what nobody set is as the data show it, and is told.

    Args:
        loaded: what the user set wins.
        data: files, folders, or a topic.
        progress: gets what was taken for what, what is left out, and doubts.

    Raises:
        DataError: the data cannot be learnt from as they are; says which setting helps.
        ConfigError: what was found does not go with what was set.
    """
    sources = sources_of(loaded.settings, data, progress)
    proposal = proposal_of(loaded, sources)
    print("\n".join(report_lines(proposal, spelling(sources))), file=progress, flush=True)
    if proposal.refusals:
        raise DataError("; ".join(proposal.refusals))
    found = with_found(loaded, proposal)
    for line in _taken(loaded, found):
        print(line, file=progress, flush=True)
    return found


def _taken(before: LoadedSettings, after: LoadedSettings) -> Iterator[str]:
    """Yield each setting that now differs because of the data, as a settings file has it."""
    for name, source in after.sources.items():
        if source == "data":
            section, _, field = name.partition(".")
            old, new = (getattr(getattr(one.settings, section), field) for one in (before, after))
            if new != old:
                yield f"  set       {name} = {toml(new)}"


def with_found(loaded: LoadedSettings, proposal: Proposal) -> LoadedSettings:
    """Return settings in which what nobody set is what the proposal says.

    Raises:
        ConfigError: the two do not fit together.
    """
    settings, sources = loaded.settings, dict(loaded.sources)
    sections: dict[str, Any] = {}
    for section in SECTIONS:
        one = getattr(settings, section)
        found = {
            name: value
            for name, value in proposal.section(section).items()
            if value is not None and loaded.sources[f"{section}.{name}"] == "default"
        }
        sources |= dict.fromkeys((f"{section}.{name}" for name in found), "data")
        sections[section] = one.taking(found)
    settings = settings.model_copy(update=sections)
    if conflicts := settings.conflicts():
        raise ConfigError(conflicts)
    return replace(loaded, settings=settings, sources=sources)


def sources_of(settings: Settings, data: Sequence[Path] | TopicRange, progress: TextIO) -> list[Source]:
    """Open what is to be looked at; of a topic a sample, without a group.

    Raises:
        DataError: it cannot be read; says what helps.
        ConfigError, RetryableError: the cluster cannot be reached.
    """
    if isinstance(data, TopicRange):
        from streamae.connectors.kafka.topic_history import sample_topic

        print(f"reading the newest {SAMPLE_RECORDS:,} records of topic {data.topic}", file=progress, flush=True)
        return [topic_source(data.topic, sample_topic(data.topic, settings.kafka, SAMPLE_RECORDS), settings.input)]
    if list(data) == STDIN:
        return [text_source(sys.stdin.buffer.read(), settings.input)]
    return file_sources(data, settings.input, lambda text: print(text, file=progress, flush=True))


def proposal_of(loaded: LoadedSettings, sources: Sequence[Source]) -> Proposal:
    """Find out how sources are to be read; what the user set wins over what is found."""
    of = loaded.settings
    given = frozenset(name for name, source in loaded.sources.items() if source not in {"default", "bundle"})
    wish = Wish(of.input, of.window, of.features, given)
    return proposal_for(sources, wish, time.time_ns() // 1_000_000)
