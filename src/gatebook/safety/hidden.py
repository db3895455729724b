"""What a file could do without being seen to: lines that no walk came to, yet could reach the database.

Python calls a property, `__exit__`, a decorator's function or an annotation without a call that can be followed. Where
such a line names an operation, "not seen to run" is not "does not run".
"""

import ast
from collections.abc import Iterator

from gatebook.safety.walk import Walk

ALARMING = {
    "drop_table", "drop_column", "drop_constraint", "drop_all", "batch_alter_table", "alter_column", "execute",
    "executemany", "executescript", "exec_driver_sql", "truncate", "delete", "drop", "op", "exec", "eval", "getattr",
}  # fmt: skip
WHY = "it is not seen when this line runs; call it plainly from upgrade(), or remove it"


def hidden(tree: ast.Module, walks: list[Walk]) -> Iterator[ast.expr]:
    """Of each statement of the file, the first operation that it names and no walk came to."""
    seen = set().union(*(walk.seen for walk in walks))
    last = {getattr(each, "name", ""): each for each in tree.body}
    for statement in tree.body:
        if statement is last.get("downgrade"):
            continue
        found = next((each for each in _named(statement) if each not in seen), None)
        if found is not None:
            yield found


def _named(statement: ast.stmt) -> Iterator[ast.expr]:
    for each in ast.walk(statement):
        name = each.attr if isinstance(each, ast.Attribute) else each.id if isinstance(each, ast.Name) else ""
        if isinstance(each, ast.Attribute | ast.Name) and name in ALARMING and isinstance(each.ctx, ast.Load):
            yield each
