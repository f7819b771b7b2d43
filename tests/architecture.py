"""The rules of the code base as pure functions: source text in, problems out.

`test_architecture.py` runs them over the repository and proves that each can fail. Nothing here imports streamae.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60

BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc"}

# The rooms of the package and what each may import of ours besides itself. No file has a line of its own.
GROUND = ("batches", "episode_changes", "errors", "fail_points", "reasons")
BELOW_ENGINE = (*GROUND, "core", "model", "connectors", "observe")
BELOW_REPLAY = (*BELOW_ENGINE, "settings", "training", "engine", "assembly")
ROOMS: dict[str, tuple[str, ...]] = {
    "reasons": (),
    "batches": ("reasons",),
    "episode_changes": ("batches", "reasons"),
    "errors": (),
    "fail_points": (),
    "core": GROUND,
    "time_zones": (*GROUND, "core"),
    "settings": (*GROUND, "core", "time_zones"),
    "model": (*GROUND, "core", "time_zones"),
    "training": (*GROUND, "settings", "core", "model", "time_zones"),
    "connectors": (*GROUND, "settings", "time_zones"),
    "discovery": (*GROUND, "settings", "core", "connectors"),
    "observe": GROUND,
    "alerting": (*GROUND, "settings", "connectors", "observe", "time_zones"),
    "engine": BELOW_ENGINE,
    "assembly": (*BELOW_ENGINE, "time_zones", "settings", "training", "engine"),
    "daemon": (*GROUND, "observe", "settings", "engine"),
    "replay": BELOW_REPLAY,
    "evaluation": (*BELOW_REPLAY, "replay"),
    "reports": (*GROUND, "core", "model", "training", "replay", "evaluation"),
    "demo": (*BELOW_REPLAY, "replay", "evaluation", "reports"),
    "commands": (*BELOW_REPLAY, "alerting", "discovery", "daemon", "replay", "evaluation", "reports", "demo"),
    "cli": (*BELOW_REPLAY, "evaluation", "reports", "demo", "commands"),
    "__main__": ("cli",),
    "__init__": (),
}

# The whole tree of settings stays with who puts things together; below, a room is given the sections it needs.
TREE = "streamae.settings.tree"
LOWEST_THAT_KNOWS_THE_TREE = "assembly"
KNOW_THE_TREE_BELOW = ("settings",)

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
    "confluent_kafka": ("scripts.verify.torture",),  # for checkers only: the product has one Kafka client
    "redis": ("streamae.connectors.redis_client", "streamae.connectors.redis_store"),
    "prometheus_client": ("streamae.observe.telemetry", "streamae.observe.alert_metrics"),
    "structlog": ("streamae.observe.logs",),
    "tqdm": ("streamae.observe.progress",),
    "pyarrow": ("streamae.connectors.files",),
    "safetensors": ("streamae.model.bundle",),
    "msgspec": ("streamae.connectors",),
    "zoneinfo": ("streamae.time_zones",),  # elsewhere it would read what the system has
    "pydantic": ("streamae.settings",),
    "pydantic_settings": ("streamae.settings.sources",),
    "torch": ("streamae.model", "streamae.training"),
    "matplotlib": ("streamae.demo",),
    "jinja2": ("streamae.reports.page", "streamae.commands.evaluate", "streamae.alerting.templates"),
    "urllib3": ("streamae.alerting.http_client",),
    "apprise": ("streamae.alerting.receivers.apprise",),
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

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """Every node of the tree, for rules that look at all of them."""
        return list(ast.walk(self.tree))

    def imports(self) -> Iterator[tuple[int, str]]:
        """Yield (line, dotted name) of each import; `from a.b import c` gives `a.b.c`; relative ones start with a dot."""
        for node in self.nodes:
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


def room_of(name: str) -> str | None:
    """Return the room that a dotted name of ours lies in; None for the package itself and what is not ours."""
    parts = name.split(".")
    return parts[1] if parts[0] == "streamae" and len(parts) > 1 else None


def import_direction(module: Module) -> list[str]:
    """A room imports from the rooms of its line in `ROOMS`, and from itself."""
    room = room_of(module.name)
    if room not in ROOMS:
        return [f"{module.name}: its room has no line in ROOMS"]
    problems = []
    for line, name in module.imports():
        if name.startswith("."):
            problems.append(f"line {line}: relative import {name}: write it from streamae on")
        elif (other := room_of(name)) not in {None, "__version__", room, *ROOMS[room]}:
            problems.append(f"line {line}: {module.name} must not import {name}: {room} does not know {other}")
        elif name == "streamae":
            problems.append(f"line {line}: import what is needed of it")
    return problems


def tree_stays_above(module: Module) -> list[str]:
    """The tree of settings is imported where it is made, in the assembly, and in the rooms above that."""
    rooms = list(ROOMS)
    room = room_of(module.name)
    if room in KNOW_THE_TREE_BELOW or room not in ROOMS:
        return []
    if rooms.index(room) >= rooms.index(LOWEST_THAT_KNOWS_THE_TREE):
        return []
    return [
        f"line {line}: {module.name} must not import {name}: take the sections that it needs"
        for line, name in module.imports()
        if is_within(name, [TREE])
    ]


def upward_lines(rooms: Mapping[str, Sequence[str]]) -> list[str]:
    """Each room stands below all that may import it: a line names earlier lines only, so that no circle can be allowed."""
    order = {room: number for number, room in enumerate(rooms)}
    return [
        f"{room}: {below} does not stand above it in ROOMS"
        for room, known in rooms.items()
        for below in known
        if order.get(below, len(order)) >= order[room]
    ]


def circles(modules: Sequence[Module]) -> list[str]:
    """Modules that import each other in a loop, also inside functions and for types only."""
    names = {module.name.removesuffix(".__init__") for module in modules}
    graph: dict[str, set[str]] = {}
    for module in modules:
        graph[module.name.removesuffix(".__init__")] = {
            found for _, name in module.imports() if (found := _module_in(name, names)) is not None
        } - {module.name.removesuffix(".__init__")}
    rest = dict(graph)
    while leaves := {name for name, known in rest.items() if not known & rest.keys()}:
        rest = {name: known for name, known in rest.items() if name not in leaves}
    while roots := rest.keys() - {known for name in rest for known in rest[name]}:
        rest = {name: known for name, known in rest.items() if name not in roots}
    return [f"{name} <-> {', '.join(sorted(known & rest.keys()))}" for name, known in sorted(rest.items())]


def _module_in(name: str, names: set[str]) -> str | None:
    """Return the module that an import of `name` loads: itself, or the one that defines it."""
    parent = name.rpartition(".")[0]
    return name if name in names else parent if parent in names and parent != "streamae" else None


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
        for node in module.nodes
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CORE_MAY_NOT_CALL
    ]


def clients_at_home(module: Module) -> list[str]:
    """Each client library is imported in its one home."""
    return [
        f"line {line}: {name.split('.')[0]} belongs into {' or '.join(homes)}"
        for line, name in module.imports()
        if (homes := HOME_OF.get(name.split(".")[0])) and not is_within(module.name, homes)
    ]


def defaults_again(module: Module, names: Collection[str]) -> list[str]:
    """A parameter or field that is called like a setting has no default of its own, which would soon be another one.

    None and empty values are no defaults: they say that nothing was given.

    Args:
        module: outside of the settings.
        names: of the settings, without their sections.
    """
    problems = []
    for node in ast.walk(module.tree):
        for line, name, default in _defaults(node):
            if name in names and _is_literal(default):
                problems.append(f"line {line}: {name} = {ast.unparse(default)}: the default of a setting stands there")
    return problems


def size_limits(module: Module) -> list[str]:
    """Modules and functions stay readable."""
    problems = []
    lines = module.text.count("\n")
    if lines > MAX_MODULE_LINES:
        problems.append(f"{lines} lines, at most {MAX_MODULE_LINES}")
    for node in module.nodes:
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
        for node in module.nodes
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        if is_within(node.module or "" if isinstance(node, ast.ImportFrom) else alias.name, ["streamae"])
    }
    for node in module.nodes:
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
        for node in module.nodes
        if isinstance(node, ast.Attribute) and node.attr == "sleep"
    ]


def sentences_of_tests(module: Module) -> list[str]:
    """Every test says in one sentence which behaviour it protects."""
    return [
        f"line {node.lineno}: {node.name} has no docstring"
        for node in module.nodes
        if isinstance(node, Function) and node.name.startswith("test_") and not ast.get_docstring(node)
    ]


def _defaults(node: ast.AST) -> Iterator[tuple[int, str, ast.expr]]:
    """Yield (line, name, default) of the parameters of a function, or of the fields of a class."""
    if isinstance(node, Function | ast.Lambda):
        of = node.args
        positional = [*of.posonlyargs, *of.args]
        pairs = list(zip(positional[len(positional) - len(of.defaults) :], of.defaults, strict=True))
        pairs += [(one, default) for one, default in zip(of.kwonlyargs, of.kw_defaults, strict=True) if default]
        for one, default in pairs:
            yield one.lineno, one.arg, default
    elif isinstance(node, ast.ClassDef):
        for inner in node.body:
            if isinstance(inner, ast.AnnAssign) and isinstance(inner.target, ast.Name) and inner.value is not None:
                given = [word.value for word in getattr(inner.value, "keywords", ()) if word.arg == "default"]
                yield inner.lineno, inner.target.id, given[0] if given else inner.value


def _is_literal(value: ast.expr) -> bool:
    """Tell whether an expression is written out and says more than that nothing was given."""
    try:
        return ast.literal_eval(value) not in (None, "", (), [], {})
    except ValueError:
        return False


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
