"""The list of guards fits the sources; `make guards` then proves that each is watched."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.verify.guards.__main__ import COPIED, Verdict, copied_sources, judge
from scripts.verify.guards.table import GUARDS, Guard, problems
from scripts.verify.torture.suites import HAZARD_TESTS

ROOT = Path(__file__).resolve().parents[3]
KAFKA, SHOWN = ROOT / "streamae" / "connectors" / "kafka", ROOT / "tests" / "connectors"
STORE = {"compare-and-set", "key count", "read check", "fingerprint", "future check"}


def test_every_guard_stands_where_the_list_says() -> None:
    """A guard that was moved or reworded would otherwise drop out of the proof in silence."""
    assert problems(ROOT, GUARDS) == []


def test_every_hazard_and_every_check_of_the_store_has_a_guard() -> None:
    """None is forgotten that the sources name where it is closed, or that a test shows."""
    hazards = named_below(KAFKA) | named_below(SHOWN)
    assert hazards == {f"H{number}" for number in range(1, len(hazards) + 1)}
    assert {guard.name for guard in GUARDS} >= hazards | STORE


def test_the_torture_run_repeats_every_hazard() -> None:
    """Its tests are named by hand: a hazard that is added with tests elsewhere would be left out in silence."""
    text = ""
    for place in HAZARD_TESTS:
        path, _, name = place.partition("::")
        whole = (ROOT / path).read_text(encoding="utf-8")
        text += whole.split(f"def {name}(")[1].split("\ndef ")[0] if name else whole
    assert set(re.findall(r'"""(H\d+): ', text)) == named_below(SHOWN)


def named_below(folder: Path) -> set[str]:
    """Return the hazards that the files below a folder name."""
    texts = [path.read_text(encoding="utf-8") for path in folder.rglob("*.py")]
    return {hazard for text in texts for hazard in re.findall(r"\bH\d+\b", text)}


def test_a_guard_that_does_not_fit_is_reported() -> None:
    """Text that is gone, text that is not unique, a test that is not there."""
    gone, twice = replace(GUARDS[0], text="no such text"), replace(GUARDS[0], text="self")
    untested = replace(GUARDS[0], tests=("tests/connectors/kafka/test_source_and_sink.py::test_nothing",))
    found = problems(ROOT, (gone, twice, untested))
    assert len(found) == 3
    assert "occurs 0 times" in found[0]
    assert "no test tests/connectors/kafka/test_source_and_sink.py::test_nothing" in found[2]


@pytest.mark.slow
@pytest.mark.parametrize(("is_used", "is_noticed"), [(True, True), (False, False)])
def test_a_guard_is_judged_by_its_tests(is_used: bool, is_noticed: bool) -> None:
    """A test that needs the guard goes red, another one does not; and the sources are as before."""
    guard = Guard(
        "example",
        "cutting off what was not committed",
        "streamae/connectors/json_lines_sink.py",
        "os.truncate(path, length)",
        "pass",
        ("tests/connectors/test_json_lines_sink.py" if is_used else "tests/connectors/kafka/test_header_names.py",),
    )
    with copied_sources() as folder:
        before = (folder / guard.path).read_text()
        verdict = judge(folder, guard)
        assert (folder / guard.path).read_text() == before
    assert isinstance(verdict, Verdict)
    assert bool(verdict.red) == is_noticed
    assert ("NOBODY NOTICED" in verdict.row()) != is_noticed


def test_a_checkout_that_has_fetched_nothing_yet_can_be_copied(tmp_path: Path) -> None:
    """What its tests fetch needs a place to go to: a link to a folder that is not there is none."""
    for name in COPIED:
        (tmp_path / name).touch()
    with copied_sources(tmp_path) as folder:
        (folder / ".cache" / "kafka").mkdir()
    assert (tmp_path / ".cache" / "kafka").is_dir()
