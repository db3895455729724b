"""Parts of statements that readers need: names, and what CREATE FUNCTION holds."""

from typing import Any


def options_of(node: Any) -> dict[str, Any]:
    return {each.defname: each.arg for each in node.options or ()}


def language_of(node: Any) -> str:
    language = options_of(node).get("language")
    return str(language.sval).lower() if language is not None else "sql"


def function_body(node: Any) -> str:
    """The text between AS and the end; '' for a body in standard syntax."""
    body = options_of(node).get("as")
    return str(body[0].sval) if body else ""


def name_of(relation: Any) -> str:
    return f"{relation.schemaname}.{relation.relname}" if relation.schemaname else str(relation.relname)
