"""What code could wrongly have been: small changes of a module, for mutants.py.

An operator, comparison, constant or condition is another one, a statement or a named argument is
left out, min is max. Annotations, documentation, messages of errors and checks of lengths
(`strict`) are left alone.
"""

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

SWAPS: dict[type, type] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div, ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitOr, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
    ast.And: ast.Or, ast.Or: ast.And, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE,
    ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_PAIRS = "min max, minimum maximum, any all, floor ceil, argmin argmax, amin amax, start end"
NAMES = {a: b for pair in _PAIRS.split(", ") for a, b in (pair.split(), pair.split()[::-1])}


@dataclass(frozen=True)
class Mutant:
    """A changed module, the lines that were changed, and what changed; `everywhere` if it is run
    when the module is loaded, so that no test is known to pass it."""

    tree: ast.Module
    lines: range
    text: str
    everywhere: bool


def mutants(source: str) -> list[Mutant]:
    """All of them, in the order of the source."""
    tree = ast.parse(source)
    found = []
    for path, inside in _places(tree):
        node = _at(tree, path)
        for changed in _changes(node):
            other = copy.deepcopy(tree)
            _put(other, path, changed)
            ast.fix_missing_locations(other)
            before, after = ast.unparse(node), ast.unparse(changed)
            seen = node.test if isinstance(node, ast.If | ast.While) else node
            lines = range(seen.lineno, (seen.end_lineno or seen.lineno) + 1)
            line = source.splitlines()[seen.lineno - 1].strip()
            text = f"{lines.start}: {_short(before)} -> {_short(after)}   in   {_short(line)}"
            found.append(Mutant(other, lines, text, not inside))
    return found


Path_ = tuple[tuple[str, int | None], ...]  # names of fields, and places in those that are lists


def _places(node: ast.AST, path: Path_ = (), inside: bool = False) -> Iterator[tuple[Path_, bool]]:
    """The way to each node that may be changed, and whether it is in the body of a function."""
    if isinstance(node, ast.expr | ast.stmt) and path:
        yield path, inside
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "format_spec", "ctx"):
            continue
        if isinstance(node, ast.Assign) and _is_alias(node):
            continue
        body = inside or (isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                          and name == "body")  # fmt: skip
        for place, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(child, ast.AST) and not _is_left_alone(child):
                yield from _places(child, (*path, (name, place)), body)


def _is_alias(node: ast.Assign) -> bool:
    """A name for a type, such as Floats = NDArray[np.float32]."""
    return isinstance(node.value, ast.Subscript) and ast.unparse(node).split("[")[0].endswith(
        ("NDArray", "dict", "Mapping", "tuple", "Callable")
    )


def _is_left_alone(node: ast.AST) -> bool:
    """Documentation, messages of errors, and what only guards against mistakes or saves a copy."""
    if isinstance(node, ast.keyword):
        return node.arg in ("strict", "copy")
    text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return text or isinstance(node, ast.Import | ast.ImportFrom | ast.Raise | ast.Assert)


def _at(tree: ast.AST, path: Path_) -> Any:
    for name, place in path:
        tree = getattr(tree, name) if place is None else getattr(tree, name)[place]
    return tree


def _put(tree: ast.AST, path: Path_, node: ast.AST) -> None:
    *before, (name, place) = path
    owner = _at(tree, tuple(before))
    if place is None:
        setattr(owner, name, node)
    else:
        getattr(owner, name)[place] = node


def _changes(node: Any) -> Iterator[ast.AST]:
    """What a node could wrongly have been."""

    def having(**fields: Any) -> Any:
        other = copy.deepcopy(node)
        for name, value in fields.items():
            setattr(other, name, value)
        return other

    match node:
        case ast.BinOp() | ast.BoolOp() | ast.AugAssign() if type(node.op) in SWAPS:
            yield having(op=SWAPS[type(node.op)]())
        case ast.Compare(ops=[op]) if type(op) in SWAPS:
            yield having(ops=[SWAPS[type(op)]()])
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert()):
            yield node.operand
        case ast.If() | ast.While() | ast.IfExp():
            yield having(test=ast.UnaryOp(ast.Not(), node.test))
        case ast.Constant(value=bool()):
            yield having(value=not node.value)
        case ast.Constant(value=int()):
            yield having(value=node.value + 1)
        case ast.Constant(value=float()):
            yield having(value=1.5 * node.value if node.value else 1.0)
        case ast.Constant(value=str()) if node.value and " " not in node.value:
            yield having(value=node.value + "x")
        case ast.Name() if node.id in NAMES and isinstance(node.ctx, ast.Load):
            yield having(id=NAMES[node.id])
        case ast.Attribute() if node.attr in NAMES and isinstance(node.ctx, ast.Load):
            yield having(attr=NAMES[node.attr])
    match node:
        case ast.Call():
            for n, each in enumerate(node.keywords):
                if not _is_left_alone(each):
                    yield having(keywords=node.keywords[:n] + node.keywords[n + 1 :])
        case ast.Expr() | ast.AugAssign() | ast.Continue() | ast.Break():
            yield ast.copy_location(ast.Pass(), node)
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield ast.copy_location(ast.Pass(), node)


def _short(text: str, most: int = 70) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 3] + "..."
