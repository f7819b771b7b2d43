"""From the model settings to the model on its device, and what happens when the device fails.

The framework loads only here, when the model is built: it takes seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from streamae.engine.stages import WindowModel
from streamae.errors import ConfigError, StreamaeError
from streamae.model.architecture import BASELINES
from streamae.model.bundle import Bundle
from streamae.observe.listener import SILENT, Listener
from streamae.observe.logs import get_logger
from streamae.settings.serving import ModelSettings

if TYPE_CHECKING:
    from streamae.model.runner import Network, Runner


def build_runner(
    bundle: Bundle,
    model: ModelSettings,
    listener: Listener = SILENT,
    *,
    stride: int,
    latent: bool,
    network: Network | None = None,
) -> WindowModel:
    """Put the model on the configured device; with `model.fallback = "cpu"`, behind it the CPU.

    Args:
        bundle: what to serve.
        model: where and how to run it.
        listener: told when the CPU takes over.
        stride: rows between two windows of a key.
        latent: whether the codes of windows are wanted.
        network: stands in for the bundle's on the configured device only.

    Raises:
        ConfigError: cuda is asked for, there is none, and nothing to fall back to; or codes of a network without.
        DeviceError: the device fails at once, and nothing to fall back to.
    """
    from streamae.model.fallback import FallbackRunner
    from streamae.model.runner import Runner

    if latent and bundle.architecture.kind in BASELINES:  # no device can help
        raise ConfigError(
            [f"output.latent: the bundle's kind is {bundle.architecture.kind}, which has no code: leave latent off"]
        )

    def on(device: Literal["auto", "cpu", "cuda"], network: Network | None = None) -> Runner:
        return Runner(
            bundle,
            device=device,
            chunk_size=model.cpu_chunk_size,
            threads=model.threads,
            stride=stride,
            network=network,
            latent=latent,
        )

    def tell(error: StreamaeError) -> None:
        listener.device_fallback()
        listener.bundle(bundle.version, "cpu")
        get_logger().error(
            "device_fallback", error=str(error), remedy="scoring goes on, slower; restart once the device works again"
        )

    if model.fallback == "none":
        return on(model.device, network)
    return FallbackRunner(lambda: on(model.device, network), lambda: on("cpu"), tell)
