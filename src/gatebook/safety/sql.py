"""SQL text to effects, by PostgreSQL's own grammar: every statement, DO blocks and EXECUTE strings included."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from pglast.enums import TransactionStmtKind

from gatebook.safety import plpgsql
from gatebook.safety.creating import created
from gatebook.safety.definitions import function_body, language_of, name_of
from gatebook.safety.dropping import altered, dropped
from gatebook.safety.dynamic import HOLE
from gatebook.safety.effects import Effect, Kind, Reading
from gatebook.safety.functions import EXECUTED, read_call
from gatebook.safety.grammar import ParseError, ast, parse_sql
from gatebook.safety.known import Known, normal
from gatebook.safety.placeholders import neutral
from gatebook.safety.predicates import constant, is_effective

OF_SQLITE = re.compile(r"\s*PRAGMA\b[^;]*;?\s*", re.IGNORECASE)  # a setting; PostgreSQL refuses it
AROUND = (ast.CopyStmt, ast.CreateTableAsStmt, ast.DeclareCursorStmt, ast.ExplainStmt)
WRITING = (ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt, ast.MergeStmt, ast.CopyStmt)
LANGUAGES = ("sql", "plpgsql")


def read_sql(text: str, known: Known | None = None) -> Reading:
    """What a text of SQL would do. Never raises: what cannot be read is an UNRESOLVED effect.

    known  what the upgrade has made before this text; it is carried on
    """
    reader = Reader(known if known is not None else Known())
    reader.read(text)
    return Reading(tuple(reader.effects), reader.statements, reader.unresolved)


class Reader:
    """Walks statements; the subject of sql.py, plpgsql.py and definitions.py alike."""

    def __init__(self, known: Known) -> None:
        self.known = known
        self.effects: list[Effect] = []
        self.statements = 0
        self.unresolved = 0
        self.line = 0
        self.depth = 0

    def read(self, text: str) -> None:
        if not text.strip():
            return
        try:
            found = _parse(text)
        except (ParseError, ValueError, RecursionError) as error:
            self.statements += 1
            if OF_SQLITE.fullmatch(text):
                return
            self.unclear(
                "SQL", f"PostgreSQL cannot parse it: {_message(error)}; write it as a literal that it can parse"
            )
            return
        for raw in found:
            self.statements += 1
            start = raw.stmt_location or 0
            lead = len(text[start:]) - len(text[start:].lstrip())
            if not self.depth:
                self.line = text.count("\n", 0, start + lead) + 1
            try:
                self.statement(raw.stmt)
            except RecursionError:
                self.unclear("SQL", "it is nested too deeply to be followed; write it in several statements")

    def nested(self, text: str) -> None:
        """A text that a statement executes: it counts as the statement's own."""
        if self.depth > 20:
            self.unclear("SQL", "statements are nested too deeply; write them one after the other")
            return
        self.depth += 1
        try:
            self.read(text)
        finally:
            self.depth -= 1

    def statement(self, node: Any) -> None:
        handler = HANDLERS.get(type(node).__name__)
        if handler is not None:
            handler(self, node)
        if not isinstance(node, AROUND):
            self.calls(node)
        if isinstance(node, WRITING) and node.relation is not None:
            self.happening(self.known.fired.get(normal(name_of(node.relation)), ()))
        for inner in _inner(node):
            self.statement(inner)

    def calls(self, node: Any) -> None:
        """Functions that were made here are run by whoever calls them; some others run or destroy by themselves."""
        if isinstance(node, ast.CreateFunctionStmt | ast.DoStmt):
            return
        for call in _nodes(node, ast.FuncCall):
            read_call(self, call, is_executed=isinstance(node, EXECUTED))

    def happening(self, effects: Iterable[Effect]) -> None:
        """What was defined before is executed by this statement."""
        self.effects += [replace(each, sql_line=self.line) for each in effects]

    def elsewhere(self, text: str) -> None:
        """A text that another session may execute: there a name may stand for something that was there before."""
        here, self.known = self.known, Known(functions=self.known.functions)
        try:
            self.nested(text)
        finally:
            self.known = here

    def setting(self, name: str, value: Any) -> None:
        """SET: what a name stands for, and whether triggers fire."""
        if name == "search_path":
            self.known.forget()
        if name == "session_replication_role" and value is not None and value != "origin":
            self.add(Kind.GUARD, "session_replication_role", "", "triggers and foreign keys are not obeyed any more")

    def add(self, kind: Kind, pattern: str, target: str = "", detail: str = "") -> None:
        known = "" if HOLE in target else normal(target)
        said = detail.replace(HOLE, "(named when it runs)")
        self.effects.append(Effect(kind, pattern, known, said, self.line))

    def unclear(self, pattern: str, detail: str) -> None:
        self.unresolved += 1
        self.add(Kind.UNRESOLVED, pattern, "", detail)


