"""The rules of the code base as pure functions: source text in, problems out.

`test_architecture.py` runs them over the repository and proves that each can fail. Nothing here imports streamae.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60
MIN_TEST_RATIO = 1.2

BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc"}

FOUNDATION = ("streamae.batches", "streamae.errors")
EVERYTHING_BELOW = (
    *FOUNDATION,
    "streamae.fail_points",
    "streamae.core",
    "streamae.model",
    "streamae.connectors",
    "streamae.runtime",
)

# Longest prefix wins. What a module may import of ours, besides its own package.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "streamae.__init__": (),
    "streamae.batches": (),
    "streamae.errors": (),
    "streamae.fail_points": (),
    "streamae.config": (
        "streamae.errors",
        "streamae.config_alerts",
        "streamae.config_decision",
        "streamae.config_section",
        "streamae.config_training",
    ),
    "streamae.config_section": (),
    "streamae.config_alerts": ("streamae.config_section",),
    "streamae.config_decision": ("streamae.config_section",),
    "streamae.config_training": ("streamae.config_section",),
    "streamae.core": FOUNDATION,
    "streamae.model": (*FOUNDATION, "streamae.core"),
    "streamae.connectors": (*FOUNDATION, "streamae.fail_points"),
    "streamae.runtime": (*EVERYTHING_BELOW, "streamae.config"),
    "streamae.runtime.alerting": (*EVERYTHING_BELOW, "streamae.config", "streamae.config_alerts"),
    "streamae.evaluation": EVERYTHING_BELOW,
    "streamae.evaluation.demo": (
        *EVERYTHING_BELOW,
        "streamae.evaluation",
        "streamae.config",
        "streamae.config_decision",
    ),  # composes an engine
    "streamae.evaluation.transaction_demo": (
        *EVERYTHING_BELOW,
        "streamae.evaluation",
        "streamae.config",
        "streamae.config_decision",
    ),
    "streamae.evaluation.live_scores": (*EVERYTHING_BELOW, "streamae.evaluation", "streamae.config"),  # same
    "streamae.evaluation.detectors": (*FOUNDATION, "streamae.config"),  # they are changes to settings
    "streamae.evaluation.jobs": (*EVERYTHING_BELOW, "streamae.evaluation", "streamae.config"),  # trains and scores
    "streamae.evaluation.backtest": (
        *EVERYTHING_BELOW,
        "streamae.evaluation",
        "streamae.config",
        "streamae.config_alerts",
    ),
    "streamae.evaluation.bootstrap": (*EVERYTHING_BELOW, "streamae.evaluation", "streamae.config"),
    "streamae.evaluation.own_history": (*EVERYTHING_BELOW, "streamae.config"),  # settings say how files are read
    "streamae.evaluation.evaluate": (*EVERYTHING_BELOW, "streamae.evaluation", "streamae.config"),
    "streamae.config_sources": (
        "streamae.config",
        "streamae.config_section",
        "streamae.errors",
        "streamae.fail_points",
    ),
    "streamae.cli": ("streamae",),
    "streamae.__main__": ("streamae.cli",),
}

# The pure core: no clock, environment, file, socket, log, thread or device can be reached from these.
CORE_MAY_IMPORT = {
    "__future__",
    "abc",
    "bisect",
    "collections",
    "dataclasses",
    "enum",
    "fnmatch",
    "functools",
    "hashlib",
    "heapq",
    "itertools",
    "math",
    "numpy",
    "operator",
    "re",
    "struct",
    "types",
    "typing",
}
CORE_MAY_NOT_CALL = {"open", "print", "input", "exec", "eval", "__import__", "breakpoint"}

# Each client library has one home, so that it can be replaced and its hazards are guarded in one place.
HOME_OF = {
    "kafka": ("streamae.connectors.kafka",),
    "confluent_kafka": ("scripts.torture",),  # for checkers only: the product has one Kafka client
    "redis": ("streamae.connectors.redis_store",),
    "prometheus_client": ("streamae.runtime.telemetry",),
    "structlog": ("streamae.runtime.logs",),
    "pyarrow": ("streamae.connectors.files",),
    "safetensors": ("streamae.model.bundle",),
    "msgspec": ("streamae.connectors",),
    "pydantic": (
        "streamae.config",
        "streamae.config_section",
        "streamae.config_alerts",
        "streamae.config_decision",
        "streamae.config_training",
        "streamae.config_sources",
    ),
    "pydantic_settings": ("streamae.config_sources",),
    "torch": ("streamae.model",),
    "matplotlib": ("streamae.evaluation",),
    "jinja2": ("streamae.evaluation",),
}

MOCK_NAMES = {"Mock", "MagicMock", "AsyncMock", "PropertyMock", "create_autospec", "mocker"}


@dataclass(frozen=True)
class Module:
    """One Python file: its dotted name (a package's own file keeps `__init__`), and its text."""

    name: str
    text: str

    @classmethod
    def read(cls, path: Path, root: Path) -> Module:
        """Read `path`, named by its place below `root`."""
        return cls(".".join(path.relative_to(root).with_suffix("").parts), path.read_text(encoding="utf-8"))

    @cached_property
    def tree(self) -> ast.Module:
        """The parsed text."""
        return ast.parse(self.text)

    def imports(self) -> Iterator[tuple[int, str]]:
        """Yield (line, dotted name) of each import; `from a.b import c` gives `a.b.c`; relative ones start with a dot."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield node.lineno, alias.name
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    yield node.lineno, "." * node.level + f"{node.module or ''}.{alias.name}"


Function = ast.FunctionDef | ast.AsyncFunctionDef


def is_within(name: str, places: Sequence[str]) -> bool:
    """Tell whether the dotted `name` is one of `places` or lies below one."""
    return any(name == place or name.startswith(place + ".") for place in places)


def import_direction(module: Module) -> list[str]:
    """Imports of ours go one way: batches, errors <- core <- model <- runtime -> connectors."""
    homes = [home for home in MAY_IMPORT if is_within(module.name, [home])]
    if not homes:
        return [] if module.name.endswith("__init__") else [f"{module.name}: no layer in MAY_IMPORT"]
    home = max(homes, key=len)
    problems = []
    for line, name in module.imports():
        if name.startswith("."):
            problems.append(f"line {line}: relative import {name}: write it from streamae on")
        elif (
            is_within(name, ["streamae"])
            and not is_within(name, [home, *MAY_IMPORT[home]])
            and name != "streamae.__version__"
        ):
            problems.append(f"line {line}: {module.name} must not import {name}")
    return problems


def core_is_pure(module: Module) -> list[str]:
    """The core computes: it imports arithmetic only and touches nothing outside its arguments."""
    if not is_within(module.name, ["streamae.core"]):
        return []
    problems = [
        f"line {line}: {name} is not for the core"
        for line, name in module.imports()
        if not is_within(name, [*CORE_MAY_IMPORT, "streamae"])
    ]
    return problems + [
        f"line {node.lineno}: {node.func.id}() is not for the core"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CORE_MAY_NOT_CALL
    ]


def clients_at_home(module: Module) -> list[str]:
    """Each client library is imported in its one home."""
    return [
        f"line {line}: {name.split('.')[0]} belongs into {' or '.join(homes)}"
        for line, name in module.imports()
        if (homes := HOME_OF.get(name.split(".")[0])) and not is_within(module.name, homes)
    ]


def size_limits(module: Module) -> list[str]:
    """Modules and functions stay readable."""
    problems = []
    lines = module.text.count("\n")
    if lines > MAX_MODULE_LINES:
        problems.append(f"{lines} lines, at most {MAX_MODULE_LINES}")
    for node in ast.walk(module.tree):
        if isinstance(node, Function):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                problems.append(f"line {node.lineno}: {node.name} has {length} lines, at most {MAX_FUNCTION_LINES}")
    return problems


def telling_name(module: Module) -> list[str]:
    """No drawer for everything."""
    return [f"a module called {part} says nothing" for part in module.name.split(".") if part in BANNED_NAMES]


def docstrings(module: Module, documented: Mapping[str, frozenset[str]] = MappingProxyType({})) -> list[str]:
    """The module and everything public in it say what they are.

    Exempt: magic methods, declarations without a body (`...`), and methods documented by a base class of ours or
    by a protocol of ours that the class satisfies.

    Args:
        documented: methods by class, from `documented_methods`.
    """
    problems = []
    if module.tree.body and not ast.get_docstring(module.tree):
        problems.append("no module docstring")
    for owner, node in _public(module.tree):
        if _is_documented(node):
            continue
        if owner is None or not any(node.name in documented[base] for base in _contracts(owner, documented)):
            problems.append(f"line {node.lineno}: {node.name} has no docstring")
    return problems


def documented_methods(modules: Sequence[Module]) -> dict[str, frozenset[str]]:
    """Return, by class, the public methods that have a docstring or are declarations; protocols as `Protocol:Name`."""
    methods: dict[str, set[str]] = {}
    for module in modules:
        for owner, node in _public(module.tree):
            if owner is not None and _is_documented(node):
                for name in (owner.name, *([f"Protocol:{owner.name}"] if "Protocol" in _bases(owner) else [])):
                    methods.setdefault(name, set()).add(node.name)
    return {name: frozenset(names) for name, names in methods.items()}


def no_mocks(module: Module) -> list[str]:
    """Tests use the shipped in-memory twins; none of our own code is replaced behind its back."""
    problems = [
        f"line {line}: {name}: write a fake, or use streamae.connectors.memory"
        for line, name in module.imports()
        if is_within(name, ["unittest.mock", "mock", "pytest_mock"])
    ]
    ours = {
        alias.asname or alias.name.split(".")[0]
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        if is_within(node.module or "" if isinstance(node, ast.ImportFrom) else alias.name, ["streamae"])
    }
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Name | ast.arg):
            name = node.id if isinstance(node, ast.Name) else node.arg
            if name in MOCK_NAMES:
                problems.append(f"line {node.lineno}: {name}: write a fake")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _patches(node, ours):
            problems.append(f"line {node.lineno}: {node.func.attr} on our own code")
    return problems


def no_sleep(module: Module) -> list[str]:
    """Unit tests move the clock; who waits for a real service polls it in one place."""
    problems = [f"line {line}: {name}" for line, name in module.imports() if name in {"time.sleep", "asyncio.sleep"}]
    return problems + [
        f"line {node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute) and node.attr == "sleep"
    ]


def sentences_of_tests(module: Module) -> list[str]:
    """Every test says in one sentence which behaviour it protects."""
    return [
        f"line {node.lineno}: {node.name} has no docstring"
        for node in ast.walk(module.tree)
        if isinstance(node, Function) and node.name.startswith("test_") and not ast.get_docstring(node)
    ]


def ratio_of_tests(package: Sequence[Module], tests: Sequence[Module]) -> float:
    """Return test lines over package lines."""
    return sum(m.text.count("\n") for m in tests) / max(1, sum(m.text.count("\n") for m in package))


def _public(tree: ast.Module) -> Iterator[tuple[ast.ClassDef | None, ast.ClassDef | Function]]:
    """Yield public classes and functions of a module and public methods of its public classes, with their class."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef | Function) and not node.name.startswith("_"):
            yield None, node
            if isinstance(node, ast.ClassDef):
                for inner in node.body:
                    if isinstance(inner, Function) and not inner.name.startswith("_"):
                        yield node, inner


def _bases(owner: ast.ClassDef) -> list[str]:
    """Return the last parts of the names of a class's bases."""
    return [ast.unparse(base).split("[")[0].split(".")[-1] for base in owner.bases]


def _contracts(owner: ast.ClassDef, documented: Mapping[str, frozenset[str]]) -> list[str]:
    """Return the classes of ours that say what the methods of `owner` do: its bases, and the protocols it satisfies."""
    own = {node.name for node in owner.body if isinstance(node, Function)}
    satisfied = [name for name, methods in documented.items() if name.startswith("Protocol:") and methods <= own]
    return [name for name in (*_bases(owner), *satisfied) if name in documented]


def _is_documented(node: ast.ClassDef | Function) -> bool:
    """Tell whether a class or function has a docstring, or is a declaration that needs none."""
    return bool(ast.get_docstring(node)) or (isinstance(node, Function) and _is_declaration(node))


def _is_declaration(node: Function) -> bool:
    """Tell whether the body is `...` alone: a protocol member or an overload."""
    last = node.body[-1]
    return len(node.body) == 1 and isinstance(last, ast.Expr) and ast.unparse(last) == "..."


def _patches(call: ast.Call, ours: set[str]) -> bool:
    """Tell whether `call` is monkeypatch.setattr/setitem/delattr on a name imported from streamae."""
    function = call.func
    if not (isinstance(function, ast.Attribute) and function.attr in {"setattr", "setitem", "delattr"} and call.args):
        return False
    target = call.args[0]
    if isinstance(target, ast.Constant):
        return isinstance(target.value, str) and is_within(target.value, ["streamae"])
    while isinstance(target, ast.Attribute | ast.Subscript):
        target = target.value
    return isinstance(target, ast.Name) and target.id in ours
