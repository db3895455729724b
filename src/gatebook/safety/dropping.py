"""DROP and ALTER to effects."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pglast.enums import AlterPublicationAction, AlterTableType, ObjectType

from gatebook.safety.definitions import name_of
from gatebook.safety.effects import Kind
from gatebook.safety.grammar import ast
from gatebook.safety.known import normal
from gatebook.safety.types import holds_anything, read_type

if TYPE_CHECKING:
    from gatebook.safety.sql import Reader

Handlers = dict[str, Callable[["Reader", Any], None]]

# What holds rows, values or positions is lost; what can be written again from code is a guard.
LOST = {
    "TABLE": "table", "FOREIGN_TABLE": "foreign table", "MATVIEW": "materialized view", "SCHEMA": "schema",
    "TYPE": "type", "DOMAIN": "type", "SEQUENCE": "sequence", "EXTENSION": "extension", "FOREIGN_SERVER": "server",
}  # fmt: skip
WORDS = {"MATVIEW": "MATERIALIZED VIEW", "FOREIGN_TABLE": "FOREIGN TABLE", "FOREIGN_SERVER": "SERVER"}
GUARDS = {"INDEX": "index", "TRIGGER": "trigger", "POLICY": "policy", "VIEW": "view", "RULE": "rule"}
OF_A_TABLE = ("TRIGGER", "POLICY", "RULE")


def dropped() -> Handlers:
    return {
        "DropStmt": _drop,
        "DropdbStmt": lambda reader, node: reader.add(
            Kind.LOST, "DROP DATABASE", node.dbname, f"drops the database {node.dbname}"
        ),
        "DropOwnedStmt": lambda reader, _: reader.add(
            Kind.LOST, "DROP OWNED", "", "drops everything that the role owns"
        ),
        "DropTableSpaceStmt": lambda reader, node: reader.add(
            Kind.LOST, "DROP TABLESPACE", node.tablespacename, "drops a tablespace"
        ),
        "DropRoleStmt": lambda reader, _: reader.add(Kind.GUARD, "DROP ROLE", "", "drops a role"),
        "DropUserMappingStmt": lambda reader, node: reader.add(
            Kind.GUARD, "DROP USER MAPPING", node.servername, f"nobody is let through to {node.servername} by it"
        ),
        "DropSubscriptionStmt": lambda reader, node: reader.add(
            Kind.GUARD, "DROP SUBSCRIPTION", node.subname, "rows are not replicated any more"
        ),
    }


def altered() -> Handlers:
    return {
        "AlterTableStmt": _alter_table,
        "AlterDomainStmt": _alter_domain,
        "AlterEventTrigStmt": _alter_event_trigger,
        "AlterPublicationStmt": _alter_publication,
        "RenameStmt": _rename,
        "AlterObjectSchemaStmt": _moved,
    }


def _drop(reader: "Reader", node: Any) -> None:
    kind = ObjectType(node.removeType).name.removeprefix("OBJECT_")
    cascade = int(node.behavior or 0) == 1
    word = WORDS.get(kind, kind.replace("_", " "))
    for each in node.objects:
        name = _name(each, kind)
        if reader.known.drop((LOST | GUARDS).get(kind, word.lower()), name):
            continue
        pattern, along = _cascading(f"DROP {word}", node)
        is_lost = kind in LOST or cascade
        reader.add(Kind.LOST if is_lost else Kind.GUARD, pattern, name, f"drops {word.lower()} {name}{along}")


def _name(node: Any, kind: str) -> str:
    if isinstance(node, ast.ObjectWithArgs):
        return ".".join(each.sval for each in node.objname)
    if isinstance(node, ast.TypeName):
        return ".".join(each.sval for each in node.names)
    if isinstance(node, tuple):
        parts = [each.sval for each in node if isinstance(each, ast.String)]
        if kind in OF_A_TABLE and len(parts) > 1:
            return f"{normal('.'.join(parts[:-1]))}.{parts[-1]}"
        return ".".join(parts)
    return str(getattr(node, "sval", ""))


def _alter_table(reader: "Reader", node: Any) -> None:
    table = name_of(node.relation)
    is_type = node.objtype == ObjectType.OBJECT_TYPE
    for command in node.cmds or ():
        name = AlterTableType(command.subtype).name
        if is_type and name == "AT_DropColumn":
            reader.add(
                Kind.LOST, "ALTER TYPE … DROP ATTRIBUTE", f"{table}.{command.name}", "drops an attribute's values"
            )
        elif name in ALTERATIONS:
            ALTERATIONS[name](reader, normal(table), command)


def _drop_column(reader: "Reader", table: str, command: Any) -> None:
    name = f"{table}.{command.name}"
    if reader.known.drop("column", name) or reader.known.made_table(table):
        return
    pattern, along = _cascading("DROP COLUMN", command)
    reader.add(Kind.LOST, pattern, name, f"drops column {name} with its values{along}")


def _cascading(pattern: str, node: Any) -> tuple[str, str]:
    """The pattern and the end of the detail, with CASCADE where it is said."""
    is_cascade = int(node.behavior or 0) == 1
    return (f"{pattern} … CASCADE", ", and everything that depends on it") if is_cascade else (pattern, "")


def _drop_constraint(reader: "Reader", table: str, command: Any) -> None:
    name = f"{table}.{command.name}"
    if reader.known.drop("constraint", name) or reader.known.made_table(table):
        return
    pattern, along = _cascading("DROP CONSTRAINT", command)
    reader.add(Kind.CONSTRAINT, pattern, name, f"{table} is no longer held to {command.name}{along}")


def _alter_type(reader: "Reader", table: str, command: Any) -> None:
    if reader.known.made_column(table, command.name):
        return
    new, using = read_type(command.def_.typeName), command.def_.raw_default
    reader.known.not_only_ours("type", new.base)
    if holds_anything(new) and (using is None or is_plain_cast(using, command.name)):
        return
    why = (
        "the USING expression may cut or round"
        if using is not None and not is_plain_cast(using, command.name)
        else ("its old type is not known here, so the change may cut or round")
    )
    reader.add(
        Kind.NARROWED, "ALTER COLUMN TYPE", f"{table}.{command.name}",
        f"{why}; say op.alter_column(existing_type=…, type_=…), or acknowledge it",
    )  # fmt: skip


def is_plain_cast(node: Any, column: str) -> bool:
    """`column::type`, and nothing that computes."""
    while isinstance(node, ast.TypeCast):
        if not holds_anything(read_type(node.typeName)):
            return False
        node = node.arg
    return isinstance(node, ast.ColumnRef) and getattr(node.fields[-1], "sval", "") == column


def _guard(pattern: str, detail: str) -> Callable[["Reader", str, Any], None]:
    def handler(reader: "Reader", table: str, command: Any) -> None:
        if not reader.known.made_table(table):
            target = f"{table}.{command.name}" if command.name else table
            reader.add(Kind.GUARD, pattern, target, f"{target}: {detail}")

    return handler


def _security(pattern: str, detail: str) -> Callable[["Reader", str, Any], None]:
    def handler(reader: "Reader", table: str, _: Any) -> None:
        if not reader.known.made_table(table):
            reader.add(Kind.SECURITY, pattern, table, f"{table}: {detail}")

    return handler


def _add_column(reader: "Reader", table: str, command: Any) -> None:
    if not command.missing_ok:
        reader.known.create("column", f"{table}.{command.def_.colname}")


def _add_constraint(reader: "Reader", table: str, command: Any) -> None:
    if command.def_.conname:
        reader.known.create("constraint", f"{table}.{command.def_.conname}")


def _column_default(reader: "Reader", table: str, command: Any) -> None:
    if command.def_ is None and not reader.known.made_column(table, command.name):
        reader.add(
            Kind.GUARD, "DROP DEFAULT", f"{table}.{command.name}", f"{table}.{command.name} has no default any more"
        )


def _drop_not_null(reader: "Reader", table: str, command: Any) -> None:
    if not reader.known.made_column(table, command.name):
        name = f"{table}.{command.name}"
        reader.add(Kind.GUARD, "DROP NOT NULL", name, f"{name} may be NULL from now on")


def _partition(reader: "Reader", table: str, command: Any) -> None:
    """ATTACH PARTITION: rows of another table are seen through this one."""
    if not reader.known.made_table(name_of(command.def_.name)):
        reader.known.not_only_our_rows(table)


def _inherit(reader: "Reader", table: str, command: Any) -> None:
    """INHERIT: this table's rows are seen through the parent."""
    if not reader.known.made_table(table):
        reader.known.not_only_our_rows(name_of(command.def_))


