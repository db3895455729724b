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
TRUE_WORDS = {"t", "true", "y", "yes", "on", "1"}
FALSE_WORDS = {"f", "false", "n", "no", "off", "0"}


def is_effective(where: Any, *, table: str = "") -> bool:
    """Whether a WHERE clause may keep a row out; False when it is missing or known to be true.

    table  the table that is written to: `id IN (SELECT id FROM table)` leaves no row out either
    """
    if where is None or isinstance(where, ast.ParamRef):
        return False
    return _value(where, table) is not True


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
        if any(value is True for value in values) or _covers_null(node.args):
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


def _text(node: Any) -> str:
    fields = getattr(node, "fields", None)
    return str(tuple(getattr(each, "sval", "*") for each in fields)) if fields else repr(node)


def _expression(node: Any, table: str) -> Any:
    if node.kind in (A_Expr_Kind.AEXPR_LIKE, A_Expr_Kind.AEXPR_ILIKE):
        return True if node.name[-1].sval in ("~~", "~~*") and _value(node.rexpr, table) == "%" else UNKNOWN
    if node.kind == A_Expr_Kind.AEXPR_IN:
        left, among = _value(node.lexpr, table), [_value(each, table) for each in node.rexpr]
        return UNKNOWN if UNKNOWN in (left, *among) else (left in among) == (node.name[-1].sval == "=")
    compare = COMPARISONS.get(node.name[-1].sval) if node.kind == A_Expr_Kind.AEXPR_OP else None
    if compare is None or node.lexpr is None:
        return UNKNOWN
    if isinstance(node.lexpr, ast.ColumnRef) and isinstance(node.rexpr, ast.ColumnRef):
        same = node.lexpr.fields[-1] == node.rexpr.fields[-1] and len(node.lexpr.fields) == len(node.rexpr.fields)
        return True if same and _text(node.lexpr) == _text(node.rexpr) and compare(1, 1) else UNKNOWN
    left, right = _value(node.lexpr, table), _value(node.rexpr, table)
    if UNKNOWN in (left, right):
        return UNKNOWN
    return None if left is None or right is None else compare(left, right)


def _null_test(node: Any, table: str) -> Any:
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
