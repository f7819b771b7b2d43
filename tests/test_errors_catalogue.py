"""Who is stopped by a message finds it in docs/errors.md, with its cause and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from scripts.error_tables import CAUSES
from streamae.reasons import REMEDIES, Fruitless, Reason
from tests.error_messages import Message, messages, messages_of

ROOT = Path(__file__).resolve().parents[1]
ROW = re.compile(r"^\| (`[^|]+) \| [^|]+ \| [^|]+ \|$", re.MULTILINE)  # reasons have a fourth cell
PHRASE = re.compile(r"`([^`]+)`")
LEAST = 5  # letters of a phrase: less would be found everywhere

# Where a message is handed on whole, and who has written it: `()` is what this scan finds anyway, or another program.
FORWARDED: dict[str, tuple[str, ...]] = {
    "assembly/alert_rules.py:build_alert_rules": ("assembly/alert_rules.py:_unknown",),
    "commands/alert_settings.py:load_alerting": (),
    "commands/first_look.py:learnt_settings": (),  # refusals of the proposal
    "commands/first_look.py:with_found": ("settings/tree.py:conflicts",),
    "commands/inspect.py:inspect": (),
    "connectors/files/csv_dialect.py:sniff": ("connectors/files/csv_cut.py:why_no_names",),
    "connectors/files/csv_text.py:csv_dialect": (),
    "connectors/files/json_files.py:read_json_records": (),
    "connectors/files/series.py:read": ("connectors/files/series.py:_left_out",),
    "connectors/kafka/client.py:client_errors": (),  # the Kafka client
    "core/thresholds/budget.py:parameters": ("core/thresholds/budget.py:refusal",),
    "discovery/proposal.py:_decide_values": ("discovery/proposal.py:_why_no_features",),
    "discovery/proposal.py:_refuse_implausible": (
        "connectors/time_numbers.py:looks_like",
        "discovery/times.py:_from_numbers",
    ),
    "model/bundle.py:load_bundle": (),
    "settings/contract.py:_changed": ("settings/connections.py:conflicts", "settings/training.py:conflicts"),
    "settings/section.py:taking": (),  # pydantic
    "settings/sources.py:_note_conflicts": (),
    "settings/sources.py:add": ("settings/sources.py:_unknown",),
    "settings/sources.py:add_file": ("settings/sources.py:_unknown",),
    "settings/sources.py:load_settings": (),
    "settings/sources.py:refuse": (),
    "settings/sources.py:validate": (),  # pydantic
    "settings/tree.py:_fields_fit_together": ("settings/silence.py:conflicts",),
    "training/windows.py:_cut": ("training/windows.py:_too_few",),
    "training/windows.py:training_windows": (),
}
WRITERS = frozenset(writer for writers in FORWARDED.values() for writer in writers)
NEVER_MET = frozenset({"settings/documents.py:with_table"})  # by those who run streamae


def phrases(page: str) -> list[str]:
    """Return what the first cells of the tables of messages say."""
    return [phrase for cell in ROW.findall(page) for phrase in PHRASE.findall(cell)]


def uncovered(found: Iterable[Message], known: Iterable[str]) -> list[Message]:
    """Return the messages in which no phrase occurs."""
    return [message for message in found if not any(phrase in message.text for phrase in known)]


@pytest.fixture(scope="module")
def page() -> str:
    """The catalogue."""
    return (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def told() -> list[Message]:
    """All messages of the package that say something."""
    return [message for message in messages(ROOT / "streamae", WRITERS) if message.place not in NEVER_MET]


def test_every_message_is_in_the_catalogue(page: str, told: list[Message]) -> None:
    """Who searches the page for the words of a message finds its cause and remedy, also those of tomorrow."""
    assert len(told) > 200
    assert uncovered([message for message in told if not message.is_forwarded], phrases(page)) == []


def test_every_phrase_is_said_somewhere(page: str, told: list[Message]) -> None:
    """What no command says any more leaves the page."""
    assert [phrase for phrase in phrases(page) if len(uncovered(told, [phrase])) == len(told)] == []
    assert [phrase for phrase in phrases(page) if sum(map(str.isalpha, phrase)) < LEAST] == []


def test_messages_handed_on_are_written_where_the_scan_looks(told: list[Message]) -> None:
    """A message that is made elsewhere is looked for there: no new way to tell one escapes the catalogue."""
    assert {message.place for message in told if message.is_forwarded and message.place not in WRITERS} == set(
        FORWARDED
    )
    assert {message.place for message in told} >= WRITERS


def test_every_reason_has_its_cause() -> None:
    """The tables of refused records leave none out."""
    assert set(CAUSES) == set(REMEDIES) == {*Reason, *Fruitless}


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ('def f(x):\n    raise DataError(f"{x}: boils over")', "…: boils over"),
        (
            'def f(x):\n    what = "boils" if x else "freezes"\n    raise ConfigError([f"tea: {what} over"])',
            "tea: freezes over",
        ),
        (
            'def f(x):\n    error = DataError if x else Other\n    raise error(f"tea {x} " + "boils over")',
            "tea … boils over",
        ),
        ('def f(self):\n    self.problems.append("tea boils over")', "tea boils over"),
        ('HOT = "boils"\ndef f(draft):\n    draft.problems += [f"{HOT} over"]', "boils over"),
        ('def f(x):\n    raise BundleError([f"{one} boils over" for one in x])', "… boils over"),
    ],
)
def test_a_new_message_is_noticed(source: str, text: str, page: str) -> None:
    """The scan sees each way in which a message is made, and the page does not know what it never heard of."""
    found = list(messages_of("connectors/tea.py", source))
    assert Message("connectors/tea.py:f", text) in found
    assert uncovered(found, phrases(page)) == found


def test_values_that_do_not_go_count_where_they_are_told() -> None:
    """A ValueError of settings is a message; one of arithmetic is a mistake of ours."""
    source = 'def f():\n    raise ValueError("tea boils over")'
    assert [message.text for message in messages_of("settings/tea.py", source)] == ["tea boils over"]
    assert list(messages_of("evaluation/tea.py", source)) == []


def test_writers_are_read_without_their_docstrings() -> None:
    """Sentences that a function returns for others to raise are messages."""
    source = 'def f(x):\n    """Say what is wrong."""\n    return [f"{x}: boils over again", "ok"]'
    assert [message.text for message in messages_of("a.py", source, frozenset({"a.py:f"}))] == ["…: boils over again"]
