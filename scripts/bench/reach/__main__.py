"""`python -m scripts.bench.reach SUITE --out DIR`: every target of detection, and what is reached here.

Evaluates the shipped default, the default under two plain thresholds, and pca on a suite of labelled series; one
bundle for a whole group; and published slices beside what was published. Prints a row a target and writes the same as
`reach.csv`. What is finished is kept in DIR and not done again, so that a run can be stopped at any time.

Exit code 0 when everything could be run, whatever was reached: missed targets are figures, not failures. 1 when a
training or scoring failed, or the suite cannot be used.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.bench.reach.runs import Reach
from streamae.errors import ExitCode, StreamaeError
from streamae.settings.tree import Settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run everything, print the table, return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.bench.reach", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("suite", type=Path, metavar="SUITE", help="folder with a MANIFEST.csv and labelled series")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="for results; what is there is kept")
    parser.add_argument("--seeds", type=_positive, default=1, metavar="N", help="trainings of each (%(default)s)")
    parser.add_argument("--jobs", type=_positive, default=1, metavar="N", help="processes of one core (%(default)s)")
    parser.add_argument("--groups", type=_names, default=(), metavar="A,B", help="groups of the suite (all)")
    of = parser.parse_args(arguments)
    reach = Reach(Settings(), of.suite, of.out, of.groups, of.seeds, of.jobs, sys.stdout, sys.stderr)
    try:
        return reach.run()
    except StreamaeError as error:
        print(f"reach: {' '.join(str(error).split())}", file=sys.stderr)
        return ExitCode.FAILURE
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


if __name__ == "__main__":
    raise SystemExit(main())
