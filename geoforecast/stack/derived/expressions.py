"""Arithmetic over bands, as people write it: read safely, computed in float32.

The grammar is Python's for expressions, of which a few kinds of node are understood and all
else is refused; nothing is ever handed to Python to run. Numbers are float32 throughout, so
that integers never wrap and a band costs four bytes a pixel.
"""

from __future__ import annotations

import ast
import keyword
import operator
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoforecast.errors import SettingsError, did_you_mean

MAX_LENGTH = 10_000
MAX_DEPTH = 100
_QUOTED = r"'[^']*'|\"[^\"]*\""

Value = Any  # float32 or bool; an array, or a scalar where no band has entered yet

_ARITHMETIC: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_COMPARISONS: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


def _where(condition: Value, yes: Value, no: Value) -> Value:
    return np.where(_truth(condition), _number(yes), _number(no))


def _clip(value: Value, low: Value, high: Value) -> Value:
    return np.minimum(np.maximum(_number(value), _number(low)), _number(high))


def _over_all(function: Callable[[Any, Any], Any]) -> Callable[..., Value]:
    def call(*values: Value) -> Value:
        result = _number(values[0])
        for value in values[1:]:
            result = function(result, _number(value))
        return result

    return call


def _of_one(function: Callable[[Any], Any]) -> Callable[[Value], Value]:
    return lambda value: function(_number(value))


# Name -> (fewest arguments, most, what it does).
_FUNCTIONS: dict[str, tuple[int, int, Callable[..., Value]]] = {
    "min": (2, 99, _over_all(np.minimum)),
    "max": (2, 99, _over_all(np.maximum)),
    "abs": (1, 1, _of_one(np.abs)),
    "sqrt": (1, 1, _of_one(np.sqrt)),
    "exp": (1, 1, _of_one(np.exp)),
    "log": (1, 1, _of_one(np.log)),
    "log10": (1, 1, _of_one(np.log10)),
    "clip": (3, 3, _clip),
    "where": (3, 3, _where),
}
_UNDERSTOOD = (
    "An expression holds numbers, band names (odd ones in quotes), + - * / **, comparisons, and, "
    f"or, not, and the functions {', '.join(_FUNCTIONS)}."
)


def split_assignments(text: str) -> tuple[tuple[str, str], ...]:
    """Cut ``name = expression; name = expression`` into its pairs.

    Args:
        text: of --expression; a ";" or "=" inside quotes does not cut.
    Returns:
        (name, expression) pairs in order, both without blanks around them.
    Raises:
        SettingsError: a part is no assignment, or its name cannot be that of a band.
    """
    if len(text) > MAX_LENGTH:
        raise SettingsError(
            f"--expression is {len(text)} characters long; {MAX_LENGTH} are read.",
            remedy="Write shorter expressions.",
        )
    parts = [p.strip() for p in re.findall(rf"(?:{_QUOTED}|[^;])+", " ".join(text.split()))]
    pairs = []
    for part in filter(None, parts):
        name, sign, body = (piece.strip() for piece in part.partition("="))
        if not sign or not body or body.startswith("="):
            raise SettingsError(
                f"--expression needs a name and an expression, not '{part}'.",
                remedy='Write it as in --expression "ratio = B08 / B04", several parted by `;`.',
            )
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or _taken(name):
            raise SettingsError(
                f"--expression cannot name a band '{name}'.",
                where=part,
                remedy="A name has letters, digits and _, begins with a letter, and is none of "
                f"{', '.join(_FUNCTIONS)}.",
            )
        pairs.append((name, body))
    return tuple(pairs)