ALTERATIONS: dict[str, Callable[["Reader", str, Any], None]] = {
    "AT_AddColumn": _add_column,
    "AT_AttachPartition": _partition,
    "AT_AddInherit": _inherit,
    "AT_AddConstraint": _add_constraint,
    "AT_DropColumn": _drop_column,
    "AT_DropConstraint": _drop_constraint,
    "AT_AlterColumnType": _alter_type,
    "AT_DropNotNull": _drop_not_null,
    "AT_ColumnDefault": _column_default,
    "AT_DisableRowSecurity": _security("DISABLE ROW LEVEL SECURITY", "policies are not obeyed any more"),
    "AT_NoForceRowSecurity": _security("NO FORCE ROW LEVEL SECURITY", "its owner is no longer held to the policies"),
    "AT_DisableTrig": _guard("DISABLE TRIGGER", "the trigger does not fire any more"),
    "AT_DisableTrigAll": _guard("DISABLE TRIGGER ALL", "triggers and foreign keys are not obeyed any more"),
    "AT_DisableTrigUser": _guard("DISABLE TRIGGER USER", "triggers do not fire any more"),
    "AT_DisableRule": _guard("DISABLE RULE", "the rule does not hold any more"),
    "AT_DetachPartition": _guard("DETACH PARTITION", "its rows are no longer seen through the table"),
    "AT_DropInherit": _guard("NO INHERIT", "its rows are no longer seen through the parent"),
    "AT_DropIdentity": _guard("DROP IDENTITY", "values are not generated any more"),
    "AT_DropExpression": _guard("DROP EXPRESSION", "values are not computed any more"),
    "AT_SetUnLogged": _guard("SET UNLOGGED", "its rows do not survive a crash"),
}


