"""Sole owner of the device: raw windows in, errors out.

Scaling, the network and the reduction to one error a feature run on the device; only (B, F) arrays come back.
This module knows nothing about keys, thresholds or when a batch is due.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, cast

import numpy as np
import torch
from torch import Tensor

from streamae.batches import ErrorBatch, Floats
from streamae.core.scaling import squash
from streamae.errors import ConfigError, DeviceError, FatalError
from streamae.model.architecture import MEMORY, TRAINED, is_of_network
from streamae.model.baselines import Heads
from streamae.model.bundle import Bundle
from streamae.model.companion import load_companion
from streamae.model.encoder_decoder import EncoderDecoder, head_errors
from streamae.model.networks import network_of
from streamae.model.remembered_windows import Memory

# Batches are filled up to a multiple of this. Recurrent GPU kernels want 8, and on the CPU it makes the errors of a
# window bit-equal whatever shares its batch: matrix products of fewer rows take other code paths (measured: of 2 to 7
# rows on an AMD EPYC, of 8 too on an Intel Xeon with AMX).
ROW_MULTIPLE = 16
MAX_CPU_CHUNK = 256  # larger ones fall out of the cache: 0.65 to 0.8 of the speed
CUDA_CHUNK = 8_192
MAX_FLOAT = 3e38

Network = Callable[[Tensor, int, int], Heads]


class Runner:
    """Runs the network of a bundle.

    Errors of a window depend on that window alone: on the CPU bit by bit (measured: any chunk size, order and
    company, one or two threads), on a GPU up to rounding. Not thread-safe. Keeps no state between calls but the chunk
    size, which is halved, for good, each time the device runs out of memory.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        chunk_size: int = MAX_CPU_CHUNK,
        threads: int = 0,
        stride: int = 1,
        network: Network | None = None,
        *,
        latent: bool = False,
    ) -> None:
        """Load the bundle's weights onto the device and run one small batch, so that the first real one is not slow.

        Args:
            bundle: what to serve.
            device: `auto` = cuda where there is one.
            chunk_size: windows per forward pass on the CPU, at most `MAX_CPU_CHUNK`; a GPU takes `CUDA_CHUNK`.
            threads: on the CPU, chunks run side by side on that many, 0 = one a core; torch's own threads inside an
                operation are switched off, for the whole process: for networks of this size waiting for each
                other costs them more than they gain, and on a busy machine nearly everything.
            stride: rows between two windows of a key: so many forecasts are new in each window.
            network: stands in for `Autoencoder.forward` (same arguments and results), on the same device.
            latent: return the code of each window too, which costs nothing but its transfer.

        Raises:
            ConfigError: cuda is asked for and there is none, or a code of a network that has none.
            DeviceError: the device does not work.
        """
        self.bundle = bundle
        self._device = choose_device(device)
        is_cuda = self._device.type == "cuda"
        self._threads = 1 if is_cuda else threads or usable_cores()
        if not is_cuda:
            torch.set_num_threads(1)
        self._pool = (
            ThreadPoolExecutor(self._threads, "runner", torch.set_num_threads, (1,)) if self._threads > 1 else None
        )
        self._chunk_size = _round_up(CUDA_CHUNK if is_cuda else min(chunk_size, MAX_CPU_CHUNK))
        self._recent_steps = bundle.architecture.recent_steps
        self._forecast_steps = min(stride, bundle.architecture.window_size - 1)
        try:
            self._means = torch.from_numpy(bundle.input_scaling.means.copy()).to(self._device)  # (F,) float64
            self._scales = torch.from_numpy(bundle.input_scaling.scales.copy()).to(self._device)  # (F,) float64
            self._network = network or self._load()
            self._coder = self._network if latent and isinstance(self._network, EncoderDecoder) else None
            self._memory = self._load_memory()
            self._companion = load_companion(bundle.architecture, bundle.weights, self._device)
        except RuntimeError as error:
            raise DeviceError(f"{self._device}: {error}") from error
        if latent and self._coder is None:
            raise ConfigError([f"output.latent: {bundle.architecture.kind} has no code: use {', '.join(TRAINED)}"])
        size, features = bundle.architecture.window_size, bundle.architecture.features
        self.run(np.zeros((1, size, features), dtype=np.float32))

    @property
    def device_name(self) -> str:
        """`cpu`, or the name of the GPU."""
        return torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else "cpu"

    @property
    def chunk_size(self) -> int:
        """Most windows of one forward pass now."""
        return self._chunk_size

    def run(self, values: Floats) -> ErrorBatch:
        """Return the errors of each window, in the same order.

        Args:
            values: (B, W, F) float32 in the features' own units, or standardised (`core.key_levels.standardised`)
                where the bundle is scaled by key; oldest step first, no NaN; B >= 0.

        Returns:
            Errors (B, F), what was expected in the units of `values`; with B = 0 empty arrays.

        Raises:
            DeviceError: the device failed, or has too little memory for `ROW_MULTIPLE` windows.
            FatalError: an error is not finite.
        """
        while (found := self._try(values)) is None:
            self._halve()
        joined, latent = found
        if not np.isfinite(joined).all() or (latent is not None and not np.isfinite(latent).all()):
            raise FatalError("the model returned an error that is not finite: windows must be finite and complete")
        expected = self.bundle.input_scaling.invert(joined[2])
        return ErrorBatch(joined[0], joined[1], expected, joined[3] if self._memory else None, latent)

    def _try(self, values: Floats) -> tuple[Floats, Floats | None] | None:
        """Return all errors (3 or 4, B, F) and codes (B, L), in chunks of the present size; None = out of memory."""
        share = _round_up(-(-len(values) // self._threads))  # no thread is idle while there is work
        size = max(1, min(self._chunk_size, share))
        chunks = [values[start : start + size] for start in range(0, len(values), size)]
        parts = list((self._pool.map if self._pool else map)(self._try_chunk, chunks))
        found = [part for part in parts if part is not None]
        if len(found) < len(parts):
            return None
        empty = np.zeros((4 if self._memory else 3, 0, values.shape[2]), dtype=np.float32)
        latent: Floats | None = None
        if self._coder is not None:
            codes = [code for _, code in found if code is not None]
            latent = np.concatenate(codes) if codes else np.zeros((0, self._coder.code_size), dtype=np.float32)
        return np.concatenate([errors for errors, _ in found], axis=1) if found else empty, latent

    @torch.inference_mode()
    def _try_chunk(self, values: Floats) -> tuple[Floats, Floats | None] | None:
        """Return what `_errors` does of a chunk, None if out of memory."""
        rows = len(values)
        missing = _round_up(rows) - rows
        if missing:
            values = np.concatenate([values, np.repeat(values[-1:], missing, axis=0)])
        try:
            raw = torch.from_numpy(np.ascontiguousarray(values)).to(self._device)  # (B, W, F)
            found, code = self._errors(raw)
            errors: Floats = found[:, :rows].cpu().numpy()
            latent: Floats | None = None if code is None else code[:rows].cpu().numpy()
        except RuntimeError as error:  # torch.OutOfMemoryError is one of them
            if "out of memory" not in str(error).lower():
                raise DeviceError(f"{self._device}: {error}") from error
            return None
        return errors, latent

    def _errors(self, raw: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return recent errors, forecast errors, scaled forecast and, if there is one, memory's distances (3|4, B, F).

        With them the code (B, L) where it is asked for.
        """
        standard = ((raw.double() - self._means) / self._scales).float()  # (B, W, F); squashing in 64 bits costs double
        scaled = squash(standard.clamp(-MAX_FLOAT, MAX_FLOAT), torch)  # (B, W, F), finite for every finite input
        code: Tensor | None = None
        if self._coder is None:
            reconstruction, forecasts = self._network(scaled, self._recent_steps, self._forecast_steps)
        else:  # the same two steps, with a look in between
            code, forecasts = self._coder.encode(scaled, self._forecast_steps)
            reconstruction = self._coder.decode(code, self._recent_steps)
        found = head_errors(scaled, reconstruction, forecasts)
        if self._companion is not None:
            linear = head_errors(scaled, *self._companion(scaled, self._recent_steps, self._forecast_steps))
            found = self._companion.joined(found, linear)
        expected = forecasts if forecasts is not None else reconstruction
        assert expected is not None  # a network has one head at least
        found.append(expected[:, -1])
        return torch.stack([*found, self._memory.distances(scaled)] if self._memory else found), code

    def _halve(self) -> None:
        if self._chunk_size <= ROW_MULTIPLE:
            raise DeviceError(f"{self._device}: out of memory with only {ROW_MULTIPLE} windows in a batch")
        self._chunk_size = max(ROW_MULTIPLE, self._chunk_size // 2 // ROW_MULTIPLE * ROW_MULTIPLE)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _load(self) -> Network:
        with torch.device("meta"):  # no throw-away initial weights, no draw from the process's random numbers
            network = network_of(self.bundle.architecture)
        arrays = {name: array for name, array in self.bundle.weights.items() if is_of_network(name)}
        weights = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
        network.load_state_dict(weights, assign=True)
        network.requires_grad_(requires_grad=False).eval().to(self._device)
        return cast(Network, network)

    def _load_memory(self) -> Memory | None:
        windows = self.bundle.weights.get(MEMORY)
        return None if windows is None else Memory(torch.from_numpy(windows.copy()).to(self._device))


def usable_cores() -> int:
    """Return how many CPU cores this process may use; of the machine, where the platform does not know it."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_device(device: str) -> torch.device:
    """Return the device for `auto`, `cpu` or `cuda`, with full 32-bit arithmetic.

    Raises:
        ConfigError: cuda is asked for and there is none.
    """
    has_cuda = torch.cuda.is_available()
    if device == "cuda" and not has_cuda:
        raise ConfigError(["model.device: cuda, but torch sees no GPU: use auto or cpu, or check the driver"])
    chosen = torch.device("cuda" if has_cuda and device != "cpu" else "cpu")
    if chosen.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False  # 10 bits of mantissa would move scores between kinds of device
    return chosen


def _round_up(rows: int) -> int:
    return -(-rows // ROW_MULTIPLE) * ROW_MULTIPLE
