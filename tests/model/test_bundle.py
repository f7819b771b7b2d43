"""Bundles: what is saved comes back, and whatever does not fit together is refused with its reason."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from streamae.core.origins import Origins
from streamae.core.scaling import Scaling, unsquash
from streamae.core.scoring import Calibration, ScoreHistory
from streamae.errors import BundleError
from streamae.model.bundle import (
    DESCRIPTION_FILE,
    MAX_DESCRIPTION_BYTES,
    WEIGHTS_FILE,
    Bundle,
    _version,
    load_bundle,
)
from streamae.model.runner import Runner
from streamae.model.scaling_schema import ScaledBy
from tests.model.models import KINDS, architecture, bundle, raw_windows

Json = dict[str, Any]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A directory with a good bundle."""
    directory = tmp_path / "bundle"
    bundle().save(directory)
    return directory


def edit(directory: Path, change: Callable[[Json], object]) -> None:
    """Change `bundle.json` and make its version fit again, as an attacker or another program would."""
    path = directory / DESCRIPTION_FILE
    description = json.loads(path.read_text())
    change(description)
    description.pop("version", None)
    path.write_text(json.dumps(description | {"version": _version(description)}))


def replace_weights(directory: Path, data: bytes) -> None:
    """Put another weights file in, with a checksum that fits."""
    (directory / WEIGHTS_FILE).write_bytes(data)
    edit(directory, lambda d: d["weights"].update(sha256=hashlib.sha256(data).hexdigest()))


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_bundle_comes_back_whole(kind: str, tmp_path: Path) -> None:
    """What was trained is what is served: the same weights, numbers and errors, to the last bit."""
    of = bundle(architecture(kind, layers=2, bottleneck_size=2))
    of.save(tmp_path / "bundle")
    found = load_bundle(tmp_path / "bundle")
    assert (found.architecture, found.features, found.step_ms) == (of.architecture, of.features, of.step_ms)
    assert (dict(found.metrics), dict(found.options), found.digest, dict(found.versions)) == (
        of.metrics,
        of.options,
        of.digest,
        of.versions,
    )
    np.testing.assert_array_equal(found.scaling.means, of.scaling.means)
    np.testing.assert_array_equal(found.scaling.scales, of.scaling.scales)
    np.testing.assert_array_equal(found.calibration.recent_levels, of.calibration.recent_levels)
    np.testing.assert_array_equal(found.calibration.forecast_levels, of.calibration.forecast_levels)
    assert (found.calibration.score_mean, found.calibration.score_sd) == (1.0, 0.1)
    values = raw_windows(of, 20)
    before, after = Runner(of, "cpu", threads=1).run(values), Runner(found, "cpu", threads=1).run(values)
    np.testing.assert_array_equal(after.recent, before.recent)
    np.testing.assert_array_equal(after.forecast, before.forecast)
    np.testing.assert_array_equal(after.expected, before.expected)
    assert before.memory is not None
    assert after.memory is not None
    np.testing.assert_array_equal(after.memory, before.memory)
    assert of.history is not None
    assert found.history is not None
    for name in ("channels", "forecasts", "lengths"):
        np.testing.assert_array_equal(getattr(found.history, name), getattr(of.history, name))


def test_what_is_scaled_by_key_stays_so(tmp_path: Path) -> None:
    """The bundle says how its windows are standardised: a tenth of its scales are the floors, the runner scales nothing."""
    of = replace(bundle(), scaled_by="key")
    of.save(tmp_path / "bundle")
    found = load_bundle(tmp_path / "bundle")
    assert found.scaled_by == "key"
    assert found.version == of.version != bundle().version
    assert found.levels is not None
    np.testing.assert_array_equal(found.levels.floors, 0.1 * of.scaling.scales)
    np.testing.assert_array_equal(found.input_scaling.scales, np.ones(3))
    assert bundle().levels is None
    assert bundle().input_scaling is not found.input_scaling
    scaled = bundle().scaling.apply(raw_windows(of, 4))  # by hand instead of by the runner
    plain = Runner(bundle(), "cpu", threads=1).run(raw_windows(of, 4))
    np.testing.assert_allclose(
        Runner(found, "cpu", threads=1).run(unsquash(scaled)).recent, plain.recent, rtol=1e-3, atol=1e-5
    )