def _alter_domain(reader: "Reader", node: Any) -> None:
    name = ".".join(each.sval for each in node.typeName)
    if reader.known.made("type", name):
        return
    if node.subtype == "X":
        pattern, along = _cascading("DROP CONSTRAINT", node)
        reader.add(Kind.CONSTRAINT, pattern, f"{name}.{node.name}", f"{name} is no longer held to {node.name}{along}")
    if node.subtype == "N":
        reader.add(Kind.GUARD, "DROP NOT NULL", name, f"values of {name} may be NULL from now on")
    if node.subtype == "T" and node.def_ is None:
        reader.add(Kind.GUARD, "DROP DEFAULT", name, f"{name} has no default any more")


def _alter_event_trigger(reader: "Reader", node: Any) -> None:
    if node.tgenabled == "D":
        reader.add(Kind.GUARD, "DISABLE EVENT TRIGGER", node.trigname, "the event trigger does not fire any more")


def _alter_publication(reader: "Reader", node: Any) -> None:
    if node.action == AlterPublicationAction.AP_DropObjects:
        reader.add(Kind.GUARD, "ALTER PUBLICATION … DROP", node.pubname, "what it names is not published any more")


def _rename(reader: "Reader", node: Any) -> None:
    kind = ObjectType(node.renameType).name.removeprefix("OBJECT_")
    if kind in ("TABLE", "MATVIEW", "VIEW", "FOREIGN_TABLE", "INDEX", "SEQUENCE") and node.relation is not None:
        old = name_of(node.relation)
        schema = f"{node.relation.schemaname}." if node.relation.schemaname else ""
        reader.known.rename((LOST | GUARDS)[kind], old, f"{schema}{node.newname}")
    elif kind == "COLUMN" and node.relation is not None:
        table = normal(name_of(node.relation))
        reader.known.rename("column", f"{table}.{node.subname}", f"{table}.{node.newname}")
    elif kind in ("FUNCTION", "PROCEDURE", "ROUTINE"):
        reader.known.functions[node.newname] = reader.known.function(_name(node.object, kind))


def _moved(reader: "Reader", node: Any) -> None:
    """ALTER … SET SCHEMA: the old name is free; a schema that holds what was there before is not only ours."""
    kind = ObjectType(node.objectType).name.removeprefix("OBJECT_")
    if node.relation is not None and kind in LOST | GUARDS:
        old, new = name_of(node.relation), f"{node.newschema}.{node.relation.relname}"
        is_ours = reader.known.made((LOST | GUARDS)[kind], old)
        reader.known.rename((LOST | GUARDS)[kind], old, new)
        if is_ours:
            return
    reader.known.not_only_ours("schema", node.newschema)
