"""The demo of transactions: trains, runs the engine, finds fraud and says so."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest

from streamae.cli import main as cli
from streamae.demo.transaction_demo import TransactionScale, main
from streamae.model.bundle import load_bundle

pytestmark = pytest.mark.slow

SMALL = TransactionScale(train_rows=160, live_rows=210, frauds_per_card=1.0, hidden_size=12, steps=150)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, str, Path]:
    """Exit code, text and folder of a small demo."""
    out, text = tmp_path_factory.mktemp("demo"), io.StringIO()
    return main(out, cards=10, seed=5, stream=text, scale=SMALL), text.getvalue(), out


def test_it_finds_fraud_and_prints_what_it_found(ran: tuple[int, str, Path]) -> None:
    """Recall for each kind of fraud, precision for each field that is blamed, and nothing hidden."""
    code, text, _ = ran
    assert code == 0
    for kind in ("velocity burst", "amount jump", "unusual category", "unusual hour", "taken over"):
        assert re.search(rf"{kind} +2 +[012] +\d+%", text), kind
    injected, found = map(int, re.findall(r"   all +(\d+) +(\d+)", text)[0])
    assert injected == 10
    assert found >= 4
    assert "time since the purchase before" in text


def test_most_fraud_is_found_and_most_episodes_are_fraud(tmp_path: Path) -> None:
    """On a third of the demo's cards, recall and precision are those of a detector worth having: .7 at least each."""
    text = io.StringIO()
    assert main(tmp_path, cards=20, seed=29, stream=text) == 0
    (injected, found), (episodes, true) = (
        (int(one), int(two)) for one, two in re.findall(r"   all +(\d+) +(\d+)", text.getvalue())
    )
    assert injected == 40
    assert found / injected >= 0.7
    assert true / episodes >= 0.7


def test_the_bundle_knows_the_fields(ran: tuple[int, str, Path]) -> None:
    """It can be served as it is: amounts as logarithms, eight categories, the interval and the hour."""
    bundle = load_bundle(ran[2] / "bundle")
    assert bundle.inputs == ("amount", "merchant")
    assert bundle.features[0] == "amount.log"
    assert bundle.features[-3:] == ("interval.log", "hour.sin", "hour.cos")
    assert len(bundle.features) == 1 + 8 + 1 + 3
    description = json.loads((ran[2] / "bundle" / "bundle.json").read_text())
    assert len(description["encoding"]["categories"]["merchant"]["known"]) == 8


def test_the_picture_is_there(ran: tuple[int, str, Path]) -> None:
    """A PNG of some size, named in the text."""
    picture = ran[2] / "transactions.png"
    assert str(picture) in ran[1]
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 50_000


def test_the_command_offers_both_streams(capsys: pytest.CaptureFixture[str]) -> None:
    """Sensors stay the default; another word is a usage error."""
    assert cli(["demo", "--help"]) == 0
    assert "{sensors,transactions}" in capsys.readouterr().out
    assert cli(["demo", "--stream", "stocks"]) == 2
