"""A new threshold rule is one module and one line: on a copy of the package, all that lists rules knows it from there."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from streamae.core.thresholds.budget import WEEK_MS
from streamae.core.thresholds.learning import k_of_share
from tests.engines import STEP_MS, tiny_bundle

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
REGISTRY = Path("streamae/core/thresholds/registry.py")
AFTER = "from streamae.core.thresholds.conformal import CONFORMAL\n"
LINE = "from streamae.core.thresholds.toy import TOY\n"
REFUSED = "nobody has measured its rate of alarms"
MODULE = '''"""Mean + toy_k sigma, as if there were no such rule yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamae.batches import Flags
from streamae.core.columns import Columns, Field
from streamae.core.moments import learn
from streamae.core.scoring import ScoreHistory
from streamae.core.thresholds.learning import Learning, floored, k_of_share, sigma_rarity
from streamae.core.thresholds.rule import Judgement, Wave, mean_state
from streamae.core.thresholds.spec import Knob, RuleSpec, RuleWords


@dataclass(frozen=True, slots=True)
class ToyRule:
    """threshold = mean + toy_k sd."""

    toy_k: float
    learning: Learning

    def fields(self, features: int) -> dict[str, Field]:
        """Return five numbers."""
        return {
            "count": Field("<i8"),
            "newest": Field("<i8"),
            "smoothed": Field("<f8"),
            "mean": Field("<f8", (), self.learning.prior_mean),
            "variance": Field("<f8", (), self.learning.start_sd**2),
        }

    def begin(self, states: Columns, history: ScoreHistory) -> None:
        """Change nothing."""

    def judge(self, states: Columns, wave: Wave) -> Judgement:
        """Compare the smoothed score with the mean."""
        slots, means = wave.slots, states["mean"][wave.slots]
        sds = floored(np.sqrt(states["variance"][slots]), means)
        smoothed = self.learning.smooth(wave, states["smoothed"][slots])
        rarities = sigma_rarity((smoothed - means) / sds)
        return Judgement(smoothed, means + self.toy_k * sds, means, sds, rarities, states["count"][slots])

    def learn(self, states: Columns, wave: Wave, judgement: Judgement, alarms: Flags) -> None:
        """Move mean and variance in capped steps."""
        slots, counts = wave.slots, judgement.counts
        weights = self.learning.weights(wave, counts, states["newest"][slots])
        caps = self.learning.cap_sigma * judgement.sds
        states["mean"][slots], states["variance"][slots] = learn(
            judgement.means, states["variance"][slots], judgement.scores, weights, caps
        )
        states["smoothed"][slots] = judgement.scores
        states["count"][slots] = counts + 1
        states["newest"][slots] = wave.end_times_ms

    def pooled(self, states: Columns) -> Mapping[str, NDArray[Any]]:
        """Mean of the keys, with the spread between them."""
        return mean_state(states, {"mean": "variance"})


