"""Does a WHERE clause keep any row out? Constants are computed, everything else is unknown and counts as a filter."""

import operator
from collections.abc import Callable, Iterator
from typing import Any

from pglast.enums import A_Expr_Kind, BoolExprType, BoolTestType, NullTestType, SubLinkType

from gatebook.safety.grammar import ast


class _Unknown:
    """Not a constant."""


UNKNOWN = _Unknown()
Names = tuple[str, str]  # the table that is written to, and its alias
NOWHERE: Names = ("", "")
COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
OPPOSITES = {"=": "<>", "<": ">=", ">": "<="}
SAME = {"=": True, ">=": True, "<=": True, "<>": False, "<": False, ">": False}
OF_THE_SYSTEM = ("ctid", "tableoid", "xmin", "xmax", "cmin", "cmax")
ANY_TEXT = ("", ".*", "^", "$", "^.*$", "^.*", ".*$")
KEEPING_SOME = ("limitCount", "limitOffset", "distinctClause", "groupClause", "havingClause", "withClause")
TESTS = {
    BoolTestType.IS_TRUE: (True, False),
    BoolTestType.IS_NOT_TRUE: (True, True),
    BoolTestType.IS_FALSE: (False, False),
    BoolTestType.IS_NOT_FALSE: (False, True),
    BoolTestType.IS_UNKNOWN: (None, False),
    BoolTestType.IS_NOT_UNKNOWN: (None, True),
}
TRUE_WORDS = {"t", "true", "y", "yes", "on", "1"}
FALSE_WORDS = {"f", "false", "n", "no", "off", "0"}


def is_effective(where: Any, *, table: str = "", alias: str = "") -> bool:
    """Whether a WHERE clause may keep a row out; False when it is missing or known to be true.

    table  the table that is written to: `id IN (SELECT id FROM table)` leaves no row out either
    alias  its other name in the statement
    """
    return where is not None and _names_rows(where) and _value(where, (table, alias or table)) is not True


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
    return _value(node, NOWHERE)


def _value(node: Any, table: Names) -> Any:
    reader = READERS.get(type(node).__name__)
    try:
        return reader(node, table) if reader else UNKNOWN
    except (TypeError, ValueError, ArithmeticError):
        return UNKNOWN


def _const(node: Any, _table: Names) -> Any:
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


def _cast(node: Any, table: Names) -> Any:
    value = _value(node.arg, table)
    if str(node.typeName.names[-1].sval) in ("bool", "boolean") and not isinstance(value, bool | _Unknown):
        word = str(value).lower()
        return True if word in TRUE_WORDS else False if word in FALSE_WORDS else UNKNOWN
    return value


def _bool(node: Any, table: Names) -> Any:
    values = [_value(each, table) for each in node.args]
    if node.boolop == BoolExprType.NOT_EXPR:
        return not values[0] if isinstance(values[0], bool) else values[0]
    if node.boolop == BoolExprType.OR_EXPR:
        if any(value is True for value in values) or _are_opposites(node.args, table):
            return True
        return False if all(value is False for value in values) else UNKNOWN
    if any(value is False or value is None for value in values) or _are_opposites(node.args, table):
        return False
    return True if all(value is True for value in values) else UNKNOWN


def _are_opposites(nodes: Any, table: Names) -> bool:
    """Whether one of them is the contrary of another: `x OR NOT x`, `a = 3 OR a <> 3`, `a IS NULL OR a IS NOT NULL`."""
    claims = {_key(node, table) for node in nodes}
    return any(contrary in claims for node in nodes for contrary in _contraries(node, table))


def _contraries(node: Any, table: Names) -> Iterator[Any]:
    if isinstance(node, ast.BoolExpr) and node.boolop == BoolExprType.NOT_EXPR:
        yield _key(node.args[0], table)
    if isinstance(node, ast.NullTest) and node.nulltesttype == NullTestType.IS_NULL:
        yield ("NullTest", _key(node.arg, table), int(NullTestType.IS_NOT_NULL))
    if isinstance(node, ast.A_Expr) and node.kind == A_Expr_Kind.AEXPR_OP and node.name[-1].sval in OPPOSITES:
        yield ("A_Expr", OPPOSITES[node.name[-1].sval], _key(node.lexpr, table), _key(node.rexpr, table))


def _key(node: Any, table: Names) -> Any:
    """What makes two expressions the same, wherever they stand and whether or not they name the table."""
    if isinstance(node, tuple):
        return tuple(_key(each, table) for each in node)
    if isinstance(node, ast.ColumnRef):
        names = tuple(getattr(each, "sval", "*") for each in node.fields)
        return ("column", names[-1:] if len(names) > 1 and names[-2] in table else names)
    if isinstance(node, ast.NullTest):
        return ("NullTest", _key(node.arg, table), int(node.nulltesttype))
    if isinstance(node, ast.A_Expr) and node.kind == A_Expr_Kind.AEXPR_OP:
        name = "<>" if node.name[-1].sval == "!=" else node.name[-1].sval
        return ("A_Expr", name, _key(node.lexpr, table), _key(node.rexpr, table))
    if isinstance(node, ast.Node):
        parts = (_key(getattr(node, each), table) for each in node if each != "location")
        return (type(node).__name__, *parts)
    return node


def _are_same(left: Any, right: Any, table: Names) -> bool:
    return left is not None and _key(left, table) == _key(right, table)


