"""The texts that EXECUTE may be given: constants, what is joined from them, and variables that hold nothing else."""

import itertools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from gatebook.safety.grammar import ParseError, ast, parse_sql
from gatebook.safety.predicates import UNKNOWN, constant

Variables = dict[str, list[str]]  # each with every text that it may hold
MOST = 64  # variants of one text
HOLE = "gatebook_unknown_name"  # stands for a name or literal that is known when the block runs
QUOTING = ("quote_ident", "quote_literal", "quote_nullable")
NAMING = ("regclass", "regtype", "regproc", "regprocedure", "regnamespace", "regrole")  # their text is quoted already
FORMAT = re.compile(r"%(?:%|(?:(\d+)\$)?-?\d*([sIL]))")
ASSIGNMENT = re.compile(r'\s*(?:"[^"]+"|\w+)(?:\.(?:"[^"]+"|\w+))?\s*:?=(.*)', re.DOTALL)  # of a whole variable


def variables_of(function: dict[str, Any], given: Sequence[str]) -> Variables:
    """Variables that hold known texts only, whichever way the block takes.

    given  parameters: they hold anything
    """
    datums = function.get("datums", ())
    open_names = {*given, *_assigned(function.get("action", {}), datums)}
    queries: dict[str, list[str]] = {}
    for name, query in (*_defaults(datums), *_assignments(function.get("action", {}), datums)):
        queries.setdefault(name, []).append(query)
    waiting = {name: each for name, each in queries.items() if name not in open_names}
    found: Variables = {}
    for _ in range(len(waiting)):
        settled = {name: texts for name in waiting if (texts := _together(waiting[name], found)) is not None}
        if not settled:
            break
        found |= settled
        waiting = {name: each for name, each in waiting.items() if name not in settled}
    return found


def _together(queries: Sequence[str], variables: Variables) -> list[str] | None:
    results = [texts_of(each, variables) for each in queries]
    if any(each is None for each in results):
        return None
    texts = list(dict.fromkeys(itertools.chain.from_iterable(each or () for each in results)))
    return texts if len(texts) <= MOST else None


def _defaults(datums: Any) -> Iterator[tuple[str, str]]:
    for datum in datums:
        variable = datum.get("PLpgSQL_var", {})
        query = variable.get("default_val", {}).get("PLpgSQL_expr", {}).get("query")
        if query is not None and query.strip().upper() != "NULL":
            yield variable["refname"], query


def _assignments(tree: Any, datums: Any) -> Iterator[tuple[str, str]]:
    names = _names(datums)
    for kind, node in statements(tree):
        if kind == "PLpgSQL_stmt_assign":
            query = node["expr"]["PLpgSQL_expr"]["query"]
            whole = ASSIGNMENT.fullmatch(query)
            yield names[node.get("varno", 0)], whole[1] if whole else query


def _names(datums: Any) -> list[str]:
    return [next(iter(each.values())).get("refname", "") for each in datums]


def _assigned(tree: Any, datums: Any) -> Iterator[str]:
    """Variables that are set otherwise than by an assignment: INTO, loops, diagnostics."""
    names = _names(datums)
    for kind, node in statements(tree):
        yield from _numbered(node, names) if kind != "PLpgSQL_stmt_assign" else ()
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


def statements(tree: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(tree, list):
        for each in tree:
            yield from statements(each)
    elif isinstance(tree, dict):
        for key, value in tree.items():
            if key.startswith("PLpgSQL_stmt") and isinstance(value, dict):
                yield key, value
            yield from statements(value)


def texts_of(query: str, variables: Variables) -> list[str] | None:
    """The texts that an expression may give, with HOLE for a name or literal known later; None when it is anything."""
    try:
        (statement,) = parse_sql(f"SELECT {query}")
        (target,) = statement.stmt.targetList
    except (ParseError, ValueError, TypeError):
        return None
    return _evaluate(target.val, variables)


def _evaluate(node: Any, variables: Variables) -> list[str] | None:
    if isinstance(node, ast.A_Const):
        value = constant(node)
        return [str(value)] if value is not None and value is not UNKNOWN else None
    if isinstance(node, ast.TypeCast):
        is_name = node.typeName.names[-1].sval in NAMING
        return _evaluate(node.arg, variables) or ([HOLE] if is_name else None)
    if isinstance(node, ast.ColumnRef) and len(node.fields) == 1:
        name = getattr(node.fields[0], "sval", "")
        return variables.get(name)
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


def _called(node: Any, variables: Variables) -> list[str] | None:
    name = node.funcname[-1].sval
    values = [_evaluate(each, variables) for each in node.args or ()]
    if name in QUOTING:
        mark = '"' if name == "quote_ident" else "'"
        return [f"{mark}{each}{mark}" for each in (values[0] if values and values[0] else [HOLE])]
    if name == "concat":
        return _combined(values, "".join)
    if name == "concat_ws":
        return _combined(values, lambda parts: parts[0].join(parts[1:]))
    template = values[0] if name == "format" and values else None
    return _formatted(template[0], values[1:]) if template is not None and len(template) == 1 else None


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
