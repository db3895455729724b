"""Strings, computed as Python would, as long as they are known."""

import ast
import itertools
from collections.abc import Sequence
from typing import Any

from gatebook.safety.things import DATA, OneOf, Sql, alternatives, is_constant

MOST = 64  # variants of one text
LONGEST = 60  # of what is shown
STRINGS = {
    "strip", "lstrip", "rstrip", "upper", "lower", "replace", "split", "splitlines", "title", "capitalize", "format",
    "join", "removeprefix", "removesuffix", "startswith", "endswith", "partition", "rpartition", "rsplit", "zfill",
    "expandtabs", "casefold",
}  # fmt: skip


def formatted(value: Any, node: ast.FormattedValue) -> Any:
    """One `{…}` of an f-string."""
    if isinstance(value, OneOf):
        return OneOf(tuple(formatted(each, node) for each in value.values))
    if isinstance(value, Sql):
        value = value.text
    if not is_constant(value) or node.format_spec is not None:
        return DATA
    return repr(value) if node.conversion == ord("r") else str(value)


def joined(parts: Sequence[Any]) -> Any:
    """Parts of a text in every combination of their alternatives."""
    found: list[Any] = []
    for combination in itertools.islice(itertools.product(*(alternatives(part) for part in parts)), MOST + 1):
        found.append("".join(combination) if all(isinstance(each, str) for each in combination) else DATA)
    if len(found) > MOST or DATA in found:
        return DATA
    return found[0] if len(found) == 1 else OneOf(tuple(found))


def modulo(template: str, values: Any) -> Any:
    """`template % values`"""
    if isinstance(values, OneOf):
        results = [modulo(template, each) for each in values.values]
        return DATA if DATA in results else OneOf(tuple(results[:MOST]))
    plain = (
        list(values) if isinstance(values, tuple) else list(values.values()) if isinstance(values, dict) else [values]
    )
    if not all(is_constant(each) for each in plain):
        return DATA
    try:
        return template % values
    except (TypeError, ValueError, KeyError):
        return DATA


def text_method(owner: str, name: str, arguments: list[Any], named: dict[str, Any]) -> Any:
    """A method of a text that is known."""
    if name == "join" and arguments and isinstance(arguments[0], list | tuple):
        parts = list(arguments[0])
        between = [part for each in parts for part in (owner, each)][1:]
        return joined(between)
    if name == "format":
        return _format(owner, arguments, named)
    if name not in STRINGS or not all(is_constant(each) for each in (*arguments, *named.values())):
        return DATA
    try:
        return getattr(owner, name)(*arguments, **named)
    except (TypeError, ValueError, LookupError):
        return DATA


def _format(owner: str, arguments: list[Any], named: dict[str, Any]) -> Any:
    names = list(named)
    found: list[Any] = []
    sources = [alternatives(each) for each in (*arguments, *named.values())]
    for combination in itertools.islice(itertools.product(*sources), MOST + 1):
        values = [each.text if isinstance(each, Sql) else each for each in combination]
        if not all(is_constant(each) for each in values):
            return DATA
        places, keywords = values[: len(arguments)], dict(zip(names, values[len(arguments) :], strict=True))
        try:
            found.append(owner.format(*places, **keywords))
        except (TypeError, ValueError, LookupError, AttributeError):
            return DATA
    return DATA if len(found) > MOST else found[0] if len(found) == 1 else OneOf(tuple(found))


def written(node: ast.AST) -> str:
    """An expression as it stands there, cut where it is long."""
    try:
        text = ast.unparse(node)
    except ValueError:  # an f-string that Python itself cannot write again
        return type(node).__name__
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
