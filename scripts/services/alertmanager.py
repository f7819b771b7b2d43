"""An Alertmanager on a loopback port with its own folder, which tells one web hook what it would tell people.

Must not know: an HTTP client; readiness is asked with one hand-made request.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from typing import Any

from scripts.services.process import Service, ServiceUnavailableError, ask, free_port

REMEDY = "install it (Debian: prometheus-alertmanager)"
PROGRAMS = ("prometheus-alertmanager", "alertmanager")  # of Debian, of the project itself


class Alertmanager(Service):
    """A single Alertmanager to talk to at `url`, as a context manager.

    Args:
        notify_url: web hook that is told of groups; "" = nobody is.
        group_by: labels whose alerts make one group.
        inhibit_rules: as in its configuration.
        group_wait: how long the first message of a group waits for more.

    `stop`, `kill` and `start` may be called in any order inside the block: port and folder stay the same.
    """

    def __init__(
        self,
        notify_url: str = "",
        group_by: Sequence[str] = ("...",),
        inhibit_rules: Sequence[dict[str, Any]] = (),
        group_wait: str = "100ms",
    ) -> None:
        super().__init__("alertmanager")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        hooks = [{"url": notify_url, "send_resolved": True}] if notify_url else []
        self._configuration = {
            "route": {
                "receiver": "hook",
                "group_by": list(group_by),
                "group_wait": group_wait,
                "group_interval": "200ms",
                "repeat_interval": "1h",
            },
            "inhibit_rules": list(inhibit_rules),
            "receivers": [{"name": "hook", "webhook_configs": hooks}],
        }

    def start(self) -> None:
        """Start it, or start it again on the same port and folder; wait until it serves.

        Raises:
            ServiceUnavailableError: it is not installed, or did not come up.
        """
        program = next((found for name in PROGRAMS if (found := shutil.which(name))), None)
        if program is None:
            raise ServiceUnavailableError(f"alertmanager is not installed: {REMEDY}")
        path = self.folder / "alertmanager.yml"
        path.write_text(json.dumps(self._configuration), encoding="utf-8")  # JSON is YAML
        command = [
            program,
            f"--config.file={path}",
            f"--storage.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--cluster.listen-address=",
        ]
        self.process.start(command, self._is_ready)

    def _is_ready(self) -> bool:
        return ask(self.port, b"GET /-/ready HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.0 200")
