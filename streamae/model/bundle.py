"""A trained model as a directory: `model.safetensors` with the weights, `bundle.json` with all the rest.

Loading treats the directory as hostile: nothing in it is ever executed, sizes are bounded before anything is
allocated, and whatever does not fit together is refused with its reason. This module knows nothing about devices,
inference or training; weights are numpy arrays here.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import numpy as tensor_files

from streamae.batches import Flags
from streamae.core.encoding import Encoding
from streamae.core.key_levels import KeyLevels
from streamae.core.origins import ZERO, Origins
from streamae.core.scaling import Scaling
from streamae.core.scoring import Calibration, ScoreHistory
from streamae.errors import BundleError
from streamae.model.architecture import Architecture
from streamae.model.architecture_schema import describe_architecture, read_architecture
from streamae.model.bundle_schema import Fields
from streamae.model.encoding_schema import describe_encoding, read_encoding
from streamae.model.scaling_schema import ScaledBy, describe_scaling, read_scaling

FORMAT = 3
WEIGHTS_FILE, DESCRIPTION_FILE = "model.safetensors", "bundle.json"
MAX_DESCRIPTION_BYTES = 16 * 2**20
MAX_HEADER_BYTES = 2**20  # of the weights file, beyond the weights themselves
VERSION_DIGITS = 12
HISTORY_CHANNELS, HISTORY_FORECASTS = "history.channels", "history.forecasts"  # tensors beside those of the network
MAX_HISTORY_KEYS, MAX_HISTORY_WINDOWS = 64, 16_384
MAX_HISTORY_CELLS = 2**26  # of all keys, windows and features: 256 MiB

Scalar = str | int | float | bool | None


@dataclass(frozen=True, eq=False)
class Bundle:
    """A trained model with everything needed to serve it.

    Attributes:
        architecture: decides names and shapes of the weights.
        features: F names in input order.
        scaling: of the features; where each key is scaled by its own level, the spread inside of training keys.
        calibration: error levels on data the weights were not fitted on.
        weights: name to float32 array, exactly `architecture.shapes()`.
        step_ms: usual time between two rows of the training data, > 0.
        metrics: what training measured, for people.
        options: what training was asked to do, for people.
        digest: SHA-256 of the training data, hexadecimal.
        versions: of the programs that trained it.
        history: scores of training rows, what threshold rules begin new keys with; None = there is none.
        encoding: how inputs become features; None = the inputs are the features.
        scaled_by: `global`, or `key`: windows are standardised by each key's own running level (`core/key_levels.py`).
        contract: how its rows were made, as plain JSON; what it says, `settings/contract.py` knows. None = not known.
        origins: what stored rows count from; None = trained before there were any.
    """

    architecture: Architecture
    features: tuple[str, ...]
    scaling: Scaling
    calibration: Calibration
    weights: Mapping[str, NDArray[np.float32]]
    step_ms: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    options: Mapping[str, Scalar] = field(default_factory=dict)
    digest: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    history: ScoreHistory | None = None
    encoding: Encoding | None = None
    scaled_by: ScaledBy = "global"
    contract: Mapping[str, Any] | None = None
    origins: Origins | None = None

    @property
    def row_origins(self) -> Origins:
        """What stored rows count from."""
        return self.origins or ZERO

    @property
    def exact_rows(self) -> Flags:
        """Features, one flag each or one for all, whose values keep 64 bits from the codec up to the rows."""
        is_exact = self.row_origins.is_exact
        return is_exact if self.encoding is None else self.encoding.exact_rows(is_exact)

    @property
    def input_scaling(self) -> Scaling:
        """What the runner scales windows by; those that come standardised by key it leaves as they are."""
        if self.scaled_by == "global":
            return self.scaling.from_origins(self.row_origins.levels)
        return Scaling.unit(len(self.features))

    @property
    def levels(self) -> KeyLevels | None:
        """How keys learn their own levels; None where scaling is the same for all."""
        if self.scaled_by == "global":
            return None
        return KeyLevels.of(self.scaling, self.encoding.least_scales if self.encoding else None)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of what a record holds: numeric fields, then category fields."""
        return self.features if self.encoding is None else self.encoding.inputs

    @property
    def numbers(self) -> tuple[str, ...]:
        """Names of the numeric fields of a record."""
        return self.features if self.encoding is None else self.encoding.fields

    @property
    def words(self) -> tuple[str, ...]:
        """Names of the category fields of a record."""
        return () if self.encoding is None else tuple(known.field for known in self.encoding.categories)

    @cached_property
    def version(self) -> str:
        """Short digest of the whole content: equal bundles, and only those, have equal versions."""
        return _version(_describe(self, _weights_bytes(self)))

    def save(self, directory: Path) -> None:
        """Write the bundle under another name, then rename: a crash leaves the old bundle or the new one.

        A bundle that is already there is replaced; who reads just then may find none for an instant, or be told
        that checksums differ, but never takes a mixture. Any other non-empty directory is left alone.

        Raises:
            BundleError: the content is not consistent, the place holds something else, or it cannot be written.
        """
        weights = _weights_bytes(self)
        description = _describe(self, weights)
        _assemble(description, _tensors(self))
        directory = directory.resolve()  # a link to the directory stays a link
        if directory.exists() and not _is_replaceable(directory):
            raise BundleError(f"{directory}: holds something that is not a bundle: give another --bundle directory")
        try:
            directory.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
            try:
                _write(temporary / WEIGHTS_FILE, weights)
                text = json.dumps(description | {"version": _version(description)}, indent=2, ensure_ascii=False)
                _write(temporary / DESCRIPTION_FILE, f"{text}\n".encode())
                temporary.chmod(0o755)
                _put_in_place(temporary, directory)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        except OSError as error:
            raise BundleError(f"{directory}: cannot be written: {error}") from error


