"""Does every value of one type survive in another? By PostgreSQL's own names of types."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from gatebook.safety.grammar import ParseError, parse_sql
from gatebook.safety.predicates import constant

INTEGERS = {"int2": 5, "int4": 10, "int8": 19}  # decimal digits
TEXTS = ("text", "varchar", "bpchar", "citext", "name")
TIMES = ("timestamp", "timestamptz", "time", "timetz", "interval")
ALL_FIELDS = 0x7FFF  # the first modifier of interval(3): no field is left out
FLOATS = {"float4": 24, "float8": 53}  # bits of the mantissa
EXACT_FLOAT = {"int2": 24, "int4": 53}  # the smallest mantissa that holds every value
ALIASES = {"serial": "int4", "bigserial": "int8", "smallserial": "int2", "serial4": "int4", "serial8": "int8"}


@dataclass(frozen=True)
class Type:
    """A type: base name as PostgreSQL has it ('int4'), modifiers (length, or precision and scale), array or not."""

    base: str
    modifiers: tuple[int, ...] = ()
    is_array: bool = False


@lru_cache(maxsize=1024)
def parse_type(text: str) -> Type | None:
    """The type that a text names, or None when PostgreSQL cannot parse it."""
    try:
        (statement,) = parse_sql(f"SELECT NULL::{text}")
        return read_type(statement.stmt.targetList[0].val.typeName)
    except (ParseError, ValueError, AttributeError):
        return None


def read_type(node: Any) -> Type:
    """The type of a TypeName of the syntax tree."""
    names = [each.sval for each in node.names if each.sval not in ("pg_catalog", "public")]
    base = ".".join(names)
    modifiers = tuple(value for each in node.typmods or () if isinstance(value := constant(each), int))
    return Type(ALIASES.get(base, base), modifiers, bool(node.arrayBounds))


def holds_anything(new: Type) -> bool:
    """Text without a limit: every value of every type survives in it."""
    return new.base in ("text", "varchar") and not new.modifiers and not new.is_array


def narrows(old: str, new: str) -> str:
    """'' when every value of the old type survives exactly in the new one, else a sentence on what may happen."""
    have, want = parse_type(old), parse_type(new)
    if have is None or want is None:
        return f"the change from {old} to {new} cannot be judged: give both as types that PostgreSQL knows"
    if have.is_array != want.is_array:
        return f"{old} to {new}: an array and a single value do not hold the same"
    if have == want or holds_anything(replace(want, is_array=False)):
        return ""
    for rule in (_texts, _bits, _integers, _numerics, _floats, _times, _lossless):
        found = rule(have, want)
        if found is not None:
            return f"{old} to {new}: {found}" if found else ""
    return f"{old} to {new}: values may be cut, rounded or refused"


def _texts(have: Type, want: Type) -> str | None:
    if have.base not in TEXTS or want.base not in TEXTS:
        return None
    if want.base == "citext":
        return "" if have.base in ("text", "varchar", "citext") else "trailing blanks are lost"
    if want.base == "name" or have.base == "citext":
        return "longer texts are cut at 63 bytes" if want.base == "name" else "its comparison changes"
    if have.base == "bpchar" and want.base != "bpchar":
        return "trailing blanks are lost" if want.modifiers and want.modifiers < have.modifiers else ""
    if want.base == "bpchar" and have.base != "bpchar":
        return "values are padded or cut to the length"
    return "" if have.modifiers and want.modifiers and have.modifiers <= want.modifiers else "longer texts do not fit"


def _bits(have: Type, want: Type) -> str | None:
    """bit without a length is bit(1), and pads; varbit keeps what it is given."""
    if have.base not in ("bit", "varbit") or want.base != "varbit":
        return None
    fits = not want.modifiers or (have.modifiers and have.modifiers <= want.modifiers)
    return "" if fits else "longer strings of bits are cut"


def _integers(have: Type, want: Type) -> str | None:
    if have.base not in INTEGERS:
        return None
    if want.base in INTEGERS:
        return "" if INTEGERS[have.base] <= INTEGERS[want.base] else "larger numbers do not fit"
    if want.base == "numeric":
        digits, scale = _precision(want)
        return "" if digits is None or digits - scale >= INTEGERS[have.base] else "larger numbers do not fit"
    if want.base in FLOATS:
        is_exact = EXACT_FLOAT.get(have.base, 64) <= FLOATS[want.base]
        return "" if is_exact else "large numbers are rounded"
    return None


def _numerics(have: Type, want: Type) -> str | None:
    if have.base != "numeric":
        return None
    if want.base in INTEGERS:
        return "fractions are rounded away"
    if want.base in FLOATS:
        return "digits beyond the mantissa are rounded"
    if want.base != "numeric":
        return None
    (old_digits, old_scale), (digits, scale) = _precision(have), _precision(want)
    if digits is None:
        return ""
    if old_digits is None or scale < old_scale:
        return "fractions are rounded"
    return "" if digits - scale >= old_digits - old_scale else "larger numbers do not fit"


def _floats(have: Type, want: Type) -> str | None:
    if have.base not in FLOATS:
        return None
    if want.base in FLOATS:
        return "" if FLOATS[have.base] <= FLOATS[want.base] else "digits beyond the mantissa are rounded"
    return "values are rounded"


def _times(have: Type, want: Type) -> str | None:
    if have.base == "date" and want.base == "timestamp":
        return ""
    if have.base not in (*TIMES, "date") or want.base not in (*TIMES, "date"):
        return None
    if have.base != want.base:
        if {have.base, want.base} <= {"timestamp", "timestamptz", "date"} and want.base != "date":
            return "what a value means then depends on the TimeZone of whoever migrates"
        return "parts of the value are cut"
    if have.base == "interval" and want.modifiers and have.modifiers[:1] != want.modifiers[:1] != (ALL_FIELDS,):
        return "fields of the interval are cut"
    at = have.base == "interval"
    old, new = (*have.modifiers[at:], 6)[0], (*want.modifiers[at:], 6)[0]
    return "" if old <= new else "fractions of a second are rounded"


def _lossless(have: Type, want: Type) -> str | None:
    if have.base in TEXTS and want.base in INTEGERS:
        return "leading zeros and blanks are lost"
    if (have.base, want.base) == ("json", "jsonb"):
        return "the order of keys and repeated keys are lost"
    if (have.base, want.base) in (("jsonb", "json"), ("bool", "int4"), ("inet", "cidr"), ("cidr", "inet")):
        return "" if want.base != "cidr" else "host bits are refused"
    if want.base in ("varchar", "bpchar") and want.modifiers:
        longest = {"uuid": 36, "bool": 5, "int2": 6, "int4": 11, "int8": 20, "date": 13}.get(have.base)
        return "" if longest and want.base == "varchar" and want.modifiers[0] >= longest else "longer texts do not fit"
    if have.base == want.base and not want.modifiers:
        return ""
    return None


def _precision(which: Type) -> tuple[int | None, int]:
    digits, scale = (*which.modifiers, 0, 0)[:2] if which.modifiers else (None, 0)
    return digits, scale
