"""`python -m scripts.verify.model_check`: play random schedules against the checkpoint protocol, and print what broke."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from scripts.verify.model_check.check import cells, complaints, run, table
from scripts.verify.model_check.protocols import AS_BUILT, MIXES, VARIANTS
from scripts.verify.model_check.schedules import play
from streamae.observe.progress import Display


def show(name: str, mix: str, seed: int) -> int:
    """Print one schedule move by move."""
    protocol = next(protocol for protocol in (AS_BUILT, *VARIANTS) if protocol.name == name)
    trace: list[str] = []
    verdict = play(protocol, mix, seed, trace)
    print(*trace, verdict, sep="\n")
    return int(bool(verdict))


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 1 when the protocol as built broke, or a variant did not; 0 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m scripts.verify.model_check", description=__doc__)
    parser.add_argument("--schedules", type=int, default=50_000, help="altogether (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed plays the same schedules")
    parser.add_argument("--protocol", default=AS_BUILT.name, help="for --show (default: %(default)s)")
    parser.add_argument("--mix", choices=MIXES, default=MIXES[-1], help="for --show (default: %(default)s)")
    parser.add_argument("--show", type=int, metavar="SEED", help="print one schedule instead")
    chosen = parser.parse_args(arguments)
    if chosen.show is not None:
        return show(chosen.protocol, chosen.mix, chosen.show)
    started = time.monotonic()
    total = sum(cell.schedules for cell in cells(chosen.schedules))
    with Display(sys.stderr, total) as display:
        played = run(chosen.schedules, chosen.seed, lambda done: display.show(done, f"{done:,} of {total:,} schedules"))
    print(*table(played), sep="\n")
    schedules, seconds = sum(cell.schedules for cell in played), time.monotonic() - started
    print(f"{schedules:,} schedules in {seconds:.0f} s, seed {chosen.seed}")
    wrong = complaints(played)
    print(*wrong, sep="\n", end="\n" if wrong else "")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