def load_bundle(directory: Path) -> Bundle:
    """Read and check a bundle. Safe on files from anyone: reads two regular files inside `directory`, runs nothing.

    Raises:
        BundleError: a file is missing, too large, a link out of the directory, changed since it was written, of
            another format, or its parts do not fit together. The message names the file and the reason.
    """
    text = _read(directory, DESCRIPTION_FILE, MAX_DESCRIPTION_BYTES)
    where = directory / DESCRIPTION_FILE
    try:
        description = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where}: not valid JSON: {error}") from error
    try:
        fields = Fields(description)
        if (found := fields.integer("format")) != FORMAT:
            raise BundleError(f"has format {found}, this program reads {FORMAT}: train again")
        version = fields.text("version")
        del description["version"]
        if version != _version(description):
            raise BundleError("was changed after it was written (version does not match the content)")
        architecture = read_architecture(fields)
        history_bytes = sum(4 * math.prod(shape) for shape in _history_shapes(fields, architecture.features).values())
        expected = fields.section("weights").text("sha256")
    except BundleError as error:
        raise BundleError(f"{where}: {error}") from None
    most = 4 * architecture.parameters() + history_bytes + MAX_HEADER_BYTES
    data = _read(directory, WEIGHTS_FILE, most)
    if hashlib.sha256(data).hexdigest() != expected:
        raise BundleError(f"{directory / WEIGHTS_FILE}: checksum does not match {DESCRIPTION_FILE}")
    try:
        weights = tensor_files.load(data)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{directory / WEIGHTS_FILE}: not a safetensors file: {error}") from error
    try:
        return _assemble(description, weights)
    except BundleError as error:
        raise BundleError(f"{directory}: {error}") from None


def _describe(bundle: Bundle, weights: bytes) -> dict[str, Any]:
    """Return what `bundle.json` says, without its version."""
    calibration = bundle.calibration
    return {
        "format": FORMAT,
        "architecture": describe_architecture(bundle.architecture),
        "features": list(bundle.features),
        "step_ms": float(bundle.step_ms),
        "scaling": describe_scaling(bundle.scaling, bundle.scaled_by, bundle.origins),
        "calibration": {
            "recent_levels": calibration.recent_levels.tolist(),
            "forecast_levels": calibration.forecast_levels.tolist(),
            "score_mean": float(calibration.score_mean),
            "score_sd": float(calibration.score_sd),
            "memory_levels": [] if calibration.memory_levels is None else calibration.memory_levels.tolist(),
        },
        "history": {
            "windows": 0 if bundle.history is None else bundle.history.forecasts.shape[1],
            "lengths": [] if bundle.history is None else bundle.history.lengths.tolist(),
        },
        "weights": {"file": WEIGHTS_FILE, "sha256": hashlib.sha256(weights).hexdigest()},
        "training": {"data_sha256": bundle.digest, "options": dict(bundle.options), "metrics": dict(bundle.metrics)},
        "versions": dict(bundle.versions),
        **({} if bundle.encoding is None else {"encoding": describe_encoding(bundle.encoding)}),
        **({} if bundle.contract is None else {"contract": dict(bundle.contract)}),
    }


