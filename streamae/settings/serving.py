"""The settings of the process: which bundle it serves, within what bounds, and how it answers for itself.

Must not know: other sections.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from streamae.settings.section import Millis, Positive, Section


class ModelSettings(Section):
    """Which bundle to serve and where it runs."""

    bundle: Path = Field(Path("bundle"), description="Directory written by `streamae train`.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto = cuda where there is one.")
    fallback: Literal["none", "cpu"] = Field(
        "none", description="When the device fails: none ends the process, to be restarted; cpu scores on there."
    )
    threads: Annotated[int, Field(ge=0)] = Field(
        0, description="CPU threads that score chunks side by side; 0 = one a core."
    )
    max_batch_size: Positive = Field(1_024, description="Most windows of one micro-batch.")
    max_wait_ms: Annotated[int, Field(ge=0)] = Field(
        50, description="Longest time a window waits for its batch to fill."
    )
    step_budget_ms: Millis = Field(
        250, description="Model time after which a step leaves further windows to the next, to answer the group."
    )
    cpu_chunk_size: Positive = Field(256, le=256, description="Windows per forward pass on the CPU (cache-bound).")


class LimitSettings(Section):
    """Bounds that keep memory finite."""

    max_keys: Positive = Field(100_000, description="Keys with state in this process.")
    key_idle_ms: Millis = Field(86_400_000, description="A key idle this long (event time) may be evicted at the cap.")


class ServiceSettings(Section):
    """The process itself."""

    http_host: str = Field("127.0.0.1", description="Address of /livez, /readyz, /metrics and /status.")
    http_port: Annotated[int, Field(ge=0, le=65_535)] = Field(9_464, description="Port; 0 = any free one.")
    drain_timeout_ms: Millis = Field(20_000, description="After SIGTERM: time to commit, checkpoint and leave.")
    stall_timeout_ms: Millis = Field(60_000, description="No progress of the loop for this long = not alive.")
    store_grace_ms: Millis = Field(60_000, description="Checkpoints may fail this long before we are not ready.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe level logged.")
    log_format: Literal["auto", "json", "pretty"] = Field("auto", description="auto = pretty on a terminal, else JSON.")
