"""Servers that alerts are sent to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scripts.services import Alertmanager
from scripts.services.http_server import HttpServer
from scripts.services.incident_server import IncidentServer
from streamae.alerting.http_client import HttpClient
from tests.conftest import running

PATIENT_MS = 20_000


@pytest.fixture
def server() -> Iterator[HttpServer]:
    """A web service that says yes until it is told otherwise."""
    with HttpServer() as server:
        yield server


@pytest.fixture
def incidents() -> Iterator[IncidentServer]:
    """A web service with PagerDuty's rules."""
    with IncidentServer() as server:
        yield server


@pytest.fixture
def client() -> Iterator[HttpClient]:
    """A client with patience."""
    client = HttpClient(PATIENT_MS)
    yield client
    client.close()


@pytest.fixture(scope="module")
def hook() -> Iterator[HttpServer]:
    """What Alertmanager tells."""
    with HttpServer() as server:
        yield server


@pytest.fixture(scope="module")
def alertmanager(hook: HttpServer) -> Iterator[Alertmanager]:
    """A real Alertmanager of one module: use fresh keys."""
    with running(Alertmanager(hook.url)) as service:
        yield service