def _assemble(description: dict[str, Any], weights: dict[str, NDArray[Any]]) -> Bundle:
    """Check that all parts fit together and return them as a bundle.

    Raises:
        BundleError: they do not; the message names the part.
    """
    fields = Fields(description)
    architecture = read_architecture(fields)
    count = architecture.features
    names = fields.texts("features")
    if len(set(names)) != count:
        raise BundleError("features: a name stands twice")
    levels, training = fields.section("calibration"), fields.section("training")
    history_shapes = _history_shapes(fields, count)
    _check_weights(architecture.shapes() | history_shapes, weights)
    scaling, scaled_by, origins = read_scaling(fields.section("scaling"), count)
    lengths = np.array(fields.section("history").integers("lengths"), dtype=np.int64)
    return Bundle(
        architecture,
        names,
        scaling,
        Calibration(
            levels.numbers("recent_levels", count, above=0.0),
            levels.numbers("forecast_levels", count, above=0.0),
            levels.number("score_mean"),
            levels.number("score_sd"),
            levels.numbers("memory_levels", count, above=0.0) if architecture.memory_windows else None,
        ),
        {name: tensor for name, tensor in weights.items() if name not in history_shapes},
        fields.number("step_ms", above=0.0),
        training.floats("metrics"),
        training.scalars("options"),
        training.text("data_sha256"),
        {name: str(value) for name, value in fields.scalars("versions").items()},
        ScoreHistory(weights[HISTORY_CHANNELS], weights[HISTORY_FORECASTS], lengths) if history_shapes else None,
        read_encoding(fields.section("encoding"), names) if "encoding" in description else None,
        scaled_by,
        fields.section("contract").plain() if fields.has("contract") else None,
        origins,
    )


def _history_shapes(fields: Fields, features: int) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the history's tensors, none where there is no history.

    Raises:
        BundleError: lengths or sizes are out of bounds.
    """
    history = fields.section("history")
    windows, lengths = history.integer("windows"), history.integers("lengths")
    if not lengths:
        return {}
    if not 1 <= windows <= MAX_HISTORY_WINDOWS or len(lengths) > MAX_HISTORY_KEYS:
        raise BundleError(f"history: {len(lengths)} keys of {windows} windows are out of bounds")
    if len(lengths) * windows * features > MAX_HISTORY_CELLS:
        raise BundleError(f"history: {len(lengths)} keys of {windows} windows are too many for {features} features")
    if not all(1 <= length <= windows for length in lengths):
        raise BundleError(f"history.lengths: every length lies between 1 and {windows}")
    return {HISTORY_CHANNELS: (len(lengths), windows, features), HISTORY_FORECASTS: (len(lengths), windows)}


def _check_weights(shapes: dict[str, tuple[int, ...]], weights: dict[str, NDArray[Any]]) -> None:
    if missing := sorted(shapes.keys() - weights.keys()):
        raise BundleError(f"weights: {missing[0]} is missing")
    if extra := sorted(weights.keys() - shapes.keys()):
        raise BundleError(f"weights: {extra[0]} is not part of this architecture")
    for name, shape in shapes.items():
        tensor = weights[name]
        if tensor.dtype != np.float32:
            raise BundleError(f"weights: {name} is {tensor.dtype}, not float32")
        if tensor.shape != shape:
            raise BundleError(f"weights: {name} has shape {tensor.shape}, the architecture says {shape}")
        if not np.isfinite(tensor).all():
            raise BundleError(f"weights: {name} holds a value that is not finite")


def _tensors(bundle: Bundle) -> dict[str, NDArray[Any]]:
    """Return everything the weights file holds."""
    if bundle.history is None:
        return dict(bundle.weights)
    history = {HISTORY_CHANNELS: bundle.history.channels, HISTORY_FORECASTS: bundle.history.forecasts}
    return dict(bundle.weights) | history


def _weights_bytes(bundle: Bundle) -> bytes:
    arrays = {name: np.ascontiguousarray(tensor) for name, tensor in _tensors(bundle).items()}
    return tensor_files.save(arrays)


def _version(description: dict[str, Any]) -> str:
    canonical = json.dumps(description, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()[:VERSION_DIGITS]


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _read(directory: Path, name: str, limit: int) -> bytes:
    """Return the content of a regular file that lies, after following links, inside `directory`."""
    path = directory / name
    try:
        root = directory.resolve(strict=True)
        real = path.resolve(strict=True)
        if not real.is_relative_to(root):  # links inside it are how Kubernetes mounts volumes
            raise BundleError(f"{path}: is a link that leaves the bundle's directory")
        descriptor = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise BundleError(f"{path}: is not a regular file")
            if status.st_size > limit:
                raise BundleError(f"{path}: has {status.st_size:,} bytes, at most {limit:,} fit this bundle")
            return file.read(limit)
    except FileNotFoundError:
        raise BundleError(f"{path}: is missing") from None
    except (OSError, RuntimeError) as error:
        raise BundleError(f"{path}: cannot be read: {error}") from error


def _is_replaceable(directory: Path) -> bool:
    """Tell whether a directory is empty or holds nothing but a bundle."""
    return directory.is_dir() and {entry.name for entry in directory.iterdir()} <= {WEIGHTS_FILE, DESCRIPTION_FILE}


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _put_in_place(temporary: Path, directory: Path) -> None:
    """Rename into place; a previous bundle steps aside first and comes back if the rename fails."""
    if not directory.exists():
        temporary.rename(directory)
        return
    aside = temporary.with_name(f"{temporary.name}.old")
    directory.rename(aside)
    try:
        temporary.rename(directory)
    except OSError:
        aside.rename(directory)
        raise
    shutil.rmtree(aside)