def test_how_rows_were_made_travels_in_the_bundle(tmp_path: Path) -> None:
    """As plain JSON, part of the version; a bundle without says nothing of it and is written as before."""
    said = {"source": "kafka", "meaning": {"a": 5, "b": [1.5, "x"], "c": {"y": None}}, "mechanics": {"d": True}}
    of = replace(bundle(), contract=said)
    of.save(tmp_path / "bundle")
    found = load_bundle(tmp_path / "bundle")
    assert found.contract == said
    assert found.version == of.version != bundle().version
    bundle().save(tmp_path / "before")
    assert "contract" not in json.loads((tmp_path / "before" / DESCRIPTION_FILE).read_text())
    assert load_bundle(tmp_path / "before").contract is None


@pytest.mark.parametrize("scaled_by", ["global", "key"])
def test_what_rows_count_from_stays_so(tmp_path: Path, scaled_by: ScaledBy) -> None:
    """To the last bit: rows that are stored already count from it; a bundle of before says nothing of it."""
    origins = Origins(np.array([2.412e9 + 1e-6, 0.0, -0.1])) if scaled_by == "global" else Origins(is_by_key=True)
    of = replace(bundle(), scaled_by=scaled_by, origins=origins)
    of.save(tmp_path / "bundle")
    found = load_bundle(tmp_path / "bundle")
    assert found.origins is not None
    assert found.row_origins.is_by_key == origins.is_by_key
    np.testing.assert_array_equal(found.origins.levels, origins.levels)
    assert found.version == of.version != replace(of, origins=None).version
    bundle().save(tmp_path / "before")
    assert "origins" not in json.loads((tmp_path / "before" / DESCRIPTION_FILE).read_text())["scaling"]
    assert load_bundle(tmp_path / "before").origins is None


@pytest.mark.parametrize(
    ("scaled_by", "origins", "message"),
    [
        ("global", [1.0], "scaling.origins has 1 numbers, there are 3 features"),
        ("global", "first value of the key", "scaling.origins is not a list"),
        ("key", [0.0, 0.0, 0.0], "scaling.origins is not text"),
        ("key", "mean", "scaling.origins is 'mean', this program knows"),
    ],
)
def test_origins_of_an_unknown_kind_are_refused(saved: Path, scaled_by: str, origins: Any, message: str) -> None:
    """Rows would be read as what they are not."""
    edit(saved, lambda description: description["scaling"].update(by=scaled_by, origins=origins))
    with pytest.raises(BundleError, match=message):
        load_bundle(saved)


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    number=st.floats(1e-300, 1e299),
    name=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    metric=st.floats(-1e299, 1e299),
)
def test_every_number_and_name_survives(tmp_path: Path, number: float, name: str, metric: float) -> None:
    """Decimal text must lose no bit of a scale, and feature names may be anything people write."""
    of = bundle(architecture(features=1))
    of = replace(of, features=(name,), scaling=Scaling(np.array([-number]), np.array([number])), metrics={name: metric})
    of.save(tmp_path / "bundle")
    found = load_bundle(tmp_path / "bundle")
    assert (found.scaling.means[0], found.scaling.scales[0]) == (-number, number)
    assert (found.features, found.metrics, found.version) == ((name,), {name: metric}, of.version)


def test_equal_bundles_are_equal_files(tmp_path: Path) -> None:
    """A bundle can be compared, cached and signed by its bytes; it holds no time and no machine."""
    bundle().save(tmp_path / "a")
    bundle().save(tmp_path / "b")
    for name in (WEIGHTS_FILE, DESCRIPTION_FILE):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_version_follows_the_content(tmp_path: Path) -> None:
    """Events name the version: two models under one name could not be told apart."""
    of = bundle()
    of.save(tmp_path / "bundle")
    assert load_bundle(tmp_path / "bundle").version == of.version == bundle().version
    others = [
        bundle(seed=1),
        replace(of, features=("a", "b", "c")),
        replace(of, scaling=Scaling(of.scaling.means + 1, of.scaling.scales)),
        replace(of, step_ms=1.0),
    ]
    assert len({of.version, *(other.version for other in others)}) == 5
    assert len(of.version) == 12


