"""Functions that a statement calls: made in this upgrade, known to destroy or to run SQL, or named as if they did."""

from typing import TYPE_CHECKING, Any

from gatebook.safety.effects import Kind
from gatebook.safety.grammar import ast
from gatebook.safety.known import normal
from gatebook.safety.predicates import constant

if TYPE_CHECKING:
    from gatebook.safety.sql import Reader

RUNNING_SQL = (
    "dblink", "dblink_exec", "dblink_open", "dblink_send_query", "query_to_xml", "query_to_xmlschema",
    "query_to_xml_and_xmlschema", "cursor_to_xml", "run_command_on_workers", "run_command_on_all_nodes",
    "cron.schedule",
)  # fmt: skip
DESTROYING = {
    "lo_unlink": "deletes a large object",
    "drop_chunks": "deletes chunks of a hypertable with their rows",
    "add_retention_policy": "deletes old chunks of a hypertable from then on",
    "add_drop_chunks_policy": "deletes old chunks of a hypertable from then on",
    "pg_drop_replication_slot": "drops a replication slot",
    "pg_replication_origin_drop": "drops a replication origin with its progress",
    "dropgeometrycolumn": "drops a column",
    "dropgeometrytable": "drops a table",
    "pg_truncate_visibility_map": "truncates a map of visible pages",
}
VERBS = {"delete", "destroy", "drop", "erase", "purge", "truncate", "wipe"}
ASKING = {"can", "check", "count", "get", "has", "is", "may", "must", "should", "was"}
HARMLESS = {"delete", "jsonb_delete", "jsonb_delete_path", "ts_delete"}  # they return a value without a part of it
EXECUTED = (ast.SelectStmt, ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt, ast.MergeStmt, ast.CreateTableAsStmt)


def name_of_call(call: Any) -> str:
    return normal(".".join(each.sval for each in call.funcname)).removeprefix("pg_catalog.")


def listed(name: str) -> str:
    """The name under which a function is known to run SQL or to destroy, in whichever schema it stands; or ''."""
    last = name.rpartition(".")[2]
    return next((each for each in (name, last) if each in RUNNING_SQL or each in DESTROYING), "")


def sounds_destructive(name: str) -> bool:
    """`purge_orders`, `fn_drop_old`; not `can_delete`, and not a function of PostgreSQL itself."""
    last = name.rpartition(".")[2]
    words = last.split("_")[:2]
    return last not in HARMLESS and words[0] not in ASKING and bool(VERBS & set(words))


def read_call(reader: "Reader", call: Any, *, is_executed: bool) -> None:
    name = name_of_call(call)
    effects = reader.known.function(name)
    if effects:
        reader.happening(effects)
    elif reader.known.has_function(name):
        return
    elif found := listed(name):
        _listed(reader, found, call)
    elif name == "set_config":
        _set_config(reader, call)
    elif is_executed and sounds_destructive(name):
        why = f"{name}() is not defined in this upgrade and sounds as if it destroyed"
        reader.unclear(f"SELECT {name}()", f"{why}; define it here, or acknowledge it")


def _listed(reader: "Reader", name: str, call: Any) -> None:
    if name in DESTROYING:
        reader.add(Kind.LOST, f"SELECT {name}()", "", f"{name}() {DESTROYING[name]}")
        return
    texts = [constant(each) for each in call.args or ()]
    is_first = name.startswith("query_")
    sql = next((each for each in (texts if is_first else reversed(texts)) if isinstance(each, str)), None)
    if sql is None:
        reader.unclear(f"SELECT {name}()", "it executes a text that is not a literal; write the text out")
    else:
        reader.elsewhere(sql)


def _set_config(reader: "Reader", call: Any) -> None:
    """The same as SET."""
    name, value = (*(constant(each) for each in call.args or ()), None, None)[:2]
    reader.setting(str(name).lower(), value)
