"""Does a WHERE clause keep any row out? Constants are computed, everything else is unknown and counts as a filter."""

import operator
from collections.abc import Callable
from typing import Any

from pglast.enums import A_Expr_Kind, BoolExprType, BoolTestType, NullTestType, SubLinkType

from gatebook.safety.grammar import ast


class _Unknown:
    """Not a constant."""


UNKNOWN = _Unknown()
COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
OPPOSITES = ({"=", "<>"}, {"<", ">="}, {">", "<="})
SAME = {"=": True, ">=": True, "<=": True, "<>": False, "<": False, ">": False}
OF_THE_SYSTEM = ("ctid", "tableoid", "xmin", "xmax", "cmin", "cmax")
ANY_TEXT = ("", ".*", "^", "$", "^.*$", "^.*", ".*$")
TRUE_WORDS = {"t", "true", "y", "yes", "on", "1"}
FALSE_WORDS = {"f", "false", "n", "no", "off", "0"}


def is_effective(where: Any, *, table: str = "") -> bool:
    """Whether a WHERE clause may keep a row out; False when it is missing or known to be true.

    table  the table that is written to: `id IN (SELECT id FROM table)` leaves no row out either
    """
    return where is not None and _names_rows(where) and _value(where, table) is not True


def _names_rows(where: Any) -> bool:
    """Without a column or a cursor it says the same of every row."""
    waiting = [where]
    while waiting:
        here = waiting.pop()
        if isinstance(here, ast.ColumnRef | ast.CurrentOfExpr):
            return True
        if isinstance(here, ast.Node):
            waiting += [getattr(here, name) for name in here]
        elif isinstance(here, tuple):
            waiting += here
    return False


def constant(node: Any) -> Any:
    """The value of a constant expression; None for NULL; UNKNOWN when it is none."""
    return _value(node, "")


def _value(node: Any, table: str) -> Any:
    reader = READERS.get(type(node).__name__)
    try:
        return reader(node, table) if reader else UNKNOWN
    except (TypeError, ValueError, ArithmeticError):
        return UNKNOWN


def _const(node: Any, _table: str) -> Any:
    if node.isnull:
        return None
    value = node.val
    if isinstance(value, ast.Integer):
        return value.ival or 0
    if isinstance(value, ast.Float):
        return float(value.fval)
    if isinstance(value, ast.Boolean):
        return bool(value.boolval)
    return value.sval if isinstance(value, ast.String) else UNKNOWN


def _cast(node: Any, table: str) -> Any:
    value = _value(node.arg, table)
    if str(node.typeName.names[-1].sval) in ("bool", "boolean") and not isinstance(value, bool | _Unknown):
        word = str(value).lower()
        return True if word in TRUE_WORDS else False if word in FALSE_WORDS else UNKNOWN
    return value


def _bool(node: Any, table: str) -> Any:
    values = [_value(each, table) for each in node.args]
    if node.boolop == BoolExprType.NOT_EXPR:
        return not values[0] if isinstance(values[0], bool) else values[0]
    if node.boolop == BoolExprType.OR_EXPR:
        if any(value is True for value in values) or _covers_null(node.args) or _covers_opposites(node.args):
            return True
        return False if all(value is False for value in values) else UNKNOWN
    if any(value is False or value is None for value in values):
        return False
    return True if all(value is True for value in values) else UNKNOWN


def _covers_null(nodes: Any) -> bool:
    """`x IS NULL OR x IS NOT NULL`"""
    tests: dict[str, set[Any]] = {}
    for node in nodes:
        if isinstance(node, ast.NullTest):
            tests.setdefault(_text(node.arg), set()).add(node.nulltesttype)
    return any(len(kinds) == 2 for kinds in tests.values())


def _covers_opposites(nodes: Any) -> bool:
    """`x OR NOT x`, `a = 3 OR a <> 3`"""
    for node in nodes:
        for other in nodes:
            if isinstance(other, ast.BoolExpr) and other.boolop == BoolExprType.NOT_EXPR and other.args[0] == node:
                return True
            if isinstance(node, ast.A_Expr) and isinstance(other, ast.A_Expr):
                is_same = (node.lexpr, node.rexpr) == (other.lexpr, other.rexpr)
                if is_same and {node.name[-1].sval, other.name[-1].sval} in OPPOSITES:
                    return True
    return False