def _parse(text: str) -> Any:
    if "\0" in text:
        raise ValueError("it holds a zero byte")
    try:
        return parse_sql(text)
    except ParseError:
        other = neutral(text)
        if other == text:
            raise
        return parse_sql(other)


def _message(error: BaseException) -> str:
    return str(error.args[0]) if error.args else type(error).__name__


def _nodes(node: Any, kind: type) -> Iterator[Any]:
    """Every node of one kind in a syntax tree, without recursion."""
    waiting = [node]
    while waiting:
        here = waiting.pop()
        if isinstance(here, kind):
            yield here
        if isinstance(here, ast.Node):
            waiting += [getattr(here, name) for name in here]
        elif isinstance(here, tuple):
            waiting += here


def _inner(node: Any) -> Iterator[Any]:
    """Statements inside a statement: common table expressions, EXPLAIN ANALYZE, CREATE TABLE AS, COPY (…)."""
    if isinstance(node, ast.CreateFunctionStmt | ast.DoStmt | ast.PrepareStmt | ast.RuleStmt | ast.ViewStmt):
        return
    if isinstance(node, AROUND):
        if node.query is not None and _runs(node):
            yield node.query
        return
    for expression in _nodes(node, ast.CommonTableExpr):
        if not isinstance(expression.ctequery, ast.SelectStmt):
            yield expression.ctequery
    if isinstance(node, ast.CreateSchemaStmt):
        yield from node.schemaElts or ()


def _runs(node: Any) -> bool:
    """EXPLAIN runs its statement with ANALYZE alone."""
    if not isinstance(node, ast.ExplainStmt):
        return True
    return any(each.defname == "analyze" and not is_off(each.arg) for each in node.options or ())


def is_off(value: Any) -> bool:
    """An option that says no: false, off, 0."""
    said = getattr(value, "sval", getattr(value, "ival", getattr(value, "boolval", None)))
    return value is not None and str(said or 0).lower() in ("false", "off", "0")


def _is_effective(node: Any) -> bool:
    alias = node.relation.alias
    return is_effective(node.whereClause, table=node.relation.relname, alias=alias.aliasname if alias else "")


def _delete(reader: Reader, node: Any) -> None:
    table = name_of(node.relation)
    if reader.known.made_table(table):
        return
    if _is_effective(node):
        reader.add(Kind.FILTERED, "DELETE FROM … WHERE", table, f"deletes the rows of {table} that match")
    else:
        reader.add(Kind.LOST, "DELETE FROM … (all rows)", table, f"deletes every row of {table}")


def _update(reader: Reader, node: Any) -> None:
    table = name_of(node.relation)
    columns = {each.name for each in node.targetList or ()}
    if reader.known.made_table(table) or all(reader.known.made_column(table, each) for each in columns if each):
        return
    rows = "the rows that match" if _is_effective(node) else "every row"
    reader.add(
        Kind.FILTERED, "UPDATE", table, f"changes {', '.join(sorted(filter(None, columns)))} in {rows} of {table}"
    )


def _merge(reader: Reader, node: Any) -> None:
    table = name_of(node.relation)
    commands = {int(clause.commandType) for clause in node.mergeWhenClauses or ()}
    if reader.known.made_table(table):
        return
    if 4 in commands:
        reader.add(Kind.LOST, "MERGE … DELETE", table, f"may delete any row of {table}")
    if 2 in commands:
        reader.add(Kind.FILTERED, "MERGE … UPDATE", table, f"changes rows of {table}")


def _truncate(reader: Reader, node: Any) -> None:
    cascade = int(node.behavior or 0) == 1
    for relation in node.relations:
        table = name_of(relation)
        if cascade or not reader.known.made_table(table):
            and_more = ", and of every table that refers to it" if cascade else ""
            reader.add(
                Kind.LOST,
                "TRUNCATE … CASCADE" if cascade else "TRUNCATE",
                table,
                f"deletes every row of {table}{and_more}",
            )


def _do(reader: Reader, node: Any) -> None:
    options = {each.defname: each.arg.sval for each in node.args}
    language = options.get("language", "plpgsql")
    if language not in LANGUAGES:
        reader.unclear("DO", f"its language {language} is not read; write it in plpgsql or as plain statements")
    else:
        plpgsql.read_block(reader, options["as"])


