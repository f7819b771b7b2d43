"""Receivers for tests, built as the product builds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from streamae.alerting.receiver import Receiver
from streamae.alerting.receivers.build import build_receiver
from streamae.settings.delivery import DeliverySettings, ReceiverSettings


def built(kind: str, folder: Path, files: dict[str, str] | None = None, **given: Any) -> Receiver:
    """Return a receiver called `test`; `files` are written and set: by setting, what is in its file."""
    for setting, text in (files or {}).items():
        path = folder / setting
        path.write_text(text, encoding="utf-8")
        given[setting] = path
    alerts = given.pop("alerts", DeliverySettings())
    settings = ReceiverSettings.model_validate({"name": "test", "kind": kind, **given})
    return build_receiver(settings, alerts)
