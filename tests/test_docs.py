"""The documents hold together: as Markdown, among each other, and with what they speak of."""

from __future__ import annotations

import json
import re
import shlex
from argparse import ArgumentParser, _SubParsersAction
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import pytest

from streamae.alerting.alert import Action, Cause, Notice
from streamae.alerting.change import Unreadable
from streamae.alerting.deliveries import REFUSED
from streamae.alerting.desk import OPERATOR, STALE, SUPERSEDED, Dropped
from streamae.alerting.identity import OWN_NAMES, own_alert
from streamae.alerting.receivers.messages import MessageMaker
from streamae.batches import KeyState, Suspension
from streamae.cli import build_parser, main, split_settings
from streamae.errors import ExitCode
from streamae.fail_points import ALERT_POINTS, POINTS
from streamae.reasons import Reason
from streamae.settings.delivery import ReceiverSettings, RouteSettings
from tests.architecture import GROUND, ROOMS

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *PAGES]
LIVING = [document for document in DOCUMENTS if document.name != "CHANGELOG.md"]  # which may speak of what is gone
README_LINES = 220
COLUMNS = 120

SEPARATOR = re.compile(r"^\|[-:| ]+\|$")
CELL_BORDER = re.compile(r"(?<!\\)\|")
FENCE = re.compile(r"(?P<before>[^\n]*)\n```(?P<language>\w*)\n(?P<text>.*?)\n```(?=\n)", re.DOTALL)
LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")
CODE = re.compile(r"`((?:[^`\n]|\n(?!\n))+)`")  # may go on in the next line, not in the next paragraph
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
SETTING_ROW = re.compile(r"^\| `(\w+\.\w+)` \|", re.MULTILINE)
NAMED_TEST = re.compile(r"`(test_\w+\.py)::(\w+)`")
OURS = re.compile(r"(streamae|tests|scripts|docs|deploy)/[\w./-]*")
SCRIPT = re.compile(r"python -m (scripts(?:\.\w+)+)")
NOT_TESTED = re.compile(r"<!-- not tested: .+ -->")