def test_people_can_read_it(saved: Path) -> None:
    """Whoever opens the file sees the features, the shape of the network and what training measured."""
    description = json.loads((saved / DESCRIPTION_FILE).read_text())
    assert description["features"] == ["feature 0", "feature 1", "feature 2"]
    assert description["architecture"] == {
        "kind": "lstm",
        "window_size": 12,
        "hidden_size": 8,
        "layers": 1,
        "recent_steps": 4,
        "memory_windows": 5,
        "components": 0,
    }
    assert description["training"]["metrics"] == {"validation_loss": 0.5}
    assert description["format"] == 3
    assert (saved / DESCRIPTION_FILE).read_text().count("\n") > 30


# Saving.


def test_saving_replaces_a_bundle(saved: Path) -> None:
    """Retraining into the same directory is the normal case, and leaves nothing else behind."""
    other = bundle(seed=5)
    other.save(saved)
    assert load_bundle(saved).version == other.version
    assert [entry.name for entry in saved.parent.iterdir()] == ["bundle"]


def test_saving_keeps_its_hands_off_other_directories(tmp_path: Path) -> None:
    """A mistyped --bundle must not cost anybody their files."""
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(BundleError, match="not a bundle"):
        bundle().save(tmp_path)
    assert (tmp_path / "letters.txt").read_text() == "dear"


def test_saving_into_a_file_is_refused(tmp_path: Path) -> None:
    """The same for a plain file of that name."""
    (tmp_path / "bundle").write_text("mine")
    with pytest.raises(BundleError, match="not a bundle"):
        bundle().save(tmp_path / "bundle")
    assert (tmp_path / "bundle").read_text() == "mine"


def test_saving_makes_the_way(tmp_path: Path) -> None:
    """Directories above the bundle are made; an empty one of its name is used."""
    (tmp_path / "models" / "line 1").mkdir(parents=True)
    for name in ("line 1", "line 2"):
        bundle().save(tmp_path / "models" / name)
        load_bundle(tmp_path / "models" / name)


def test_saving_through_a_link_keeps_the_link(saved: Path) -> None:
    """`current -> v3` still points to v3 after v3 was trained again."""
    link = saved.parent / "current"
    link.symlink_to("bundle")
    other = bundle(seed=5)
    other.save(link)
    assert link.is_symlink()
    assert load_bundle(saved).version == load_bundle(link).version == other.version


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """After an hour of training the reason must be plain."""
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="cannot be written"):
        bundle().save(tmp_path / "file" / "bundle")


def test_others_may_read_it(saved: Path) -> None:
    """The daemon runs as another user than the one who trains."""
    assert saved.stat().st_mode & 0o055 == 0o055


def with_lengths(of: Bundle, lengths: list[int]) -> ScoreHistory:
    """Return the history of a bundle with other lengths."""
    assert of.history is not None
    return replace(of.history, lengths=np.array(lengths))


