"""PL/pgSQL to effects: the statements of every branch, and the texts that EXECUTE is given."""

import itertools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from gatebook.safety.grammar import ParseError, ast, parse_plpgsql, parse_sql
from gatebook.safety.predicates import UNKNOWN, constant

if TYPE_CHECKING:
    from gatebook.safety.sql import Reader

MOST = 64  # variants of one text
HOLE = "gatebook_unknown_name"  # stands for a name or literal that is known when the block runs
DYNAMIC = {
    "PLpgSQL_stmt_dynexecute": "query",
    "PLpgSQL_stmt_dynfors": "query",
    "PLpgSQL_stmt_return_query": "dynquery",
    "PLpgSQL_stmt_open": "dynquery",
    "PLpgSQL_stmt_forc": "dynquery",
}
BRANCHES = ("then_body", "else_body", "elsif_list", "body", "exceptions", "case_when_list", "else_stmts")
BRANCHING = re.compile(r"PLpgSQL_stmt_(if|case|loop|while|fori|fors|forc|dynfors|foreach_a)|PLpgSQL_exception_block")
QUOTING = ("quote_ident", "quote_literal", "quote_nullable")


def read_block(reader: "Reader", body: str) -> None:
    """A DO block."""
    mark = "$gatebook$" if "$gatebook$" not in body else "$gatebook_2$"
    _read(reader, f"CREATE FUNCTION pg_temp.block() RETURNS SETOF record LANGUAGE plpgsql AS {mark}{body}{mark}", "DO")


def read_function(reader: "Reader", node: Any, body: str) -> None:
    """The body of a function or procedure, with its parameters as unknown variables."""
    names = [each.name for each in node.parameters or () if each.name]
    parameters = ", ".join(f'"{name}" text' for name in dict.fromkeys(names))
    is_trigger = node.returnType is not None and node.returnType.names[-1].sval in ("trigger", "event_trigger")
    returns = node.returnType.names[-1].sval if is_trigger else "SETOF record"
    text = f"CREATE FUNCTION pg_temp.block({'' if is_trigger else parameters}) RETURNS {returns} LANGUAGE plpgsql AS "
    _read(reader, f"{text}$gatebook$%s$gatebook$" % body, "CREATE FUNCTION")


def _read(reader: "Reader", text: str, pattern: str) -> None:
    try:
        (function,) = parse_plpgsql(text)
    except (ParseError, ValueError, RecursionError) as error:
        message = error.args[0] if error.args else error
        reader.unclear(pattern, f"its body cannot be parsed: {message}")
        return
    declared = function["PLpgSQL_function"]
    variables = _constants(declared)
    _walk(reader, declared.get("action", {}), variables)
    for datum in declared.get("datums", ()):
        for variable in datum.values():
            _expressions(reader, variable.get("default_val"))


def _constants(function: dict[str, Any]) -> dict[str, str]:
    """Variables that are given one constant and nothing else."""
    found: dict[str, Any] = {}
    for datum in function.get("datums", ()):
        variable = datum.get("PLpgSQL_var", {})
        query = variable.get("default_val", {}).get("PLpgSQL_expr", {}).get("query")
        if query is not None:
            found[variable["refname"]] = _only(_texts(query, {}))
    for name in _assigned(function.get("action", {}), function.get("datums", ())):
        found.pop(name, None)
    return {name: value for name, value in found.items() if isinstance(value, str)}


def _only(texts: list[str] | None) -> str | None:
    return texts[0] if texts is not None and len(texts) == 1 else None


def _assigned(tree: Any, datums: Any) -> Iterator[str]:
    names = [next(iter(each.values())).get("refname", "") for each in datums]
    for _, node in _statements(tree):
        yield from _numbered(node, names)
        for key in ("target", "var"):
            for variable in (node.get(key) or {}).values() if isinstance(node.get(key), dict) else ():
                if isinstance(variable, dict):
                    yield variable.get("refname", "")
                    yield from (
                        field.get("name", "") for field in variable.get("fields", ()) if isinstance(field, dict)
                    )


def _numbered(node: dict[str, Any], names: list[str]) -> Iterator[str]:
    """Variables that a statement sets by their numbers: FOREACH, GET DIAGNOSTICS."""
    items = [each.get("PLpgSQL_diag_item", {}) for each in node.get("diag_items", ())]
    for place in (node.get("varno"), *(each.get("target") for each in items)):
        if isinstance(place, int) and place < len(names):
            yield names[place]


