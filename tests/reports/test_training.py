"""The report of a training: one file that says what was found, for every kind, whatever the features are called."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from streamae.batches import Series
from streamae.cli import main
from streamae.errors import ExitCode
from streamae.model.bundle import load_bundle
from streamae.reports.training import write_training
from streamae.training.options import TrainOptions
from streamae.training.run import run_training
from streamae.training.search import KINDS as SEARCHED
from tests.model.models import QUICK, changed, sines

SHORT = changed(QUICK, max_steps=20)
UGLY = ("<script>alert(1)</script>", "a & b")


class Page(HTMLParser):
    """Headings, text, tags and what is fetched from elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.words, self.links, self.depth = list[str](), list[str](), list[str](), list[str]()
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in {"src", "href"}]
        if tag != "meta":
            self.depth.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.depth.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def page(tmp_path: Path, options: TrainOptions, one: Series | None = None, *, tune: bool = False) -> Page:
    """Train, write the report and read it."""
    training = run_training([one or sines(rows=400)], options, tune=tune)
    write_training(tmp_path / "deep" / "report.html", training)
    read = Page((tmp_path / "deep" / "report.html").read_text(encoding="utf-8"))
    assert read.depth == []  # every tag is closed
    assert read.links == []
    assert "script" not in read.tags
    return read


def test_a_network_is_shown_from_all_sides(tmp_path: Path) -> None:
    """Loss, rivals, copying, features, codes and windows: nothing that training measured is missing."""
    read = page(tmp_path, SHORT)
    for heading in ("Loss by step", "Beside simple methods", "Error by feature", "Codes of windows", "best: score"):
        assert heading in read.text
    assert re.search(r"reconstruction [\d.]+ [\d.]+ \(pca\)", read.text)
    assert re.search(r"forecast [\d.]+ [\d.]+ \(ridge\)", read.text)
    assert re.search(r"\d+% comes through the reconstruction, of changes injected into them -?\d+%", read.text)
    assert read.tags.count("svg") == 1 + 1 + 3 * 2  # loss, map, two features of three windows


def test_names_from_the_data_are_text(tmp_path: Path) -> None:
    """Features are called as the file's columns are, and a file is from anyone."""
    read = page(tmp_path, SHORT, replace(sines(rows=400), features=UGLY))
    for name in UGLY:
        assert name in read.text


def test_warnings_come_first(tmp_path: Path) -> None:
    """Who reads no further than the first lines has read them."""
    values = sines(rows=400).values.copy()
    values[:, 1] = 3.0
    read = page(tmp_path, changed(SHORT, max_steps=1), replace(sines(rows=400), values=values))
    assert read.text.index("feature 'x1': one value only") < read.text.index("Beside simple methods")
    assert "which needs no training steps, is better" in read.text


@pytest.mark.parametrize("kind", ["pca", "ridge", "zscore", "nearest_windows"])
def test_baselines_have_a_report(kind: str, tmp_path: Path) -> None:
    """Without what they do not have."""
    read = page(tmp_path, changed(SHORT, kind=kind))  # type: ignore[arg-type]  # of the parameters
    assert "It is a simple method itself" in read.text
    assert "Codes of windows" not in read.text
    assert ("Windows and their reconstruction" in read.text) == (kind != "ridge")


@pytest.mark.slow
def test_a_search_shows_its_table(tmp_path: Path) -> None:
    """Every candidate, the chosen one marked."""
    read = page(tmp_path, changed(SHORT, kind="auto"))
    assert all(kind in read.text for kind in SEARCHED)
    assert read.text.count("(taken)") == 1
    tuned = page(tmp_path, SHORT, tune=True)
    assert "Which size of bottleneck" in tuned.text


def test_sampled_windows_are_shown_of_a_variational_network(tmp_path: Path) -> None:
    """Only there they mean something."""
    options = changed(SHORT, kind="dense", variational_weight=0.05)
    assert "Windows drawn from the code's distribution" in page(tmp_path, options).text
    assert "Windows drawn" not in page(tmp_path, changed(SHORT, kind="dense")).text


def test_many_features_stay_readable(tmp_path: Path) -> None:
    """The worst sixty, and how many more there are."""
    wide = Series(
        "a",
        tuple(f"x{i}" for i in range(70)),
        np.arange(200, dtype=np.int64) * 1_000,
        np.random.default_rng(0).normal(size=(200, 70)).astype(np.float32),
    )
    assert "10 more features have smaller errors" in page(tmp_path, changed(SHORT, kind="pca"), wide).text


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A file to train on."""
    one = sines(rows=300)
    lines = ["timestamp,a,b"] + [
        f"{t},{a},{b}" for t, (a, b) in zip(one.event_times_ms + 10**12, one.values, strict=True)
    ]
    (tmp_path / "data.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path / "data.csv"


@pytest.mark.parametrize(("asked", "place"), [(None, "models/bundle.html"), ("elsewhere/r.html", "elsewhere/r.html")])
def test_the_command_writes_it_beside_the_bundle(
    asked: str | None, place: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The bundle's folder holds the bundle and nothing else, so it still loads, and can be replaced."""
    arguments = ["train", str(data), "--bundle", str(tmp_path / "models" / "bundle"), "--train.kind", "pca"]
    arguments += ["--report", str(tmp_path / asked)] if asked else []
    for _ in range(2):
        assert main(arguments) == ExitCode.OK
        assert f"{tmp_path / place}: report" in capsys.readouterr().err
    assert (tmp_path / place).read_text(encoding="utf-8").startswith("<!doctype html>")
    bundle = tmp_path / "models" / "bundle"
    assert load_bundle(bundle).version in (tmp_path / place).read_text(encoding="utf-8")
    assert sorted(path.name for path in bundle.iterdir()) == ["bundle.json", "model.safetensors"]