def _expression(node: Any, table: Names) -> Any:
    if node.kind in (A_Expr_Kind.AEXPR_LIKE, A_Expr_Kind.AEXPR_ILIKE):
        pattern = _value(node.rexpr, table)
        is_any = isinstance(pattern, str) and bool(pattern) and not pattern.strip("%")
        return True if is_any and node.name[-1].sval in ("~~", "~~*") else UNKNOWN
    if node.kind in (A_Expr_Kind.AEXPR_BETWEEN, A_Expr_Kind.AEXPR_BETWEEN_SYM):
        return True if all(_are_same(each, node.lexpr, table) for each in node.rexpr) else UNKNOWN
    if node.kind == A_Expr_Kind.AEXPR_NOT_DISTINCT:
        return True if _are_same(node.lexpr, node.rexpr, table) else UNKNOWN
    if node.kind == A_Expr_Kind.AEXPR_IN:
        left, among = _value(node.lexpr, table), [_value(each, table) for each in node.rexpr]
        return UNKNOWN if UNKNOWN in (left, *among) else (left in among) == (node.name[-1].sval == "=")
    if node.kind == A_Expr_Kind.AEXPR_OP and node.name[-1].sval in ("~", "~*"):
        return True if _value(node.rexpr, table) in ANY_TEXT else UNKNOWN
    if node.kind == A_Expr_Kind.AEXPR_OP_ANY and node.name[-1].sval == "=" and isinstance(node.rexpr, ast.SubLink):
        return _is_among(node.lexpr, node.rexpr.subselect, table)
    if node.kind == A_Expr_Kind.AEXPR_OP and node.name[-1].sval in SAME and _are_same(node.lexpr, node.rexpr, table):
        return SAME[node.name[-1].sval]
    compare = COMPARISONS.get(node.name[-1].sval) if node.kind == A_Expr_Kind.AEXPR_OP else None
    if compare is None or node.lexpr is None:
        return UNKNOWN
    left, right = _value(node.lexpr, table), _value(node.rexpr, table)
    if UNKNOWN in (left, right):
        return UNKNOWN
    return None if left is None or right is None else compare(left, right)


def _null_test(node: Any, table: Names) -> Any:
    if isinstance(node.arg, ast.ColumnRef) and getattr(node.arg.fields[-1], "sval", "") in OF_THE_SYSTEM:
        return bool(node.nulltesttype == NullTestType.IS_NOT_NULL)
    value = _value(node.arg, table)
    return UNKNOWN if value is UNKNOWN else (value is None) == (node.nulltesttype == NullTestType.IS_NULL)


def _boolean_test(node: Any, table: Names) -> Any:
    value = _value(node.arg, table)
    truth, is_negated = TESTS[node.booltesttype]
    if truth is None and isinstance(node.arg, ast.NullTest):
        return is_negated
    return UNKNOWN if value is UNKNOWN else (value is truth) != is_negated


def _coalesce(node: Any, table: Names) -> Any:
    values = (_value(each, table) for each in node.args)
    return next((value for value in values if value is not None), None)


def _case(node: Any, table: Names) -> Any:
    """A CASE that says true in every branch that may be taken."""
    if node.arg is not None:
        return UNKNOWN
    results = []
    for when in node.args:
        condition = _value(when.expr, table)
        if condition is UNKNOWN or condition is True:
            results.append(_value(when.result, table))
        if condition is True:
            break
    else:
        results.append(_value(node.defresult, table) if node.defresult is not None else None)
    return results[0] if all(each is results[0] for each in results) else UNKNOWN


def _sublink(node: Any, table: Names) -> Any:
    select = node.subselect
    if not isinstance(select, ast.SelectStmt):
        return UNKNOWN
    if node.subLinkType == SubLinkType.EXISTS_SUBLINK:
        keeps_some = select.fromClause or select.whereClause or select.havingClause or select.limitCount
        return UNKNOWN if keeps_some or select.limitOffset or select.op else True
    is_any = node.subLinkType == SubLinkType.ANY_SUBLINK and not node.operName
    return _is_among(node.testexpr, select, table) if is_any else UNKNOWN


def _is_among(column: Any, select: Any, table: Names) -> Any:
    """`column IN (SELECT column FROM table)`: every row that has a value is among them."""
    if not isinstance(select, ast.SelectStmt) or not isinstance(column, ast.ColumnRef):
        return UNKNOWN
    if any(getattr(select, each) for each in KEEPING_SOME) or select.op:
        return UNKNOWN
    sources: Any = select.fromClause or ()
    targets: Any = select.targetList or ()
    if len(sources) != 1 or len(targets) != 1 or not isinstance(sources[0], ast.RangeVar):
        return UNKNOWN
    inner = (sources[0].relname, sources[0].alias.aliasname if sources[0].alias else sources[0].relname)
    is_whole = select.whereClause is None or _value(select.whereClause, inner) is True
    is_same = sources[0].relname == table[0] and _key(column, table) == _key(targets[0].val, inner)
    return True if is_whole and is_same else UNKNOWN


READERS: dict[str, Callable[[Any, Names], Any]] = {
    "A_Const": _const,
    "TypeCast": _cast,
    "BoolExpr": _bool,
    "A_Expr": _expression,
    "NullTest": _null_test,
    "BooleanTest": _boolean_test,
    "CoalesceExpr": _coalesce,
    "CaseExpr": _case,
    "SubLink": _sublink,
}