SETTINGS = frozenset(SETTING_ROW.findall((ROOT / "docs" / "settings.md").read_text(encoding="utf-8")))
SECTIONS = frozenset(name.partition(".")[0] for name in SETTINGS)
TARGETS = frozenset(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
each_living = pytest.mark.parametrize("document", LIVING, ids=lambda path: path.name)


@dataclass(frozen=True)
class Block:
    """A fenced block: the line before it, its language, its text."""

    before: str
    language: str
    text: str


def text_of(path: Path) -> str:
    """Return a document, with an empty line before its first."""
    return "\n" + path.read_text(encoding="utf-8")


def blocks(text: str) -> list[Block]:
    """Return the fenced blocks of a document."""
    return [Block(found["before"], found["language"], found["text"]) for found in FENCE.finditer(text)]


def prose(text: str) -> str:
    """Return a document without its fenced blocks."""
    return FENCE.sub(lambda found: found["before"], text)


def anchors(text: str) -> set[str]:
    """Return what can follow the # of a link into this document, as GitHub makes it of the headings."""
    found: list[str] = []
    for heading in HEADING.findall(prose(text)):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found.append(f"{slug}-{found.count(slug)}" if slug in found else slug)
    return set(found)


def broken_links(document: Path) -> list[str]:
    """Return the relative links that lead nowhere."""
    broken = []
    for target in LINK.findall(CODE.sub("", prose(text_of(document)))):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        file = document.parent / path if path else document
        if not file.exists() or (anchor and anchor not in anchors(text_of(file))):
            broken.append(target)
    return broken


def code(document: Path) -> list[str]:
    """Return what stands in backquotes in the prose and the tables, each in one line."""
    return [" ".join(found.split()) for found in CODE.findall(prose(text_of(document)))]


def cells(row: str) -> int:
    """Return the number of cells of a row; a border inside of code is one all the same, as renderers see it."""
    return len(CELL_BORDER.findall(row.strip())) - 1


def commands(block: str) -> Iterator[list[str]]:
    """Yield the words of each command of a shell block, without comments and without the path of our programs."""
    for line in block.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            yield [words[0].removeprefix(".venv/bin/"), *words[1:]]


def subparser(name: str) -> ArgumentParser | None:
    """Return the parser of a command of streamae."""
    (choices,) = (each.choices for each in build_parser()._actions if isinstance(each, _SubParsersAction))
    return choices.get(name)


def with_actions(parser: ArgumentParser) -> list[ArgumentParser]:
    """Return a parser and those of its actions, such as `alert resolve`."""
    actions = [each.choices for each in parser._actions if isinstance(each, _SubParsersAction)]
    return [parser, *(each for choices in actions for each in choices.values())]


def complaint(words: list[str]) -> str | None:
    """Return what is wrong with one command, None if it would be understood."""
    program, *arguments = words
    if program == "streamae":
        rest, flags = split_settings(arguments)
        if unknown := set(flags) - SETTINGS:
            return f"unknown settings: {sorted(unknown)}"
        try:
            options = build_parser().parse_args(rest)
        except SystemExit as stop:
            return f"streamae does not understand it: {stop}"
        return "takes no settings" if flags and not options.takes_settings else None
    if program == "make":
        missing = [name for name in arguments if "=" not in name and name not in TARGETS]
        return f"no target {missing}" if missing else None
    if program == "python" and arguments[:1] == ["-m"]:
        return None if module_exists(arguments[1]) else f"no module {arguments[1]}"
    if program == "pip" and arguments[:1] == ["install"]:
        return None if "-c" in arguments and (ROOT / "constraints.txt").is_file() else "installs untested versions"
    return f"{program} is not known here: say above the block why it is not tested"


def module_exists(name: str) -> bool:
    """Tell whether `python -m name` would start something of ours."""
    path = ROOT / name.replace(".", "/")
    return path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()


@each_document
def test_rows_of_a_table_have_the_cells_of_its_head(document: Path) -> None:
    """What stands in a cell too many is not shown: figures would be lost where nobody looks for them."""
    lines = document.read_text(encoding="utf-8").splitlines()
    odd, width = [], 0
    for number, line in enumerate(lines, start=1):
        if not line.startswith("|"):
            width = 0
        elif width and cells(line) != width:
            odd.append(f"{number}: {cells(line)} cells, {width} in the head")
        elif not width and number < len(lines) and SEPARATOR.match(lines[number]):
            width = cells(line)
    assert odd == []
    assert document.name not in {"README.md", "detection.md", "guarantees.md"} or any(map(SEPARATOR.match, lines))


@each_document
def test_links_lead_somewhere(document: Path) -> None:
    """A relative link names a file that is there, and a heading that it has."""
    assert broken_links(document) == []


@each_living
def test_prose_is_wrapped(document: Path) -> None:
    """A change of one sentence is a change of a line or two: tables and blocks are as wide as they must be."""
    lines = prose(text_of(document)).splitlines()
    assert [line for line in lines if len(line) > COLUMNS and not line.startswith("|") and " " in line[:COLUMNS]] == []


@each_living
def test_commands_would_be_understood(document: Path) -> None:
    """Whoever copies a command gets what it says: arguments, settings, targets and modules exist."""
    wrong = {
        " ".join(words): problem
        for block in blocks(text_of(document))
        if block.language == "sh" and not NOT_TESTED.fullmatch(block.before)
        for words in commands(block.text)
        if (problem := complaint(words))
    }
    assert wrong == {}


@each_living
def test_blocks_say_what_they_are(document: Path) -> None:
    """A block is shell, settings, JSON, or without a language, which is output; no other goes unchecked."""
    assert {block.language for block in blocks(text_of(document))} <= {"sh", "toml", "json", ""}
    assert not re.search(r"^\$ |^    (make|streamae|\.venv)", text_of(document), re.MULTILINE)


@each_living
def test_examples_of_settings_are_valid(document: Path, tmp_path: Path) -> None:
    """A settings file that is copied from here starts."""
    for block in blocks(text_of(document)):
        if block.language == "toml":
            (tmp_path / "streamae.toml").write_text(block.text, encoding="utf-8")
            assert main(["config", "--config", str(tmp_path / "streamae.toml")]) == ExitCode.OK


@each_living
def test_settings_named_in_prose_exist(document: Path) -> None:
    """A setting that was renamed is renamed in every page."""
    named = {found[0] for text in code(document) if (found := re.match(r"[a-z]+\.[a-z_]+(?<!\.csv)(?![\w(./])", text))}
    assert {name for name in named if name.partition(".")[0] in SECTIONS} <= SETTINGS


@each_living
def test_commands_named_in_prose_exist(document: Path) -> None:
    """So are commands, their options, and targets of make."""
    wrong = []
    for text in code(document):
        program, _, rest = text.removeprefix(".venv/bin/").partition(" ")
        name, *words = rest.split() or [""]
        if program == "make" and name and name not in TARGETS:
            wrong.append(text)
        elif program == "streamae" and name and not name.startswith("-"):
            parser = subparser(name)
            known = "".join(each.format_help() for each in with_actions(parser)) if parser else ""
            flags = [word.partition("=")[0] for word in words if word.startswith("--")]
            if parser is None or any(flag not in known and flag[2:] not in SETTINGS for flag in flags):
                wrong.append(text)
    assert wrong == []


@each_living
def test_paths_exist(document: Path) -> None:
    """Who looks for a file that a page names finds it, and a script that it names starts."""
    paths = {text for text in code(document) if OURS.fullmatch(text) and not (ROOT / text).exists()}
    scripts = {name for text in code(document) for name in SCRIPT.findall(text) if not module_exists(name)}
    assert paths | scripts == set()


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    """It is read in some minutes, and nothing lies behind it that it does not name."""
    text = text_of(ROOT / "README.md")
    assert len(text.splitlines()) - 1 <= README_LINES
    assert {f"docs/{page.name}" for page in PAGES} <= set(LINK.findall(text))


def test_named_tests_exist() -> None:
    """What is said to watch a promise is there: the table names files without their folder, so that they may move."""
    sources: dict[str, str] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        sources[path.name] = sources.get(path.name, "") + path.read_text(encoding="utf-8")
    named = set(NAMED_TEST.findall(text_of(ROOT / "docs" / "testing.md")))
    assert len(named) > 40
    assert [f"{file}::{name}" for file, name in named if f"def {name}(" not in sources.get(file, "")] == []


def test_every_guarantee_has_its_tests() -> None:
    """The two pages have the same promises."""
    promised = set(re.findall(r"^\| (G\d+) \|", text_of(ROOT / "docs" / "guarantees.md"), re.MULTILINE))
    watched = set(re.findall(r"\b(G\d+)\b", text_of(ROOT / "docs" / "testing.md")))
    assert len(promised) > 9
    assert promised == watched


def test_closed_sets_are_explained() -> None:
    """Every reason, state and exit code that a consumer or an operator may meet stands in a table."""
    events, operations = (text_of(ROOT / "docs" / name) for name in ("events.md", "operations.md"))
    words = {*Reason, *(each.name.lower() for each in KeyState), "quiet", "gap"}
    words |= {each.name.lower() for each in Suspension if each}
    rows = "\n".join(line for line in events.splitlines() if line.startswith("|"))
    assert [word for word in sorted(words) if f"`{word}`" not in rows] == []
    assert [int(each) for each in ExitCode if f"\n| {each.value} | " not in operations] == []


def test_settings_of_receivers_and_routes_are_explained() -> None:
    """Tables in a settings file are no rows of settings.md: the page that shows them names each of their settings."""
    rows = "\n".join(line for line in text_of(ROOT / "docs" / "alerts.md").splitlines() if line.startswith("|"))
    fields = {*ReceiverSettings.model_fields, *RouteSettings.model_fields}
    assert [name for name in sorted(fields) if f"`{name}`" not in rows] == []


def test_words_of_alerts_are_explained() -> None:
    """Whatever an alert, a dead letter or a metric of alerting may say stands in a table, and a crash has its row."""
    pages = {name: text_of(ROOT / "docs" / f"{name}.md") for name in ("alerts", "operations", "guarantees")}
    rows = {name: "\n".join(line for line in page.splitlines() if line.startswith("|")) for name, page in pages.items()}
    said = {*Cause, *OWN_NAMES.values(), STALE, SUPERSEDED, OPERATOR, *Unreadable, REFUSED}
    assert [word for word in sorted(said) if f"`{word}`" not in rows["alerts"]] == []
    assert [word for word in sorted(Dropped) if f"`{word}`" not in rows["operations"]] == []
    assert [point for point in (*POINTS, *ALERT_POINTS) if f"`{point}`" not in rows["guarantees"]] == []


def test_what_templates_may_use_is_explained() -> None:
    """Nobody has to read the source to write a message, and what is named there is there."""
    page = text_of(ROOT / "docs" / "alerts.md")
    (part,) = re.findall(r"\n### Words of your own\n(.*?)\n## ", page, re.DOTALL)
    notice = Notice(Action.TRIGGER, own_alert(Cause.TEST, "", 0))
    values = MessageMaker("team", None, None, None).values([notice])
    names = {*values, *values["alerts"][0]}
    assert [name for name in sorted(names) if f"`{name}`" not in part] == []


def test_the_event_that_is_shown_is_one() -> None:
    """The example follows the published schema."""
    schema = json.loads((ROOT / "streamae" / "schemas" / "anomaly_event.v1.json").read_text(encoding="utf-8"))
    shown = [block.text for block in blocks(text_of(ROOT / "docs" / "events.md")) if block.language == "json"]
    assert shown
    for text in shown:
        jsonschema.Draft202012Validator(schema).validate(json.loads(text))


@pytest.mark.parametrize(
    "line",
    [
        "streamae trian data --bundle b",
        "streamae train data",
        "streamae run --kafka.groupid x",
        "streamae demo --kafka.group_id x",
        "make everything",
        "python -m scripts.nothing",
        "kubectl apply -k deploy/k8s",
    ],
)
def test_a_wrong_command_is_noticed(line: str) -> None:
    """These checks can fail."""
    (words,) = commands(line)
    assert complaint(words)


@pytest.mark.parametrize(
    "line",
    [
        "streamae run --config a.toml --kafka.group_id x  # as usual",
        ".venv/bin/python -m scripts.loadgen stream",
        "make reach SUITE=...",
        "pip install -c constraints.txt '.[report]'",
    ],
)
def test_a_right_command_passes(line: str) -> None:
    """And they refuse nothing that works."""
    (words,) = commands(line)
    assert complaint(words) is None


def test_broken_links_are_noticed(tmp_path: Path) -> None:
    """A file that is not there, and a heading that is not there, of another page or of this one."""
    (tmp_path / "b.md").write_text("# One `word`, two\n", encoding="utf-8")
    page = tmp_path / "a.md"
    text = "# A\n[x](b.md#one-word-two) [x](#a) [x](c.md) [x](b.md#three)\n[x](#d) `[x](e.md)` [x](https://f.g)\n"
    page.write_text(text, encoding="utf-8")
    assert broken_links(page) == ["c.md", "b.md#three", "#d"]


def test_the_table_of_rooms_is_the_one_that_is_held() -> None:
    """Who reads what a room may import reads what the tests allow: each room in its order, with its neighbours."""
    lines = re.findall(
        r"^\| `(\w+)(?:/|\.py)`(?:, `cli\.py`)? \|.*\| ([^|]+) \|$",
        text_of(ROOT / "docs" / "architecture.md"),
        re.MULTILINE,
    )
    known = {room: set(re.findall(r"`(\w+)(?:/|\.py)`", cell)) for room, cell in lines if cell != "everything"}
    held = {room: set(below) - set(GROUND) for room, below in ROOMS.items() if room in known}
    assert known == held
    assert set(ROOMS) - set(known) == {*GROUND, "commands", "cli", "__main__", "__init__"}
