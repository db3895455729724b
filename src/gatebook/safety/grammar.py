"""PostgreSQL's own grammar, through pglast. Untyped on purpose: in its stubs every field of a node may be missing."""

from typing import Any

import pglast
import pglast.ast
from pglast import enums
from pglast.parser import ParseError

ast: Any = pglast.ast
parse_sql: Any = pglast.parse_sql
parse_plpgsql: Any = pglast.parse_plpgsql

__all__ = ["ParseError", "ast", "enums", "parse_plpgsql", "parse_sql"]