INCONSISTENT: list[tuple[Callable[[Bundle], Bundle], str]] = [
    (lambda b: replace(b, scaling=Scaling(b.scaling.means, np.zeros(3))), "scaling.scales"),
    (lambda b: replace(b, scaling=Scaling(np.full(3, np.nan), b.scaling.scales)), "scaling.means"),
    (lambda b: replace(b, scaling=Scaling(np.ones(2), np.ones(2))), "2 numbers"),
    (lambda b: replace(b, calibration=Calibration(np.ones(3), np.zeros(3), 1.0, 1.0)), "forecast_levels"),
    (lambda b: replace(b, calibration=Calibration(np.ones(3), np.ones(3), np.inf, 1.0)), "score_mean"),
    (lambda b: replace(b, calibration=replace(b.calibration, memory_levels=None)), "memory_levels"),
    (lambda b: replace(b, calibration=replace(b.calibration, memory_levels=np.zeros(3))), "memory_levels"),
    (lambda b: replace(b, history=with_lengths(b, [9, 10])), "history.lengths"),
    (lambda b: replace(b, history=with_lengths(b, [0, 9])), "history.lengths"),
    (lambda b: replace(b, history=with_lengths(b, [9])), "history.channels has shape"),
    (lambda b: replace(b, history=with_lengths(b, [9] * 65)), "65 keys of 9 windows are out of bounds"),
    (lambda b: replace(b, step_ms=0.0), "step_ms"),
    (lambda b: replace(b, metrics={"loss": float("nan")}), "training.metrics.loss"),
    (lambda b: replace(b, weights={}), "weights"),
    (lambda b: replace(b, features=("a", "b", "a")), "twice"),
    (lambda b: replace(b, features=("a",)), "encoder.weight_ih_l0 has shape"),
]


@pytest.mark.parametrize(("spoil", "reason"), INCONSISTENT, ids=[reason for _, reason in INCONSISTENT])
def test_what_could_not_be_loaded_is_not_saved(spoil: Callable[[Bundle], Bundle], reason: str, tmp_path: Path) -> None:
    """Better no file than one that the daemon refuses at night."""
    with pytest.raises(BundleError, match=reason):
        spoil(bundle()).save(tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


# Refusals.


@pytest.mark.parametrize("name", [WEIGHTS_FILE, DESCRIPTION_FILE])
def test_a_missing_file_is_named(saved: Path, name: str) -> None:
    """Half a bundle is none."""
    (saved / name).unlink()
    with pytest.raises(BundleError, match=f"{name}: is missing"):
        load_bundle(saved)


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    """The usual mistake: a path that is not there."""
    with pytest.raises(BundleError, match=r"nowhere.*is missing"):
        load_bundle(tmp_path / "nowhere")


@pytest.mark.parametrize("position", [0, 200, -1])
def test_one_changed_byte_of_the_weights_is_noticed(saved: Path, position: int) -> None:
    """Disks and copies fail; a wrong weight would give plausible nonsense."""
    path = saved / WEIGHTS_FILE
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match=f"{WEIGHTS_FILE}: checksum"):
        load_bundle(saved)


def test_an_edited_description_is_noticed(saved: Path) -> None:
    """A scale changed by hand would change every score under an unchanged version."""
    path = saved / DESCRIPTION_FILE
    path.write_text(path.read_text().replace('"step_ms": 60000.0', '"step_ms": 60001.0'))
    with pytest.raises(BundleError, match="changed after it was written"):
        load_bundle(saved)


@pytest.mark.parametrize(
    "text",
    ["", "{", "not json", '{"step_ms": NaN}', "[" * 100_000, '{"format": 1, "x": "\xff"}', "9" * 5_000],
    ids=["empty", "cut", "text", "nan", "deep", "encoding", "long number"],
)
def test_a_broken_description_is_refused(saved: Path, text: str) -> None:
    """Neither a crash nor a guess: refused as what it is."""
    (saved / DESCRIPTION_FILE).write_bytes(text.encode("latin-1"))
    with pytest.raises(BundleError, match=f"{DESCRIPTION_FILE}: not valid JSON"):
        load_bundle(saved)


@pytest.mark.parametrize("text", ["[]", "1", "null", '"text"'])
def test_a_description_must_be_an_object(saved: Path, text: str) -> None:
    """Valid JSON is not yet a bundle."""
    (saved / DESCRIPTION_FILE).write_text(text)
    with pytest.raises(BundleError, match="not an object"):
        load_bundle(saved)


@pytest.mark.parametrize("found", [0, 1, 1_000])
def test_another_format_is_refused_first(saved: Path, found: int) -> None:
    """A bundle of a later program is told as such, not as a list of odd fields."""
    (saved / DESCRIPTION_FILE).write_text(json.dumps({"format": found, "shape": "of the future"}))
    with pytest.raises(BundleError, match=f"has format {found}, this program reads 3"):
        load_bundle(saved)


