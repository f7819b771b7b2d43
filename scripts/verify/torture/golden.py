"""T0: the undisturbed run that all others are compared with, itself compared with the oracle."""

from __future__ import annotations

from scripts.verify.torture.context import Context
from scripts.verify.torture.report import Result


def golden(context: Context) -> Result:
    """Run the workload without a fault."""
    return context.shared.golden(context.workload)[1]
