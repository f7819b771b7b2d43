"""The messages with which a command may end: read off the source, as what stands still in them.

`test_errors_catalogue.py` compares them with docs/errors.md. What changes from case to case is an ellipsis here:
`f"{path}: does not exist"` is `…: does not exist`. Nothing here imports streamae.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

HOLE = "…"
ERRORS = frozenset({"ConfigError", "DataError", "BundleError", "FatalError"})
# Where a RetryableError ends a command: nobody there tries again.
TRIES_ONCE = ("connectors/kafka/topic_history.py",)
# Where a ValueError is told as one of the three: what is set or stored has values that do not go.
TAKE_VALUES = (
    "settings/",
    "core/",
    "model/",
    "time_zones.py",
    "connectors/time_formats.py",
    "commands/past_data.py",
)
PROBLEMS = frozenset({"problems", "refusals"})  # lists that lines are added to, by name
MOST = 16  # wordings of one message

Names = Mapping[str, Sequence[ast.expr]]


@dataclass(frozen=True, order=True)
class Message:
    """What stands still in a message.

    Attributes:
        place: module below the package, and the function.
        text: with an ellipsis for what changes.
    """

    place: str
    text: str

    @property
    def is_forwarded(self) -> bool:
        """Whether nothing stands still: all of it is written elsewhere."""
        return not any(map(str.isalpha, self.text))


def messages(package: Path, writers: frozenset[str]) -> list[Message]:
    """Return the messages of all modules of a package, sorted.

    Args:
        package: its folder.
        writers: places whose texts others raise.
    """
    found: set[Message] = set()
    for path in package.rglob("*.py"):
        module = path.relative_to(package).as_posix()
        found.update(messages_of(module, path.read_text(encoding="utf-8"), writers))
    return sorted(found)


def messages_of(module: str, source: str, writers: frozenset[str] = frozenset()) -> Iterator[Message]:
    """Yield the messages of one module: what is raised, what is added to a list of problems, what writers write."""
    tree = ast.parse(source)
    everywhere = _assigned(tree.body)
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            place, names = f"{module}:{function.name}", {**everywhere, **_assigned(function.body)}
            told = _written(function.body) if place in writers else _told(function, module, names)
            for expression in told:
                yield from (Message(place, text) for text in texts(expression, names))


def texts(expression: ast.expr, names: Names) -> list[str]:
    """Return what an expression may say, with ellipses; a name is what is assigned to it in the same module."""
    match expression:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=parts):
            return _joined([texts(part, names) for part in parts])
        case ast.FormattedValue(value=ast.Name() as name, conversion=-1, format_spec=None):
            return texts(name, names)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _joined([texts(left, names), texts(right, names)])
        case ast.IfExp(body=one, orelse=other):
            return [*texts(one, names), *texts(other, names)]
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            return [text for part in parts for text in texts(part, names)]
        case ast.ListComp(elt=part) | ast.GeneratorExp(elt=part) | ast.Starred(value=part):
            return texts(part, names)
        case ast.Name(id=name) if name in names:
            inner = {other: values for other, values in names.items() if other != name}  # `text = text + ...`
            return [text for value in names[name] for text in texts(value, inner)][:MOST]
    return [HOLE]


def _joined(parts: Sequence[list[str]]) -> list[str]:
    return ["".join(one) for one in product(*parts)][:MOST]


def _told(function: ast.FunctionDef, module: str, names: Names) -> Iterator[ast.expr]:
    """Yield what a function raises or adds to a list of problems."""
    kinds = {*ERRORS, "ValueError"} if module.startswith(TAKE_VALUES) else set(ERRORS)
    if module.startswith(TRIES_ONCE):
        kinds.add("RetryableError")
    for node in ast.walk(function):
        match node:
            case ast.Raise(exc=ast.Call(func=ast.Name(id=kind), args=[text])):
                if kind in kinds or any(ERRORS & _words(value) for value in names.get(kind, ())):
                    yield text
            case ast.Call(func=ast.Attribute(attr="refuse"), args=[_, text, *_]) if module.startswith("settings/"):
                yield text
            case ast.Call(func=ast.Attribute(value=owner, attr="append"), args=[text]):
                if _words(owner) & PROBLEMS:
                    yield text
            case ast.AugAssign(target=owner, value=text):
                if _words(owner) & PROBLEMS:
                    yield text


def _written(body: Sequence[ast.AST]) -> Iterator[ast.expr]:
    """Yield the sentences in the statements of a function, without its docstring."""
    for node in body:
        if isinstance(node, ast.JoinedStr | ast.Constant | ast.BinOp):
            if any(text.count(" ") > 1 for text in texts(node, {})):
                yield node
        elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            yield from _written(list(ast.iter_child_nodes(node)))


def _assigned(body: Sequence[ast.AST]) -> dict[str, list[ast.expr]]:
    """Return what is assigned to each name in some statements, not counting functions among them."""
    found: dict[str, list[ast.expr]] = {}
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            continue
        for node in ast.walk(statement):
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    found.setdefault(name, []).append(value)
                case ast.NamedExpr(target=ast.Name(id=name), value=value):
                    found.setdefault(name, []).append(value)
    return found


def _words(node: ast.AST) -> set[str]:
    """Return all names and attributes in an expression."""
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)} | {
        one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)
    }