def at(path: str, value: Any) -> Callable[[Json], None]:
    """Return a change that sets the dotted `path`."""

    def change(description: Json) -> None:
        *outer, name = path.split(".")
        for part in outer:
            description = description[part]
        description[name] = value

    return change


CHANGES: list[tuple[str, Any, str]] = [
    ("architecture", 5, "architecture is not an object"),
    ("architecture.kind", "transformer", "kind is 'transformer'"),
    ("architecture.kind", ["lstm"], "architecture.kind is not text"),
    ("architecture.hidden_size", 9, "weights: .* has shape"),
    ("architecture.hidden_size", 100_000, "hidden_size is 100000"),
    ("architecture.hidden_size", True, "hidden_size is not an integer"),
    ("architecture.hidden_size", 8.0, "hidden_size is not an integer"),
    ("architecture.layers", 2, "is missing"),
    ("architecture.layers", 0, "layers is 0"),
    ("architecture.window_size", 10**9, "window_size is 1000000000"),
    ("architecture.recent_steps", 13, "recent_steps is 13"),
    ("architecture.kind", "gru", "has shape"),
    ("scaling.by", "moon", "scaling.by is 'moon'"),
    ("scaling.by", 1, "scaling.by is not text"),
    ("features", ["a", "b"], "has shape|2 features"),
    ("features", ["a", "b", "c", "d"], "4 features|has shape"),
    ("features", ["a", "b", "b"], "twice"),
    ("features", ["a", "b", 3], r"features\[2\] is not text"),
    ("features", "abc", "features is not a list"),
    ("features", [], "features is 0"),
    ("features", ["x"] * 5_000, "features is 5000"),
    ("features", ["a", "b", "\ud800"], r"features\[2\] is not valid text"),
    ("scaling.means", [1, 2], "scaling.means has 2 numbers"),
    ("scaling.means", {"a": 1}, "scaling.means is not a list"),
    ("scaling.means", [1, 2, "3"], r"scaling.means\[2\] is not a finite number"),
    ("scaling.means", [1, 2, True], r"scaling.means\[2\] is not a finite number"),
    ("scaling.means", [1, 2, 10**400], r"scaling.means\[2\] is not a finite number"),
    ("scaling.scales", [1, 2, 0], r"scaling.scales\[2\] is 0, must be above 0"),
    ("scaling.scales", [1, 2, -1], r"scaling.scales\[2\] is -1, must be above 0"),
    ("calibration.recent_levels", [1, 1], "calibration.recent_levels has 2 numbers"),
    ("calibration.forecast_levels", [1, 1, 0], "must be above 0"),
    ("calibration.score_sd", None, "calibration.score_sd is not a finite number"),
    ("step_ms", 0, "step_ms is 0"),
    ("step_ms", "60 s", "step_ms is not a finite number"),
    ("training.metrics", {"loss": "low"}, "training.metrics.loss is not a finite number"),
    ("training.options", {"kind": {"evil": 1}}, "training.options.kind is not a plain value"),
    ("training.data_sha256", 1, "training.data_sha256 is not text"),
    ("versions", [], "versions is not an object"),
    ("contract", [], "contract is not an object"),
    ("contract", None, "contract is not an object"),
    ("contract", {"a": {"b": [1, "\ud800"]}}, r"contract.a.b\[1\] is not valid text"),
    ("contract", {"a": {"\ud800": 1}}, "a name in contract.a is not valid text"),
    ("contract", {"a": 10**400}, "contract.a is not a finite number"),
    ("contract", {"a": [[[[[[[]]]]]]]}, "nested too deeply"),
    ("weights.sha256", "0" * 64, "checksum"),
    ("weights.sha256", None, "weights.sha256 is not text"),
]


