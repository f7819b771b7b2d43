"""The shape of the code base holds: layers, one home per client, a pure core, sizes, names, docstrings, honest tests.

The rules are in `architecture.py`. The first half runs each over all files, and a failure lists every file and line;
the second half feeds each rule a text that breaks it, so that no rule is a rubber stamp.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests import architecture as rules
from tests.architecture import Module

ROOT = Path(__file__).resolve().parents[1]
WAITS_FOR_REAL_TIME = "tests.waiting"


def read(folder: str) -> list[Module]:
    """Read every Python file below `folder`."""
    return [Module.read(path, ROOT) for path in sorted((ROOT / folder).rglob("*.py"))]


@pytest.fixture(scope="module")
def package() -> list[Module]:
    """Every module of the package."""
    return read("streamae")


@pytest.fixture(scope="module")
def tests() -> list[Module]:
    """Every module of the tests."""
    return read("tests")


@pytest.fixture(scope="module")
def scripts() -> list[Module]:
    """Every module of the scripts."""
    return read("scripts")


def holds(rule: Callable[[Module], list[str]], modules: Iterable[Module]) -> None:
    """Fail with everything that a rule has against the modules, a line each with its file."""
    problems = [f"{module.name.replace('.', '/')}.py: {problem}" for module in modules for problem in rule(module)]
    assert not problems, "\n".join(["", *problems])


@pytest.mark.parametrize(
    "rule",
    [rules.import_direction, rules.tree_stays_above, rules.core_is_pure, rules.clients_at_home],
    ids=lambda rule: rule.__name__,
)
def test_imports_follow_the_layers(rule: Callable[[Module], list[str]], package: list[Module]) -> None:
    """A lower layer knows no higher one nor the tree of settings, the core no outside world; a client has one home."""
    holds(rule, package)


def test_names_tell_what_is_inside(package: list[Module], scripts: list[Module]) -> None:
    """No module is a drawer for everything."""
    holds(rules.telling_name, package + scripts)


def test_modules_and_functions_stay_small(package: list[Module]) -> None:
    """A module is read in minutes, a function on one screen."""
    holds(rules.size_limits, package)


def test_public_names_are_documented(package: list[Module]) -> None:
    """Whoever uses a public name finds its contract beside it."""
    documented = rules.documented_methods(package)
    holds(lambda module: rules.docstrings(module, documented), package)


def test_tests_mock_nothing_of_ours(tests: list[Module]) -> None:
    """Tests run the code that ships."""
    holds(rules.no_mocks, tests)


def test_tests_do_not_sleep(tests: list[Module]) -> None:
    """Time is an argument; what must wait for another process uses `tests.waiting.wait_until`."""
    holds(rules.no_sleep, (module for module in tests if module.name != WAITS_FOR_REAL_TIME))


def test_tests_say_what_they_protect(tests: list[Module]) -> None:
    """A failing test explains itself."""
    holds(rules.sentences_of_tests, tests)


def test_no_room_stands_above_what_it_imports() -> None:
    """The table itself allows no way back up, and so no circle of rooms."""
    assert rules.upward_lines(rules.ROOMS) == []


def test_no_modules_import_each_other(package: list[Module]) -> None:
    """Within a room as well: a module can be read, and replaced, with what it imports."""
    assert rules.circles(package) == []


def test_every_room_is_there(package: list[Module]) -> None:
    """A line for a room that is gone would allow what nobody looks at."""
    assert {rules.room_of(module.name) for module in package} == set(rules.ROOMS)


def test_homes_of_clients_exist(package: list[Module], scripts: list[Module]) -> None:
    """A rule about a module that is gone would protect nothing."""
    names = {module.name for module in package + scripts}
    homes = {home for homes in rules.HOME_OF.values() for home in homes}
    gone = {home for home in homes if home not in names and f"{home}.__init__" not in names}
    assert gone == set()


@pytest.mark.parametrize("name", ["streamae", "streamae.cli"])
def test_importing_is_light(name: str) -> None:
    """`--help` and a library user's first import wait neither for torch nor for a client library."""
    program = (
        f"import sys, {name}; print(*sorted({{'torch', 'kafka', 'redis', 'matplotlib', 'pyarrow'}} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.split() == []


# From here on: every rule can fail, and does not fail on the nearest thing that is allowed.


def found(rule: Callable[[Module], list[str]], name: str, text: str) -> bool:
    """Tell whether `rule` has anything to say about `text` as module `name`."""
    return bool(rule(Module(name, text)))


ROOMS = {"batches": (), "core": ("batches",), "model": ("batches", "core"), "__init__": ()}


@pytest.mark.parametrize(
    ("name", "text", "is_wrong"),
    [
        ("streamae.batches", "from streamae.core.grid import RowGrid", True),
        ("streamae.core.grid", "from streamae.batches import RowBatch", False),
        ("streamae.core.grid", "from streamae.core.scaling import squash", False),
        ("streamae.core.grid", "from streamae.model.runner import Runner", True),
        ("streamae.core.grid", "from streamae import model", True),
        ("streamae.core.grid", "import streamae.model.runner", True),
        ("streamae.core.grid", "import streamae", True),
        ("streamae.core.grid", "def late():\n    from streamae.model import runner", True),
        ("streamae.core.grid", "from . import scaling", True),
        ("streamae.core.grid", "import math", False),
        ("streamae.model.runner", "from streamae.core.scaling import squash", False),
        ("streamae.model.runner", "from streamae import __version__", False),
        ("streamae.model.__init__", "from streamae.core.scaling import squash", False),
        ("streamae.drawer", "import math", True),
    ],
)
def test_import_direction_is_enforced(name: str, text: str, is_wrong: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every forbidden arrow between rooms is noticed, also inside functions; allowed ones pass."""
    monkeypatch.setattr(rules, "ROOMS", ROOMS)
    assert found(rules.import_direction, name, text) is is_wrong


@pytest.mark.parametrize(
    ("name", "text", "is_wrong"),
    [
        ("streamae.training.run", "from streamae.settings.tree import Settings", True),
        ("streamae.connectors.codec", "from streamae.settings import tree", True),
        ("streamae.connectors.codec", "def late():\n    import streamae.settings.tree", True),
        ("streamae.training.run", "from streamae.settings.training import TrainSettings", False),
        ("streamae.assembly.build", "from streamae.settings.tree import Settings", False),
        ("streamae.settings.sources", "from streamae.settings.tree import Settings", False),
        ("streamae.cli", "from streamae.settings.tree import Settings", False),
    ],
)
def test_the_tree_below_the_assembly_is_noticed(name: str, text: str, is_wrong: bool) -> None:
    """Training and connectors are given sections; the whole tree would tie them to every other room's knobs."""
    assert found(rules.tree_stays_above, name, text) is is_wrong


def test_a_line_that_leads_up_is_noticed() -> None:
    """A room may only know rooms of earlier lines, and only rooms that are there."""
    assert rules.upward_lines(ROOMS) == []
    assert rules.upward_lines({"core": ("model",), "model": ("core",)})
    assert rules.upward_lines({"core": ("core",)})
    assert rules.upward_lines({"core": ("gone",)})


def test_a_circle_of_modules_is_noticed() -> None:
    """Also a long one, and one that hides in a function; what merely hangs on a circle is not blamed for it."""
    chain = [
        Module("streamae.a.x", "from streamae.a import y"),
        Module("streamae.a.y", "from streamae.b.z import name"),
        Module("streamae.b.z", "import math"),
        Module("streamae.c", "from streamae.a.x import name"),
    ]
    assert rules.circles(chain) == []
    closed = [*chain[:2], Module("streamae.b.z", "def late():\n    from streamae.a.x import name"), chain[3]]
    assert len(rules.circles(closed)) == 3


@pytest.mark.parametrize(
    "library", ["time", "datetime", "os", "socket", "logging", "torch", "random", "threading", "pathlib"]
)
def test_core_may_not_reach_outside(library: str) -> None:
    """Clock, environment, network, logs, device and disk are out of reach of the core."""
    assert found(rules.core_is_pure, "streamae.core.grid", f"import {library}")
    assert found(rules.core_is_pure, "streamae.core.grid", f"def f():\n    from {library} import x")
    assert not found(rules.core_is_pure, "streamae.engine.engine", f"import {library}")


def test_core_may_compute() -> None:
    """numpy, arithmetic and typing are what the core is made of."""
    text = "import math\nimport numpy as np\nfrom numpy.typing import NDArray\nfrom streamae.batches import RowBatch"
    assert not found(rules.core_is_pure, "streamae.core.grid", text)
    assert found(rules.core_is_pure, "streamae.core.grid", "print(1)")
    assert found(rules.core_is_pure, "streamae.core.grid", "open('x')")


@pytest.mark.parametrize("library", sorted(rules.HOME_OF))
def test_a_second_home_of_a_client_is_noticed(library: str) -> None:
    """A client library may be imported at home, and nowhere else."""
    home = rules.HOME_OF[library][0]
    assert not found(rules.clients_at_home, home, f"import {library}")
    assert found(rules.clients_at_home, "streamae.engine.engine", f"import {library}")
    assert found(rules.clients_at_home, "streamae.engine.engine", f"from {library}.part import name")


def test_sizes_are_counted() -> None:
    """The limits are inclusive: 400 lines and 60 lines pass, one more does not."""
    assert not found(rules.size_limits, "streamae.x", "a = 1\n" * 400)
    assert found(rules.size_limits, "streamae.x", "a = 1\n" * 401)
    assert not found(rules.size_limits, "streamae.x", "def f():\n" + "    a = 1\n" * 59)
    assert found(rules.size_limits, "streamae.x", "def f():\n" + "    a = 1\n" * 60)
    assert found(rules.size_limits, "streamae.x", "class C:\n    async def f(self):\n" + "        a = 1\n" * 60)


@pytest.mark.parametrize("name", ["streamae.utils", "streamae.common.x", "scripts.helpers", "streamae.core.base"])
def test_drawers_are_noticed(name: str) -> None:
    """A generic name is found at any depth; a telling one passes."""
    assert found(rules.telling_name, name, "")
    assert not found(rules.telling_name, "streamae.core.windowing", "")


@pytest.mark.parametrize(
    ("text", "is_wrong"),
    [
        ("a = 1", True),
        ('"""Purpose."""\ndef f(): return 1', True),
        ('"""Purpose."""\ndef f():\n    """Say."""', False),
        ('"""Purpose."""\ndef _f(): return 1', False),
        ('"""Purpose."""\nclass C: x = 1', True),
        ('"""Purpose."""\nclass C:\n    """Say."""\n    def f(self): return 1', True),
        ('"""Purpose."""\nclass C:\n    """Say."""\n    def __len__(self): return 1', False),
        ('"""Purpose."""\nclass C:\n    """Say."""\n    def f(self): ...', False),
        ('"""Purpose."""\nclass C(Source):\n    """Say."""\n    def poll(self): return 1', False),
        ('"""Purpose."""\nclass C(Source):\n    """Say."""\n    def extra(self): return 1', True),
        ('"""Purpose."""\nclass C:\n    """Say."""\n    def send(self): x\n    def close(self): x', False),
        ('"""Purpose."""\nclass C:\n    """Say."""\n    def send(self): x\n    def shut(self): x', True),
        ("", False),
    ],
)
def test_missing_docstrings_are_noticed(text: str, is_wrong: bool) -> None:
    """Public names need a docstring unless they are magic, declarations or documented by a base or protocol."""
    documented = {"Source": frozenset({"poll"}), "Protocol:Sink": frozenset({"send", "close"})}
    assert bool(rules.docstrings(Module("streamae.x", text), documented)) is is_wrong


def test_a_base_documents_its_methods_for_others() -> None:
    """What a protocol documents or declares is found by class and name; an undocumented body is not."""
    text = 'class P:\n    """P."""\n    def a(self):\n        """A."""\n    def b(self): ...\n    def c(self): return 1'
    assert rules.documented_methods([Module("streamae.x", text)]) == {"P": {"a", "b"}}
    protocol = text.replace("class P:", "class P(Protocol):")
    assert rules.documented_methods([Module("streamae.x", protocol)])["Protocol:P"] == {"a", "b"}


@pytest.mark.parametrize(
    ("text", "is_wrong"),
    [
        ("from unittest import mock", True),
        ("from unittest.mock import patch", True),
        ("import unittest.mock", True),
        ("def f(mocker): pass", True),
        ("x = MagicMock()", True),
        ("import streamae\nmonkeypatch.setattr(streamae.engine, 'engine', None)", True),
        ("from streamae.engine import engine\nmonkeypatch.setattr(engine.Engine, 'step', None)", True),
        ("from streamae.engine import engine as e\nmonkeypatch.setitem(e.table, 'step', None)", True),
        ("monkeypatch.setattr('streamae.engine.engine.Engine', None)", True),
        ("monkeypatch.setenv('STREAMAE_KAFKA__GROUP_ID', 'a')", False),
        ("import sys\nmonkeypatch.setattr(sys, 'argv', [])", False),
    ],
)
def test_mocks_are_noticed(text: str, is_wrong: bool) -> None:
    """Mock libraries and patches of our own names are found; the environment may be set."""
    assert found(rules.no_mocks, "tests.test_x", text) is is_wrong


@pytest.mark.parametrize("text", ["import time\ntime.sleep(1)", "from time import sleep", "await asyncio.sleep(0)"])
def test_sleeps_are_noticed(text: str) -> None:
    """A sleep is found however it is imported; reading a clock for a deadline is none."""
    assert found(rules.no_sleep, "tests.test_x", text)
    assert not found(rules.no_sleep, "tests.test_x", "import time\ntime.monotonic()")


def test_silent_tests_are_noticed() -> None:
    """A test without its sentence is found, also inside a class."""
    assert found(rules.sentences_of_tests, "tests.test_x", "class TestA:\n    def test_a(self): pass")
    assert not found(rules.sentences_of_tests, "tests.test_x", 'def test_a():\n    """Say."""\ndef build(): pass')