def _create_function(reader: Reader, node: Any) -> None:
    name = normal(".".join(each.sval for each in node.funcname))
    inside = Reader(Known(functions=dict(reader.known.functions)))
    inside.depth = 1
    language, body = language_of(node), function_body(node)
    kind = "procedure" if node.is_procedure else "function"
    if node.sql_body is not None:
        for statement in _flat(node.sql_body):
            inside.statement(statement)
    elif language == "plpgsql":
        plpgsql.read_function(inside, node, body)
    elif language == "sql":
        inside.nested(body)
    else:
        inside.unclear("CREATE FUNCTION", f"a body in {language} is not read")
    reader.known.define(name, tuple(inside.effects), kind=kind, is_new=not node.replace)
    harmful = sorted({each.pattern for each in inside.effects if each.kind is not Kind.DEFINED})
    if harmful:
        what = f"{name}() is defined, not executed; its body holds {', '.join(harmful)}"
        reader.add(Kind.DEFINED, f"CREATE {kind.upper()}", name, what)


def _flat(node: Any) -> Iterator[Any]:
    if isinstance(node, tuple):
        for each in node:
            yield from _flat(each)
    elif node is not None:
        yield node


def _create_rule(reader: Reader, node: Any) -> None:
    inside = Reader(Known())
    inside.depth = 1
    for statement in _flat(node.actions or ()):
        inside.statement(statement)
    reader.known.fires(name_of(node.relation), tuple(inside.effects))
    patterns = sorted({each.pattern for each in inside.effects})
    if patterns:
        reader.add(Kind.DEFINED, "CREATE RULE", node.rulename, f"a rule is defined that holds {', '.join(patterns)}")


def _call(reader: Reader, node: Any) -> None:
    name = normal(".".join(each.sval for each in node.funccall.funcname))
    if not reader.known.has_function(name):
        reader.unclear("CALL", f"the procedure {name} is not defined in this upgrade; what it does cannot be seen")


def _prepare(reader: Reader, node: Any) -> None:
    inside = Reader(reader.known)
    inside.line = reader.line
    inside.statement(node.query)
    reader.known.prepared[node.name] = tuple(inside.effects)


def _execute(reader: Reader, node: Any) -> None:
    if node.name in reader.known.prepared:
        reader.effects += [replace(each, sql_line=reader.line) for each in reader.known.prepared[node.name]]
    else:
        reader.unclear("EXECUTE", f"the statement {node.name} was not prepared in this upgrade")


def _transaction(reader: Reader, node: Any) -> None:
    if node.kind in (TransactionStmtKind.TRANS_STMT_ROLLBACK, TransactionStmtKind.TRANS_STMT_ROLLBACK_TO):
        reader.known.forget()


def _refresh(reader: Reader, node: Any) -> None:
    if node.skipData:
        name = name_of(node.relation)
        reader.add(Kind.LOST, "REFRESH … WITH NO DATA", name, f"deletes every row of {name}")


def _set(reader: Reader, node: Any) -> None:
    values = [constant(each) for each in node.args or ()]
    reader.setting(node.name or "", values[0] if values else None)


def _copy(reader: Reader, node: Any) -> None:
    if node.is_program:
        reader.unclear("COPY … PROGRAM", "a program of the server is run; what it does cannot be seen")


def _role(reader: Reader, node: Any) -> None:
    for option in node.options or ():
        if option.defname == "bypassrls" and constant_boolean(option.arg):
            reader.add(Kind.SECURITY, "BYPASSRLS", "", "the role then sees every row, whatever the policies say")


def constant_boolean(node: Any) -> bool:
    return bool(getattr(node, "boolval", node is None))


def _load(reader: Reader, node: Any) -> None:
    reader.unclear("LOAD", f"the library {node.filename} is loaded; what it does cannot be seen")


HANDLERS: dict[str, Callable[[Reader, Any], None]] = {
    "DeleteStmt": _delete,
    "UpdateStmt": _update,
    "MergeStmt": _merge,
    "TruncateStmt": _truncate,
    "DoStmt": _do,
    "CreateFunctionStmt": _create_function,
    "RuleStmt": _create_rule,
    "CallStmt": _call,
    "PrepareStmt": _prepare,
    "ExecuteStmt": _execute,
    "TransactionStmt": _transaction,
    "RefreshMatViewStmt": _refresh,
    "VariableSetStmt": _set,
    "CopyStmt": _copy,
    "AlterRoleStmt": _role,
    "LoadStmt": _load,
    **created(),
    **dropped(),
    **altered(),
}