@pytest.mark.parametrize(("path", "value", "reason"), CHANGES, ids=[f"{p}={str(v)[:20]!a}" for p, v, _ in CHANGES])
def test_a_field_that_does_not_fit_is_named(saved: Path, path: str, value: Any, reason: str) -> None:
    """Even a description with a fitting version is checked field by field."""
    edit(saved, at(path, value))
    with pytest.raises(BundleError, match=reason):
        load_bundle(saved)


@pytest.mark.parametrize(
    "path",
    [
        "architecture",
        "architecture.window_size",
        "features",
        "scaling.scales",
        "calibration.score_mean",
        "weights",
        "weights.sha256",
        "training.metrics",
        "step_ms",
        "versions",
    ],
)
def test_a_missing_field_is_named(saved: Path, path: str) -> None:
    """No default stands in for what training should have written."""

    def remove(description: Json) -> None:
        *outer, name = path.split(".")
        for part in outer:
            description = description[part]
        del description[name]

    edit(saved, remove)
    with pytest.raises(BundleError, match=f"{path} is missing"):
        load_bundle(saved)


def tensors() -> dict[str, np.ndarray[Any, Any]]:
    """Return all tensors of a good bundle, writable."""
    of = bundle()
    assert of.history is not None
    history = {"history.channels": of.history.channels, "history.forecasts": of.history.forecasts}
    return {name: array.copy() for name, array in (dict(of.weights) | history).items()}


WEIGHT_CHANGES: list[tuple[Callable[[Json], object], str]] = [
    (lambda w: w.pop("forecast.bias"), "forecast.bias is missing"),
    (lambda w: w.update(extra=np.zeros(1, np.float32)), "extra is not part"),
    (lambda w: w.update({"forecast.bias": np.zeros(4, np.float32)}), "has shape"),
    (lambda w: w.update({"forecast.bias": np.zeros((3, 1), np.float32)}), "has shape"),
    (lambda w: w.update({"forecast.bias": np.zeros(3, np.float64)}), "is float64"),
    (lambda w: w.update({"forecast.bias": np.zeros(3, np.int32)}), "is int32"),
    (lambda w: w["forecast.bias"].fill(np.nan), "not finite"),
    (lambda w: w["encoder.weight_hh_l0"].fill(np.inf), "not finite"),
    (lambda w: w["memory.windows"].fill(np.nan), "not finite"),
    (lambda w: w["history.channels"].fill(np.nan), "not finite"),
    (lambda w: w.pop("history.forecasts"), "history.forecasts is missing"),
]


@pytest.mark.parametrize(("change", "reason"), WEIGHT_CHANGES, ids=[reason for _, reason in WEIGHT_CHANGES])
def test_weights_that_do_not_fit_are_named(saved: Path, change: Callable[[Json], object], reason: str) -> None:
    """Names, shapes, types and numbers are checked before torch sees any of them."""
    weights = tensors()
    change(weights)
    replace_weights(saved, save(weights))
    with pytest.raises(BundleError, match=reason):
        load_bundle(saved)


class Bomb:
    """Unpickling this would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_is_refused_and_not_run(saved: Path, tmp_path: Path) -> None:
    """Model files of other tools are programs; ours never are."""
    replace_weights(saved, pickle.dumps(Bomb(tmp_path / "owned")))
    with pytest.raises(BundleError, match="not a safetensors file"):
        load_bundle(saved)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff" * 8, (2**40).to_bytes(8, "little") + b"{}", (2).to_bytes(8, "little") + b"[]", b"\x10"],
    ids=["empty", "huge header", "header past the end", "no object", "short"],
)
def test_a_broken_weights_file_is_refused(saved: Path, data: bytes) -> None:
    """A header that lies about sizes must not make us allocate them."""
    replace_weights(saved, data)
    with pytest.raises(BundleError, match=r"not a safetensors file|is missing"):
        load_bundle(saved)


def test_tensor_types_numpy_does_not_know_are_refused(saved: Path) -> None:
    """bfloat16 weights are somebody else's format."""
    header = json.dumps({"forecast.bias": {"dtype": "BF16", "shape": [3], "data_offsets": [0, 6]}}).encode()
    replace_weights(saved, len(header).to_bytes(8, "little") + header + bytes(6))
    with pytest.raises(BundleError):
        load_bundle(saved)