def _statements(tree: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(tree, list):
        for each in tree:
            yield from _statements(each)
    elif isinstance(tree, dict):
        for key, value in tree.items():
            if key.startswith("PLpgSQL_stmt") and isinstance(value, dict):
                yield key, value
            yield from _statements(value)


def _walk(reader: "Reader", tree: Any, variables: dict[str, str]) -> None:
    if isinstance(tree, list):
        for each in tree:
            _walk(reader, each, variables)
    elif isinstance(tree, dict):
        for key, value in tree.items():
            if key == "PLpgSQL_expr":
                _expression(reader, value)
            elif key in DYNAMIC and isinstance(value, dict) and DYNAMIC[key] in value:
                _dynamic(reader, value[DYNAMIC[key]]["PLpgSQL_expr"]["query"], variables)
                _branch(reader, {k: v for k, v in value.items() if k != DYNAMIC[key]}, variables)
            elif BRANCHING.fullmatch(key):
                _branch(reader, value, variables)
            else:
                _walk(reader, value, variables)


def _branch(reader: "Reader", tree: Any, variables: dict[str, str]) -> None:
    with reader.known.maybe():
        _walk(reader, tree, variables)


def _expressions(reader: "Reader", tree: Any) -> None:
    if tree:
        _walk(reader, tree, {})


def _expression(reader: "Reader", expression: dict[str, Any]) -> None:
    """A statement, or an expression that may call functions."""
    query, mode = expression["query"], expression.get("parseMode", 0)
    if mode == 0:
        reader.nested(query)
        return
    text = query.split(":=", 1)[-1] if mode >= 3 else query
    try:
        parsed = parse_sql(f"SELECT {text}")
    except ParseError:
        return
    for raw in parsed:
        reader.calls(raw.stmt)


def _dynamic(reader: "Reader", query: str, variables: dict[str, str]) -> None:
    texts = _texts(query, variables)
    reader.statements += 1
    if texts is None:
        what = f"the text of EXECUTE {' '.join(query.split())[:80]} is not constant"
        reader.unclear("EXECUTE", f"{what}; write the statement out, or use format() with %I and %L")
        return
    for text in texts:
        reader.nested(text)


def _texts(query: str, variables: dict[str, str]) -> list[str] | None:
    """The texts that an expression may give, with HOLE for a name or literal known later; None when it is anything."""
    try:
        (statement,) = parse_sql(f"SELECT {query}")
        (target,) = statement.stmt.targetList
    except (ParseError, ValueError, TypeError):
        return None
    return _evaluate(target.val, variables)


def _evaluate(node: Any, variables: dict[str, str]) -> list[str] | None:
    if isinstance(node, ast.A_Const):
        value = constant(node)
        return [str(value)] if value is not None and value is not UNKNOWN else None
    if isinstance(node, ast.TypeCast):
        return _evaluate(node.arg, variables)
    if isinstance(node, ast.ColumnRef) and len(node.fields) == 1:
        name = getattr(node.fields[0], "sval", "")
        return [variables[name]] if name in variables else None
    if isinstance(node, ast.A_Expr) and node.name[-1].sval == "||":
        return _combined([_evaluate(node.lexpr, variables), _evaluate(node.rexpr, variables)], "".join)
    if isinstance(node, ast.CaseExpr):
        results = [_evaluate(each.result, variables) for each in node.args]
        results += [_evaluate(node.defresult, variables)] if node.defresult is not None else []
        return None if None in results else [text for each in results for text in each or ()]
    return _called(node, variables) if isinstance(node, ast.FuncCall) else None


def _combined(parts: Sequence[list[str] | None], join: Callable[[Sequence[str]], str]) -> list[str] | None:
    """Every combination of the texts that each part may give."""
    known = [each for each in parts if each is not None]
    if len(known) < len(parts) or math.prod(len(each) for each in known) > MOST:
        return None
    return [join(each) for each in itertools.product(*known)]


def _called(node: Any, variables: dict[str, str]) -> list[str] | None:
    name = node.funcname[-1].sval
    values = [_evaluate(each, variables) for each in node.args or ()]
    if name in QUOTING:
        mark = '"' if name == "quote_ident" else "'"
        return [f"{mark}{each}{mark}" for each in (values[0] if values and values[0] else [HOLE])]
    if name == "concat":
        return _combined(values, "".join)
    template = values[0] if name == "format" and values else None
    return _formatted(template[0], values[1:]) if template is not None and len(template) == 1 else None


FORMAT = re.compile(r"%(?:%|(?:(\d+)\$)?-?\d*([sIL]))")


def _formatted(template: str, values: list[list[str] | None]) -> list[str] | None:
    """format(): %I is a name and %L a literal, known or not; %s of something unknown may be anything."""
    places = _places(template)
    if any(kind == "s" and (place >= len(values) or values[place] is None) for place, kind in places):
        return None
    chosen = [values[place] if place < len(values) and values[place] else [HOLE] for place, _ in places]

    def join(texts: Sequence[str]) -> str:
        waiting = iter(zip(texts, places, strict=True))

        def put(found: re.Match[str]) -> str:
            if found[0] == "%%":
                return "%"
            text, (_, kind) = next(waiting)
            return f'"{text}"' if kind == "I" else f"'{text}'" if kind == "L" else text

        return FORMAT.sub(put, template)

    return _combined(chosen, join)


def _places(template: str) -> list[tuple[int, str]]:
    """Which argument each specifier takes, and its kind: s, I or L."""
    found: list[tuple[int, str]] = []
    following = 0
    for specifier in FORMAT.finditer(template):
        if specifier[2]:
            place = int(specifier[1]) - 1 if specifier[1] else following
            following = place + 1
            found.append((place, specifier[2]))
    return found