TOY = RuleSpec(
    "toy",
    "toy",
    RuleWords("toy", "score > mean + `toy_k` sd", "T > m + `toy_k` s", ""),
    parameters=(Knob("toy_k", 8.0, "toy: standard deviations above the key's usual score.", gt=0),),
    level="toy_k",
    build=lambda knobs, shared: ToyRule(knobs["toy_k"], shared.learning),
    from_budget=lambda share: {"toy_k": k_of_share(share)["k"]},
)
'''


def copy_with_toy(folder: Path, module: str = MODULE) -> Path:
    """Copy what is needed of the repository, write one module, and one line into the registry."""
    for name in ("streamae", "tests", "scripts", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "stored"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / REGISTRY).with_name("toy.py").write_text(module, encoding="utf-8")
    text = (folder / REGISTRY).read_text(encoding="utf-8")
    assert text.count(AFTER) == 1
    (folder / REGISTRY).write_text(text.replace(AFTER, AFTER + LINE), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository with the toy rule."""
    return copy_with_toy(tmp_path_factory.mktemp("copy"))


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a module of the copy, which hides the one that is installed."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("STREAMAE_")}
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=folder, env=env | {"PYTHONPATH": str(folder)}, capture_output=True, text=True)


def test_the_suite_for_rules_runs_over_it(copy: Path) -> None:
    """What holds for every rule is held against the new one, and so are the shape of its module and what it says."""
    suite = [f"tests/core/thresholds/{name}.py" for name in ("test_every_rule", "test_registry")]
    done = run(copy, "pytest", "-q", "-rA", "-p", "no:cacheprovider", "-k", "toy", *suite, "tests/test_architecture.py")
    assert done.returncode == 0, done.stdout[-3_000:]
    passed = re.findall(r"^PASSED \S+::(\w+)\[.*toy.*\]$", done.stdout, re.MULTILINE)
    for_each = re.compile(r"^@each_(?:following_rule|rule|name)$", re.MULTILINE)
    expected = [found for path in suite for found in for_each.findall((ROOT / path).read_text(encoding="utf-8"))]
    assert len(set(passed)) >= len(expected) > 15


def test_settings_and_documents_have_it(copy: Path) -> None:
    """Its name can be set, its knob has a field of its own, and the tables get their rows from one command."""
    done = run(copy, "streamae", "config", "--threshold.rule", "toy", "--threshold.toy_k", "4")
    assert done.returncode == 0, done.stderr
    assert re.search(r'^threshold\.rule +"toy" +flag', done.stdout, re.MULTILINE)
    assert re.search(r"^threshold\.toy_k +4\.0 +flag", done.stdout, re.MULTILINE)
    refused = run(copy, "streamae", "config", "--threshold.toy_k", "0")
    assert refused.returncode == 78
    assert "threshold.toy_k: Input should be greater than 0" in refused.stderr
    assert run(copy, "scripts.settings_table").returncode == 0
    settings, detection = ((copy / "docs" / name).read_text("utf-8") for name in ("settings.md", "detection.md"))
    assert "| `threshold.toy_k` | `8.0` | toy: standard deviations above the key's usual score. |" in settings
    assert "`conformal`, `toy`." in settings
    assert "| `toy` | score > mean + `toy_k` sd | 5 numbers |" in detection


def backtest(copy: Path, folder: Path, *flags: str) -> str:
    """Return what a backtest of some random rows prints."""
    tiny_bundle().save(folder / "bundle")
    with (folder / "history.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["key", "timestamp", "temp", "load"])
        for number, row in enumerate(np.random.default_rng(5).standard_normal((300, 2)).tolist()):
            writer.writerow(["a", np.datetime64("2025-01-01T00:00:00") + number, *row])
    places = [str(folder / "history.csv"), "--bundle", str(folder / "bundle"), "--out", str(folder / "out")]
    done = run(copy, "streamae", "backtest", *places, "--input.key_field", "key", *flags)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_backtest_compares_it_with_the_rule_that_is_set(copy: Path, tmp_path: Path) -> None:
    """It is one of the other rules, at the level it has in the settings."""
    assert re.search(r"^toy, toy_k 8 ", backtest(copy, tmp_path), re.MULTILINE)


def test_it_takes_an_alert_budget_and_has_other_levels(copy: Path, tmp_path: Path) -> None:
    """Where it is set, a backtest turns its knob, around the level that its own module solves the budget for."""
    printed = backtest(copy, tmp_path, "--threshold.rule", "toy", "--threshold.alert_budget_per_week", "200")
    assert "threshold.toy_k" in printed
    assert "toy, toy_k" not in printed
    (level,) = k_of_share(200 * STEP_MS / WEEK_MS).values()
    assert re.search(rf"^{level:.3g} .* as set$", printed, re.MULTILINE)


def test_it_may_refuse_an_alert_budget(tmp_path: Path) -> None:
    """With the sentence of its module, when settings are read."""
    solving = 'lambda share: {"toy_k": k_of_share(share)["k"]}'
    assert solving in MODULE
    copy = copy_with_toy(tmp_path, MODULE.replace(solving, f'"{REFUSED}"'))
    done = run(copy, "streamae", "config", "--threshold.rule=toy", "--threshold.alert_budget_per_week=2")
    assert done.returncode == 78
    assert done.stderr.startswith(f"threshold.alert_budget_per_week: {REFUSED}: leave the budget out")
