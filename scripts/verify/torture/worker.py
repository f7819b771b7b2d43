"""A worker of the torture runs: `python -m scripts.verify.torture.worker --config FILE`. The product, with a stand-in model.

The model's arithmetic is exact (see `StandIn`), so that runs can be compared bit by bit and start quickly. With
`--real-model` that of the settings is served instead. `--without` takes a guard out (see `guards`), `--hold` stops the process at
a critical place (see `holds`); the product itself has no such switches.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from scripts.verify.torture import guards, holds
from scripts.verify.torture.oracle import WINDOW
from scripts.verify.torture.workload import FEATURES, STEP_MS
from streamae.assembly.build import Parts, build_engine
from streamae.assembly.tuning import build_tuning
from streamae.batches import ErrorBatch, Floats
from streamae.core.scaling import Scaling
from streamae.core.scoring import Calibration
from streamae.daemon.reload import Changes
from streamae.daemon.service import serve
from streamae.engine.engine import Engine
from streamae.engine.stages import Tuning
from streamae.model.architecture import Architecture
from streamae.model.bundle import Bundle, load_bundle
from streamae.observe.listener import Listener
from streamae.settings.sources import load_settings
from streamae.settings.tree import Settings


class StandIn:
    """A `WindowModel`: the error of a window is the square of its newest row. Exact for small integers."""

    def run(self, values: Floats) -> ErrorBatch:
        """Return the squares twice, and 0 as expectation."""
        squares = values[:, -1] ** 2
        return ErrorBatch(squares, squares, np.zeros_like(squares))


def tiny_bundle() -> Bundle:
    """Return a bundle whose description counts: no scaling, no whitening, weights of zero."""
    architecture = Architecture("lstm", WINDOW, len(FEATURES), 2, 1, 2)
    ones = np.ones(len(FEATURES))
    return Bundle(
        architecture,
        FEATURES,
        Scaling(0 * ones, ones),
        Calibration(ones, ones, 1.0, 0.5),
        {name: np.zeros(shape, dtype=np.float32) for name, shape in architecture.shapes().items()},
        step_ms=STEP_MS,
    )


def build(settings: Settings, chosen: argparse.Namespace, listener: Listener) -> Engine:
    """Build the product's engine with a stand-in model, and hold it where asked."""
    parts = Parts() if chosen.real_model else Parts(bundle=tiny_bundle(), runner=StandIn())
    engine = build_engine(settings, listener, parts)
    holds.install(engine, chosen.hold)
    return engine


def tune(chosen: argparse.Namespace, changed: Settings) -> Tuning:
    """Make of changed settings what the engine judges by."""
    return build_tuning(changed, load_bundle(changed.model.bundle) if chosen.real_model else tiny_bundle())


def sleep_by_waiting() -> None:
    """Replace `time.sleep`: libfaketime refuses the absolute deadline that Python gives the system call."""

    def sleep(seconds: float) -> None:
        threading.Event().wait(seconds)

    time.sleep = sleep


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m scripts.verify.torture.worker", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="settings file of the product")
    parser.add_argument("--real-model", action="store_true", help="serve model.bundle instead of the stand-in")
    parser.add_argument("--without", choices=sorted(guards.REMOVALS), action="append", default=[])
    parser.add_argument(
        "--hold", type=holds.parsed, action="append", default=[], metavar="PLACE:PASSAGE:PAUSE_S[:stall]"
    )
    chosen = parser.parse_args(arguments)
    faulthandler.register(signal.SIGUSR1)  # `Worker.dump`
    if "FAKETIME_TIMESTAMP_FILE" in os.environ:
        sleep_by_waiting()
    for guard in chosen.without:
        guards.REMOVALS[guard]()
    reread = partial(load_settings, chosen.config, {}, {})
    loaded = reread()
    return int(serve(loaded, partial(build, loaded.settings, chosen), Changes(reread, partial(tune, chosen))))


if __name__ == "__main__":
    sys.exit(main())