def _text(node: Any) -> str:
    fields = getattr(node, "fields", None)
    return str(tuple(getattr(each, "sval", "*") for each in fields)) if fields else repr(node)


def _expression(node: Any, table: str) -> Any:
    if node.kind in (A_Expr_Kind.AEXPR_LIKE, A_Expr_Kind.AEXPR_ILIKE):
        pattern = _value(node.rexpr, table)
        is_any = isinstance(pattern, str) and bool(pattern) and not pattern.strip("%")
        return True if is_any and node.name[-1].sval in ("~~", "~~*") else UNKNOWN
    if node.kind in (A_Expr_Kind.AEXPR_BETWEEN, A_Expr_Kind.AEXPR_BETWEEN_SYM):
        return True if all(each == node.lexpr for each in node.rexpr) else UNKNOWN
    if node.kind == A_Expr_Kind.AEXPR_NOT_DISTINCT:
        return True if node.lexpr == node.rexpr else UNKNOWN
    if node.kind == A_Expr_Kind.AEXPR_IN:
        left, among = _value(node.lexpr, table), [_value(each, table) for each in node.rexpr]
        return UNKNOWN if UNKNOWN in (left, *among) else (left in among) == (node.name[-1].sval == "=")
    if node.kind == A_Expr_Kind.AEXPR_OP and node.name[-1].sval in ("~", "~*"):
        return True if _value(node.rexpr, table) in ANY_TEXT else UNKNOWN
    if node.kind == A_Expr_Kind.AEXPR_OP and node.lexpr is not None and node.lexpr == node.rexpr:
        return SAME.get(node.name[-1].sval, UNKNOWN)
    compare = COMPARISONS.get(node.name[-1].sval) if node.kind == A_Expr_Kind.AEXPR_OP else None
    if compare is None or node.lexpr is None:
        return UNKNOWN
    left, right = _value(node.lexpr, table), _value(node.rexpr, table)
    if UNKNOWN in (left, right):
        return UNKNOWN
    return None if left is None or right is None else compare(left, right)


def _null_test(node: Any, table: str) -> Any:
    if isinstance(node.arg, ast.ColumnRef) and getattr(node.arg.fields[-1], "sval", "") in OF_THE_SYSTEM:
        return bool(node.nulltesttype == NullTestType.IS_NOT_NULL)
    value = _value(node.arg, table)
    return UNKNOWN if value is UNKNOWN else (value is None) == (node.nulltesttype == NullTestType.IS_NULL)


def _boolean_test(node: Any, table: str) -> Any:
    value = _value(node.arg, table)
    wanted = {BoolTestType.IS_TRUE: True, BoolTestType.IS_FALSE: False}
    if value is UNKNOWN or node.booltesttype not in wanted:
        return UNKNOWN
    return value is wanted[node.booltesttype]


def _sublink(node: Any, table: str) -> Any:
    select = node.subselect
    if not isinstance(select, ast.SelectStmt) or select.whereClause is not None or select.limitCount is not None:
        return UNKNOWN
    if node.subLinkType == SubLinkType.EXISTS_SUBLINK:
        return True if not select.fromClause and not select.havingClause else UNKNOWN
    sources = [each.relname for each in select.fromClause or () if isinstance(each, ast.RangeVar)]
    is_whole = node.subLinkType == SubLinkType.ANY_SUBLINK and sources == [table] and not select.havingClause
    return True if is_whole and len(select.fromClause) == 1 else UNKNOWN


READERS: dict[str, Callable[[Any, str], Any]] = {
    "A_Const": _const,
    "TypeCast": _cast,
    "BoolExpr": _bool,
    "A_Expr": _expression,
    "NullTest": _null_test,
    "BooleanTest": _boolean_test,
    "SubLink": _sublink,
}
