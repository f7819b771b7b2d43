"""Services of the test session: one real Kafka and one real Redis, started when the first test asks for them.

A machine without Java, Maven or redis-server skips those tests; where `CI` or `REQUIRE_SERVICES`
is set they fail instead, so that a gate never passes by skipping. Also here: which examples Hypothesis draws, and
which lines crash sweeps try.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn, TypeVar

import pytest
import structlog
from hypothesis import settings

from scripts.services import Alertmanager, KafkaBroker, KafkaCluster, RedisServer, ServiceUnavailableError
from tests import sweeps
from tests.connectors.kafka.secured import SecuredBroker
from tests.sweeps import Sweep

AnyService = TypeVar("AnyService", KafkaBroker, SecuredBroker, KafkaCluster, RedisServer, Alertmanager)

settings.register_profile("same-everywhere", derandomize=True, deadline=None)
settings.register_profile("few", settings.get_profile("same-everywhere"), max_examples=12)  # for make test-fast
settings.load_profile("same-everywhere")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of crash sweeps and of damaged files."""
    group = parser.getgroup("crash sweeps")
    group.addoption(sweeps.OPTION_ALL, action="store_true", help="run them alone, over every line instead of a sample")
    group.addoption(sweeps.OPTION_SEED, type=int, default=0, help="of the sample of lines (default 0)")
    group = parser.getgroup("damaged files")
    group.addoption("--damaged-files", type=int, default=500, help="how many the readers are tried on (default 500)")


def pytest_report_header(config: pytest.Config) -> str:
    """Say which lines the crash sweeps try."""
    return f"crash sweeps: {sweep_of(config)}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the sweeps alone when they are to take every line."""
    if config.getoption(sweeps.OPTION_ALL):
        is_sweep = {item: "sweep" in getattr(item, "fixturenames", ()) for item in items}
        config.hook.pytest_deselected(items=[item for item in items if not is_sweep[item]])
        items[:] = [item for item in items if is_sweep[item]]
        for item in items:
            item.add_marker(pytest.mark.timeout(1_800))  # a hundred runs each, on whatever machine


def sweep_of(config: pytest.Config) -> Sweep:
    """Return what the options say."""
    return Sweep(config.getoption(sweeps.OPTION_SEED), config.getoption(sweeps.OPTION_ALL))


@pytest.fixture(scope="session")
def sweep(pytestconfig: pytest.Config) -> Sweep:
    """Which lines a crash sweep tries."""
    return sweep_of(pytestconfig)


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Take back what a test has set up for logging, or later tests would find its lines in their output."""
    root = logging.getLogger()
    level = root.level
    yield
    root.handlers = [handler for handler in root.handlers if not type(handler).__module__.startswith("streamae")]
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaBroker]:
    """A broker shared by the session: use fresh topic and group names, never stop it (there is `fragile_kafka`)."""
    with running(KafkaBroker()) as broker:
        yield broker


@pytest.fixture(scope="module")
def second_kafka() -> Iterator[KafkaBroker]:
    """What is behind `fragile_kafka`: a broker of one module, since each takes half a gigabyte."""
    with running(KafkaBroker()) as broker:
        yield broker


@pytest.fixture
def fragile_kafka(second_kafka: KafkaBroker) -> Iterator[KafkaBroker]:
    """A broker to be paused and killed; it serves again when the test is over."""
    yield second_kafka
    second_kafka.resume()
    second_kafka.start()


@pytest.fixture(scope="module")
def secured_kafka() -> Iterator[SecuredBroker]:
    """A broker of one module that lets its user do only what was granted: grant on fresh names only."""
    with running(SecuredBroker()) as broker:
        yield broker


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A server shared by the session: use a fresh key prefix, never flush or stop it (there is `own_redis`)."""
    with running(RedisServer()) as server:
        yield server


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A durable server of one test alone, to be stopped, paused, filled and set up badly."""
    with running(RedisServer(is_durable=True)) as server:
        yield server


@pytest.fixture
def fresh_name() -> Callable[[str], str]:
    """A function that makes names no other test uses: `fresh_name("topic")` -> "topic-3f2a9c1e7b04"."""
    return lambda prefix: f"{prefix}-{uuid.uuid4().hex[:12]}"


@contextmanager
def running(service: AnyService) -> Iterator[AnyService]:
    """Start a service, or skip the test as `start_or_skip` does; close it in the end."""
    try:
        start_or_skip(service)
        yield service
    finally:
        service.close()


def start_or_skip(service: KafkaBroker | KafkaCluster | RedisServer | Alertmanager) -> None:
    """Start a service; where that is impossible skip the test, or fail it where services are demanded."""
    try:
        service.start()
    except ServiceUnavailableError as error:
        skip_or_fail(error)


def run_tool(program: str, package: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a tool that checks files, of this Debian package; without it the test is skipped, as without a service."""
    if shutil.which(program) is None:
        skip_or_fail(ServiceUnavailableError(f"{program} is not installed (Debian: {package})"))
    return subprocess.run([program, *words], capture_output=True, text=True, timeout=60, check=False)


def skip_or_fail(error: ServiceUnavailableError) -> NoReturn:
    """Skip a test whose service is missing, or fail it where services are demanded."""
    if os.environ.get("CI") or os.environ.get("REQUIRE_SERVICES"):
        pytest.fail(f"services are required here: {error}")
    pytest.skip(str(error))
