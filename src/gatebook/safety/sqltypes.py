"""SQLAlchemy's types as PostgreSQL names them."""

from typing import Any

from gatebook.safety.things import Ddl, Name, SqlType

NAMES = {
    "Integer": "integer", "INTEGER": "integer", "INT": "integer", "BigInteger": "bigint", "BIGINT": "bigint",
    "SmallInteger": "smallint", "SMALLINT": "smallint", "Text": "text", "TEXT": "text", "UnicodeText": "text",
    "Boolean": "boolean", "BOOLEAN": "boolean", "Date": "date", "DATE": "date", "Time": "time", "TIME": "time",
    "Float": "double precision", "FLOAT": "double precision", "Double": "double precision",
    "DOUBLE_PRECISION": "double precision", "DOUBLE": "double precision", "REAL": "real", "JSON": "json",
    "JSONB": "jsonb", "UUID": "uuid", "Uuid": "uuid", "LargeBinary": "bytea", "BYTEA": "bytea", "INET": "inet",
    "CIDR": "cidr", "MACADDR": "macaddr", "TSVECTOR": "tsvector", "HSTORE": "hstore", "CITEXT": "citext",
    "Interval": "interval", "INTERVAL": "interval", "PickleType": "bytea", "MONEY": "money", "OID": "oid",
}  # fmt: skip
SIZED = {"String": "varchar", "VARCHAR": "varchar", "Unicode": "varchar", "CHAR": "char", "NVARCHAR": "varchar"}
EXACT = {"Numeric": "numeric", "NUMERIC": "numeric", "DECIMAL": "numeric"}
TIMED = {"DateTime": "timestamp", "TIMESTAMP": "timestamp", "DATETIME": "timestamp"}
OTHERS = ("ARRAY", "BIT", "ENUM", "Enum", "NullType", "Variant", "TypeDecorator", "INT4RANGE", "TSTZRANGE", "DATERANGE")


def is_type(name: str) -> bool:
    return name in NAMES or name in SIZED or name in EXACT or name in TIMED or name in OTHERS


def sql_type(name: str, arguments: list[Any], named: dict[str, Any]) -> SqlType:
    """A type that is called: String(50), Numeric(10, 2), DateTime(timezone=True)."""
    if name in SIZED:
        length = named.get("length", arguments[0] if arguments else None)
        default = "char(1)" if name == "CHAR" else "varchar"
        return SqlType(f"{SIZED[name]}({length})" if isinstance(length, int) else default if length is None else "")
    if name in EXACT:
        precision = named.get("precision", arguments[0] if arguments else None)
        scale = named.get("scale", arguments[1] if len(arguments) > 1 else 0)
        return SqlType(f"numeric({precision},{scale or 0})" if isinstance(precision, int) else "numeric")
    if name in TIMED:
        has_zone = named.get("timezone", arguments[0] if arguments else False)
        zone = "timestamptz" if has_zone is True else "timestamp"
        digits = named.get("precision")
        return SqlType(f"{zone}({digits})" if isinstance(digits, int) else zone)
    if name == "Float" and isinstance(named.get("precision", arguments[0] if arguments else None), int):
        return SqlType(f"float({named.get('precision', arguments[0] if arguments else 53)})")
    if name in ("Interval", "INTERVAL") and (arguments or named):
        return SqlType("")
    if name == "ARRAY":
        inner = text_of(arguments[0]) if arguments else ""
        return SqlType(f"{inner}[]" if inner else "")
    return SqlType(NAMES.get(name, ""))


def text_of(value: Any) -> str:
    """A type as SQL, whether it was called or only named; '' when it is not one of SQLAlchemy's own."""
    if isinstance(value, SqlType):
        return value.text
    if isinstance(value, Ddl) and value.kind == "type":
        return f'"{value.name}"' if value.name else ""
    if isinstance(value, Name):
        last = value.path.rsplit(".", 1)[-1]
        return sql_type(last, [], {}).text if is_type(last) else ""
    return ""
