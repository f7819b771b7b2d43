"""A test server with PagerDuty's rules: one incident a key, open until it is resolved; a trigger after that is a new one.

It answers as Events API v2 does: 202 for what it takes, 400 for what it does not, and what a test has put in `replies`.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from scripts.services.http_server import Asked, HttpServer, Reply

ACTIONS = {"trigger", "acknowledge", "resolve"}
SEVERITIES = {"critical", "error", "warning", "info"}
MOST_BYTES = 512_000


@dataclass
class Incident:
    """What one page is about.

    Attributes:
        dedup_key: by which it is known while it is open.
        summaries: of each trigger, in order.
        severities: likewise.
        is_open: nobody has resolved it.
    """

    dedup_key: str
    summaries: list[str] = field(default_factory=list)
    severities: list[str] = field(default_factory=list)
    is_open: bool = True


class IncidentServer(HttpServer):
    """PagerDuty, as far as pages go.

    Attributes:
        incidents: all that were ever opened, in order.
        resolved_unknown: resolves of what was not open, which PagerDuty takes and ignores.
    """

    def __init__(self, routing_key: str = "R0UT1NGKEY") -> None:
        super().__init__(self._enqueue)
        self.routing_key = routing_key
        self.incidents: list[Incident] = []
        self.resolved_unknown: Counter[str] = Counter()
        self._open: dict[str, Incident] = {}  # by key: tens of thousands may be over
        self._lock = threading.Lock()

    @property
    def open_incidents(self) -> list[Incident]:
        """Those that somebody is still paged for."""
        return [incident for incident in self.incidents if incident.is_open]

    def _enqueue(self, asked: Asked) -> Reply:
        try:
            event = json.loads(asked.body)
            problem = "" if len(asked.body) <= MOST_BYTES else "too large"
        except ValueError:
            event, problem = {}, "not JSON"
        problem = problem or self._problem(event)
        if problem or asked.method != "POST" or asked.path != "/v2/enqueue":
            answer = {"status": "invalid event", "message": "Event object is invalid", "errors": [problem]}
            return Reply(400, json.dumps(answer).encode())
        with self._lock:
            self._take(event)
        return Reply(202, json.dumps({"status": "success", "dedup_key": event["dedup_key"]}).encode())

    def _problem(self, event: Any) -> str:
        if event.get("routing_key") != self.routing_key:
            return f"'routing_key' {event.get('routing_key')} is unknown"
        if event.get("event_action") not in ACTIONS:
            return "'event_action' is none"
        if not 0 < len(event.get("dedup_key") or "") <= 255:
            return "'dedup_key' is missing or too long"
        payload = event.get("payload") or {}
        if event["event_action"] == "trigger":
            if not 0 < len(payload.get("summary") or "") <= 1_024:
                return "'payload.summary' is missing or too long"
            if not payload.get("source") or payload.get("severity") not in SEVERITIES:
                return "'payload.source' or 'payload.severity' is missing or invalid"
        return ""

    def _take(self, event: dict[str, Any]) -> None:
        key = event["dedup_key"]
        incident = self._open.get(key)
        if event["event_action"] == "trigger":
            if incident is None:
                incident = self._open[key] = Incident(key)
                self.incidents.append(incident)
            incident.summaries.append(event["payload"]["summary"])
            incident.severities.append(event["payload"]["severity"])
        elif event["event_action"] == "resolve":
            if incident is None:
                self.resolved_unknown[key] += 1
            else:
                del self._open[key]
                incident.is_open = False
