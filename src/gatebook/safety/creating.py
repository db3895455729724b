"""CREATE to what is known: what an upgrade made itself, and what its triggers set off."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pglast.enums import ObjectType

from gatebook.safety.definitions import name_of
from gatebook.safety.known import normal

if TYPE_CHECKING:
    from gatebook.safety.sql import Reader

Handlers = dict[str, Callable[["Reader", Any], None]]


def created() -> Handlers:
    return {
        "CreateStmt": _create("table"),
        "CreateTableAsStmt": _create_as,
        "SelectStmt": _select_into,
        "ViewStmt": _create_view,
        "IndexStmt": _create_index,
        "CreateSeqStmt": _create_sequence,
        "CreateEnumStmt": _create_type,
        "CreateRangeStmt": _create_type,
        "CreateDomainStmt": _create_type,
        "CompositeTypeStmt": _create_composite,
        "CreateSchemaStmt": _create_schema,
        "CreateTrigStmt": _create_trigger,
        "CreatePolicyStmt": _create_policy,
        "CreateEventTrigStmt": _create_event_trigger,
    }


def _create(kind: str) -> Callable[["Reader", Any], None]:
    def handler(reader: "Reader", node: Any) -> None:
        if not getattr(node, "if_not_exists", False):
            is_temporary = node.relation.relpersistence == "t"
            reader.known.create(kind, name_of(node.relation), is_temporary=is_temporary)

    return handler


def _create_as(reader: "Reader", node: Any) -> None:
    kind = "materialized view" if node.objtype == ObjectType.OBJECT_MATVIEW else "table"
    if not node.if_not_exists:
        reader.known.create(kind, name_of(node.into.rel), is_temporary=node.into.rel.relpersistence == "t")


def _select_into(reader: "Reader", node: Any) -> None:
    if node.intoClause is not None:
        reader.known.create("table", name_of(node.intoClause.rel))


def _create_view(reader: "Reader", node: Any) -> None:
    if not node.replace:
        reader.known.create("view", name_of(node.view))


def _create_index(reader: "Reader", node: Any) -> None:
    if node.idxname and not node.if_not_exists:
        schema = f"{node.relation.schemaname}." if node.relation.schemaname else ""
        reader.known.create("index", f"{schema}{node.idxname}")


def _create_sequence(reader: "Reader", node: Any) -> None:
    if not node.if_not_exists:
        reader.known.create("sequence", name_of(node.sequence))


def _create_type(reader: "Reader", node: Any) -> None:
    names = getattr(node, "typeName", None) or getattr(node, "domainname", None) or ()
    reader.known.create("type", ".".join(each.sval for each in names))


def _create_composite(reader: "Reader", node: Any) -> None:
    reader.known.create("type", name_of(node.typevar))


def _create_schema(reader: "Reader", node: Any) -> None:
    if not node.if_not_exists and node.schemaname:
        reader.known.create("schema", node.schemaname)


def _create_trigger(reader: "Reader", node: Any) -> None:
    if not node.replace:
        reader.known.create("trigger", f"{normal(name_of(node.relation))}.{node.trigname}")
    reader.known.fires(name_of(node.relation), reader.known.function(_last(node.funcname)))


def _create_event_trigger(reader: "Reader", node: Any) -> None:
    reader.happening(reader.known.function(_last(node.funcname)))


def _last(names: Any) -> str:
    return str(names[-1].sval)


def _create_policy(reader: "Reader", node: Any) -> None:
    reader.known.create("policy", f"{normal(name_of(node.table))}.{node.policy_name}")
