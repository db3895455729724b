"""PL/pgSQL to effects: the statements of every branch, and the texts that EXECUTE is given."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gatebook.safety.grammar import ParseError, ast, parse_plpgsql, parse_sql
from gatebook.safety.predicates import UNKNOWN, constant

if TYPE_CHECKING:
    from gatebook.safety.sql import Reader

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
            found[variable["refname"]] = _text(query, {})
    for name in _assigned(function.get("action", {}), function.get("datums", ())):
        found.pop(name, None)
    return {name: value for name, value in found.items() if isinstance(value, str)}


def _assigned(tree: Any, datums: Any) -> Iterator[str]:
    names = [next(iter(each.values())).get("refname", "") for each in datums]
    for kind, node in _statements(tree):
        if kind == "PLpgSQL_stmt_assign":
            yield names[node["varno"]] if node.get("varno", 0) < len(names) else ""
        for key in ("target", "var"):
            for variable in (node.get(key) or {}).values() if isinstance(node.get(key), dict) else ():
                if isinstance(variable, dict):
                    yield variable.get("refname", "")
                    yield from (
                        field.get("name", "") for field in variable.get("fields", ()) if isinstance(field, dict)
                    )


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
    text = _text(query, variables)
    reader.statements += 1
    if not isinstance(text, str):
        reader.unclear(
            "EXECUTE", f"the text of EXECUTE {query[:80]} is not constant; write the statement out, or use format()"
        )
        return
    reader.nested(text)


def _text(query: str, variables: dict[str, str]) -> Any:
    """The text that an expression gives, with HOLE where a name or a literal is put in; UNKNOWN when it is none."""
    try:
        (statement,) = parse_sql(f"SELECT {query}")
        (target,) = statement.stmt.targetList
    except (ParseError, ValueError, TypeError):
        return UNKNOWN
    return _evaluate(target.val, variables)


def _evaluate(node: Any, variables: dict[str, str]) -> Any:
    if isinstance(node, ast.A_Const):
        value = constant(node)
        return str(value) if value is not None and value is not UNKNOWN else UNKNOWN
    if isinstance(node, ast.TypeCast):
        return _evaluate(node.arg, variables)
    if isinstance(node, ast.ColumnRef) and len(node.fields) == 1:
        return variables.get(getattr(node.fields[0], "sval", ""), UNKNOWN)
    if isinstance(node, ast.A_Expr) and node.name[-1].sval == "||":
        parts = [_evaluate(node.lexpr, variables), _evaluate(node.rexpr, variables)]
        return "".join(parts) if all(isinstance(each, str) for each in parts) else UNKNOWN
    return _called(node, variables) if isinstance(node, ast.FuncCall) else UNKNOWN


def _called(node: Any, variables: dict[str, str]) -> Any:
    name = node.funcname[-1].sval
    values = [_evaluate(each, variables) for each in node.args or ()]
    if name in QUOTING:
        known = values[0] if values and isinstance(values[0], str) else None
        if name == "quote_ident":
            return f'"{known}"' if known is not None else HOLE
        return f"'{known}'" if known is not None else f"'{HOLE}'"
    if name == "concat" and all(isinstance(each, str) for each in values):
        return "".join(values)
    if name == "format" and values and isinstance(values[0], str):
        return _formatted(values[0], values[1:])
    return UNKNOWN


FORMAT = re.compile(r"%(?:%|(?:(\d+)\$)?-?\d*([sIL]))")


def _formatted(template: str, values: list[Any]) -> Any:
    """format(): %I is a name and %L a literal, known or not; %s of something unknown may be anything."""
    position = iter(range(len(values)))
    unknown = False

    def put(found: re.Match[str]) -> str:
        nonlocal unknown
        if found[0] == "%%":
            return "%"
        place = int(found[1]) - 1 if found[1] else next(position, len(values))
        value = values[place] if place < len(values) else UNKNOWN
        known = value if isinstance(value, str) else None
        if found[2] == "I":
            return f'"{known}"' if known is not None else HOLE
        if found[2] == "L":
            return f"'{known}'" if known is not None else f"'{HOLE}'"
        unknown = unknown or known is None
        return known or ""

    text = FORMAT.sub(put, template)
    return UNKNOWN if unknown else text