def read_expression(text: str, known: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Check an expression and write it in the form that `compute` takes.

    Args:
        text: the expression.
        known: band names that it may use; their case need not be kept if that is clear.
    Returns:
        The expression with every band by its exact name; the bands it uses, in order.
    Raises:
        SettingsError: it cannot be read; shows the place, and the bands that are known.
    """
    reader = _Reader(text, tuple(known))
    tree = reader.read()
    if not reader.used:
        raise SettingsError(
            f"--expression '{text}' uses no band.", remedy=f"Bands here: {', '.join(known)}."
        )
    return ast.unparse(tree), tuple(reader.used)


def substitute(text: str, places: Mapping[str, str | float]) -> str:
    """A formula with some of its names replaced.

    Args:
        text: a formula of the grammar, whose names all stand in ``places``.
        places: name -> what it stands for: a number, or the name of a band.
    """

    class _Replace(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.expr:
            return node if node.id in _FUNCTIONS else _leaf(places[node.id])

    return ast.unparse(_Replace().visit(ast.parse(text.strip(), mode="eval")))


def compute(text: str, values: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """Evaluate an expression over arrays.

    Args:
        text: from `read_expression` or `substitute`.
        values: band -> float32 array; all of one shape.
    Returns:
        float32 in that shape; not finite where the arithmetic has no answer.
    """
    with np.errstate(all="ignore"):
        result: NDArray[np.float32] = _number(_computed(_tree(text), values))
    return result


@lru_cache(maxsize=256)
def _tree(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def _computed(node: ast.expr, values: Mapping[str, NDArray[np.float32]]) -> Value:
    match node:
        case ast.Constant(value=str(name)) | ast.Name(id=name):
            # Contiguous, so that NumPy takes one path (and gives one result) for any strip.
            return np.ascontiguousarray(values[name], np.float32)
        case ast.Constant(value=value):
            return np.float32(value)  # type: ignore[arg-type]  # the reader lets numbers in
        case ast.BinOp(left=left, op=op, right=right):
            function = _ARITHMETIC[type(op)]
            return function(_number(_computed(left, values)), _number(_computed(right, values)))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return np.logical_not(_truth(_computed(operand, values)))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_number(_computed(operand, values))
        case ast.UnaryOp(operand=operand):
            return _number(_computed(operand, values))
        case ast.BoolOp(op=op, values=parts):
            join = np.logical_and if isinstance(op, ast.And) else np.logical_or
            truths = [_truth(_computed(part, values)) for part in parts]
            return join.reduce(np.broadcast_arrays(*truths))
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            terms = [_number(_computed(term, values)) for term in (left, *comparators)]
            results = [
                _COMPARISONS[type(op)](a, b)
                for op, a, b in zip(ops, terms[:-1], terms[1:], strict=True)
            ]
            return np.logical_and.reduce(np.broadcast_arrays(*results))
        case ast.Call(func=ast.Name(id=name), args=args):
            return _FUNCTIONS[name][2](*(_computed(argument, values) for argument in args))
    raise AssertionError(ast.dump(node))  # the reader refuses all other nodes


def _number(value: Value) -> Value:
    """Truth counts as 1 and 0."""
    return value if value.dtype == np.float32 else value.astype(np.float32)


def _truth(value: Value) -> Value:
    return value if value.dtype == np.bool_ else value != 0


def _leaf(place: str | float) -> ast.expr:
    if isinstance(place, str):
        plain = place.isidentifier() and place.isascii() and not _taken(place)
        return ast.Name(place, ast.Load()) if plain else ast.Constant(place)
    number = ast.Constant(abs(place))
    return ast.UnaryOp(ast.USub(), number) if place < 0 else number


def _taken(name: str) -> bool:
    return keyword.iskeyword(name) or name in _FUNCTIONS


class _Reader:
    """Reads one expression and tells where it goes wrong."""

    def __init__(self, text: str, known: tuple[str, ...]) -> None:
        self.text, self.known = text, known
        self.used: dict[str, None] = {}

    def read(self) -> ast.expr:
        unquoted = re.sub(_QUOTED, lambda quote: "x" * len(quote[0]), self.text)
        if "#" in unquoted:  # Python would take what follows for a comment
            raise self._error("'#' means nothing here", unquoted.index("#"))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Python's hints on style
                tree = ast.parse(self.text, mode="eval")
        except SyntaxError as error:
            place = min(max((error.offset or 1) - 1, 0), len(self.text))
            raise self._error("it cannot be read from here on", place) from error
        except (ValueError, RecursionError, MemoryError) as error:
            raise self._error("it is too deeply nested, or holds odd characters", 0) from error
        return self._checked(tree.body, 0)

    def _checked(self, node: ast.expr, depth: int) -> ast.expr:
        """The same node with bands by their exact names."""
        if depth > MAX_DEPTH:
            raise self._error(f"it is nested more than {MAX_DEPTH} deep", self._place(node))

        def inner(child: ast.expr) -> ast.expr:
            return self._checked(child, depth + 1)

        match node:
            case ast.Name(id=name) | ast.Constant(value=str(name)):
                return self._band(name, node)
            case ast.Constant(value=bool() | None):
                pass
            case ast.Constant(value=int() | float() as value):
                with np.errstate(over="ignore"):
                    if abs(value) <= np.finfo(np.float32).max:
                        return node
                raise self._error("this number is too large for float32", self._place(node))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                return ast.BinOp(inner(left), op, inner(right))
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() | ast.Not() as op, operand=operand):
                return ast.UnaryOp(op, inner(operand))
            case ast.BoolOp(op=op, values=parts):
                return ast.BoolOp(op, [inner(part) for part in parts])
            case ast.Compare(left=left, ops=ops, comparators=others) if all(
                type(op) in _COMPARISONS for op in ops
            ):
                return ast.Compare(inner(left), ops, [inner(other) for other in others])
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
                self._check_call(name, args, node)
                return ast.Call(node.func, [inner(argument) for argument in args], [])
        raise self._error("this is not understood", self._place(node), _UNDERSTOOD)

    def _check_call(self, name: str, args: Sequence[ast.expr], node: ast.expr) -> None:
        if name not in _FUNCTIONS:
            what = f"there is no function '{name}'"
            raise self._error(what, self._place(node), did_you_mean(name, _FUNCTIONS))
        fewest, most, _ = _FUNCTIONS[name]
        if not fewest <= len(args) <= most:
            wanted = f"{fewest}" if fewest == most else f"at least {fewest}"
            raise self._error(
                f"{name} takes {wanted} argument{'s' * (fewest > 1)}, not {len(args)}",
                self._place(node),
            )

    def _band(self, name: str, node: ast.expr) -> ast.expr:
        alike = [band for band in self.known if band.casefold() == name.casefold()]
        if name in self.known:
            alike = [name]
        if len(alike) != 1:
            what = f"'{name}' is no band here"
            if alike:
                what = f"'{name}' may be any of {', '.join(alike)}"
            raise self._error(what, self._place(node), did_you_mean(name, self.known))
        self.used[alike[0]] = None
        return _leaf(alike[0])

    def _place(self, node: ast.expr) -> int:
        """Python counts columns in bytes; people in characters."""
        return len(self.text.encode()[: node.col_offset].decode(errors="ignore"))

    def _error(self, what: str, place: int, remedy: str = "") -> SettingsError:
        start = max(0, place - 60)
        return SettingsError(
            f"--expression: {what}.",
            where=(
                self.text[start : start + 100],
                " " * (place - start) + "^",
                f"bands: {', '.join(self.known)}",
            ),
            remedy=remedy or "Correct the expression at this place.",
        )
