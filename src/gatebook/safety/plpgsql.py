"""PL/pgSQL to effects: the statements of every branch, and the texts that EXECUTE is given."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gatebook.safety.dynamic import Variables, statements, texts_of, variables_of
from gatebook.safety.grammar import ParseError, parse_plpgsql, parse_sql

if TYPE_CHECKING:
    from gatebook.safety.sql import Reader

DYNAMIC = {
    "PLpgSQL_stmt_dynexecute": "query",
    "PLpgSQL_stmt_dynfors": "query",
    "PLpgSQL_stmt_return_query": "dynquery",
    "PLpgSQL_stmt_open": "dynquery",
    "PLpgSQL_stmt_forc": "dynquery",
}
BRANCHING = re.compile(r"PLpgSQL_stmt_(if|case|loop|while|fori|fors|forc|dynfors|foreach_a)|PLpgSQL_exception_block")


def read_block(reader: "Reader", body: str) -> None:
    """A DO block."""
    mark = "$gatebook$" if "$gatebook$" not in body else "$gatebook_2$"
    text = f"CREATE FUNCTION pg_temp.block() RETURNS SETOF record LANGUAGE plpgsql AS {mark}{body}{mark}"
    _read(reader, text, "DO", given=())


def read_function(reader: "Reader", node: Any, body: str) -> None:
    """The body of a function or procedure, with its parameters as unknown variables."""
    names = [each.name for each in node.parameters or () if each.name]
    parameters = ", ".join(f'"{name}" text' for name in dict.fromkeys(names))
    is_trigger = node.returnType is not None and node.returnType.names[-1].sval in ("trigger", "event_trigger")
    returns = node.returnType.names[-1].sval if is_trigger else "SETOF record"
    text = f"CREATE FUNCTION pg_temp.block({'' if is_trigger else parameters}) RETURNS {returns} LANGUAGE plpgsql AS "
    _read(reader, f"{text}$gatebook$%s$gatebook$" % body, "CREATE FUNCTION", given=names)


def _read(reader: "Reader", text: str, pattern: str, *, given: Sequence[str]) -> None:
    try:
        (function,) = parse_plpgsql(text)
    except (ParseError, ValueError, RecursionError) as error:
        message = error.args[0] if error.args else error
        reader.unclear(pattern, f"its body cannot be parsed: {message}")
        return
    declared = function["PLpgSQL_function"]
    action = declared.get("action", {})
    with reader.known.perhaps_in_part(is_whole=not _leaves_early(action)):
        _walk(reader, action, variables_of(declared, given))
    for datum in declared.get("datums", ()):
        for variable in datum.values():
            _walk(reader, variable.get("default_val"), {})


def _leaves_early(action: Any) -> bool:
    """RETURN, or EXIT of a block; PL/pgSQL itself adds a RETURN without a line at the end."""
    leaving = ("PLpgSQL_stmt_return", "PLpgSQL_stmt_exit")
    return any(kind in leaving and "lineno" in node for kind, node in statements(action))


def _walk(reader: "Reader", tree: Any, variables: Variables) -> None:
    if isinstance(tree, list):
        for each in tree:
            _walk(reader, each, variables)
    elif isinstance(tree, dict):
        for key, value in tree.items():
            if key == "PLpgSQL_stmt_rollback":
                reader.known.forget()
            elif key == "PLpgSQL_expr":
                _expression(reader, value)
            elif key in DYNAMIC and isinstance(value, dict) and DYNAMIC[key] in value:
                _dynamic(reader, value[DYNAMIC[key]]["PLpgSQL_expr"]["query"], variables)
                _branch(reader, {k: v for k, v in value.items() if k != DYNAMIC[key]}, variables)
            elif BRANCHING.fullmatch(key) or (key == "PLpgSQL_stmt_block" and "exceptions" in value):
                _branch(reader, value, variables)
            else:
                _walk(reader, value, variables)


def _branch(reader: "Reader", tree: Any, variables: Variables) -> None:
    with reader.known.maybe():
        _walk(reader, tree, variables)


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


def _dynamic(reader: "Reader", query: str, variables: Variables) -> None:
    texts = texts_of(query, variables)
    reader.statements += 1
    if texts is None:
        what = f"the text of EXECUTE {' '.join(query.split())[:80]} is not constant"
        reader.unclear("EXECUTE", f"{what}; write the statement out, or use format() with %I and %L")
        return
    for text in texts:
        reader.nested(text)