# Hostile files.


@pytest.mark.parametrize("name", [WEIGHTS_FILE, DESCRIPTION_FILE])
def test_a_link_out_of_the_directory_is_refused(saved: Path, tmp_path: Path, name: str) -> None:
    """A bundle from elsewhere must not read the host's files under its own name."""
    outside = tmp_path / "outside"
    (saved / name).rename(outside)
    (saved / name).symlink_to(outside)
    with pytest.raises(BundleError, match=f"{name}: is a link that leaves"):
        load_bundle(saved)


def test_links_inside_the_directory_are_fine(saved: Path) -> None:
    """Kubernetes mounts every file of a volume as a link to a hidden directory beside it."""
    data = saved / "..data"
    data.mkdir()
    for name in (WEIGHTS_FILE, DESCRIPTION_FILE):
        (saved / name).rename(data / name)
        (saved / name).symlink_to(Path("..data") / name)
    assert load_bundle(saved).version == bundle().version


def test_a_loop_of_links_is_refused(saved: Path) -> None:
    """Links to each other end in a reason, not in recursion."""
    (saved / WEIGHTS_FILE).unlink()
    (saved / WEIGHTS_FILE).symlink_to("other")
    (saved / "other").symlink_to(WEIGHTS_FILE)
    with pytest.raises(BundleError, match=WEIGHTS_FILE):
        load_bundle(saved)


@pytest.mark.timeout(10)
def test_a_pipe_does_not_hang_the_daemon(saved: Path) -> None:
    """Opening a named pipe would wait for a writer for ever."""
    (saved / DESCRIPTION_FILE).unlink()
    os.mkfifo(saved / DESCRIPTION_FILE)
    with pytest.raises(BundleError, match="not a regular file"):
        load_bundle(saved)


def test_a_directory_in_place_of_a_file_is_refused(saved: Path) -> None:
    """Whatever stands there, the answer is a reason."""
    (saved / WEIGHTS_FILE).unlink()
    (saved / WEIGHTS_FILE).mkdir()
    with pytest.raises(BundleError, match=WEIGHTS_FILE):
        load_bundle(saved)


def test_a_file_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    """`--bundle model.safetensors` is a likely slip."""
    (tmp_path / "bundle").write_text("")
    with pytest.raises(BundleError, match="cannot be read"):
        load_bundle(tmp_path / "bundle")


def test_an_unreadable_amount_of_description_is_refused_unread(saved: Path) -> None:
    """Sizes are checked before reading: a sparse file of terabytes costs nothing to make."""
    os.truncate(saved / DESCRIPTION_FILE, MAX_DESCRIPTION_BYTES + 1)
    with pytest.raises(BundleError, match=f"at most {MAX_DESCRIPTION_BYTES:,}"):
        load_bundle(saved)


def test_weights_larger_than_the_architecture_are_refused_unread(saved: Path) -> None:
    """The description says how large the weights can be."""
    os.truncate(saved / WEIGHTS_FILE, 2**40)
    with pytest.raises(BundleError, match=r"has 1,099,511,627,776 bytes"):
        load_bundle(saved)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_random_damage_never_gets_through(saved: Path, data: st.DataObject) -> None:
    """Whatever bytes change, either the same bundle comes back or a BundleError."""
    name = data.draw(st.sampled_from([WEIGHTS_FILE, DESCRIPTION_FILE]))
    original = (saved / name).read_bytes()
    start = data.draw(st.integers(0, len(original)))
    stop = data.draw(st.integers(start, min(start + 20, len(original))))
    patch = data.draw(st.binary(max_size=20))
    try:
        (saved / name).write_bytes(original[:start] + patch + original[stop:])
        assert load_bundle(saved).version == bundle().version
    except BundleError:
        pass
    finally:
        (saved / name).write_bytes(original)
