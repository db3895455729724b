"""Papermill only warns of a parameter that a notebook does not have; a misspelt one would go unnoticed.

Papermill puts the given parameters into a cell of their own, which starts with the comment "# Parameters" and
follows the notebook's tagged cell. In a kernel both are in the input history.
"""

import ast
from collections.abc import Sequence

from gatebook.declarations import near_miss
from gatebook.errors import ConfigurationError

INJECTED = "# Parameters"


def refuse_unknown(history: Sequence[str] | None = None) -> None:
    """Compare what was injected with what the notebook's parameters cell declares.

    Errors  ConfigurationError naming each unknown parameter and its near miss
    """
    cells = [cell for cell in (_history() if history is None else history) if cell.strip()]
    places = [place for place, cell in enumerate(cells) if cell.lstrip().startswith(INJECTED)]
    if not places or places[0] == 0:
        return
    known = _assigned(cells[places[0] - 1])
    unknown = [name for name in _assigned(cells[places[0]]) if name not in known]
    if unknown:
        raise ConfigurationError(
            f"unknown parameter {', '.join(name + near_miss(name, known) for name in unknown)}",
            where="the notebook's parameters cell",
            next_step=f"use one of: {', '.join(known)}",
        )


def _history() -> Sequence[str]:
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    return list(shell.user_ns.get("In", [])) if shell is not None else []


def _assigned(source: str) -> list[str]:
    """Names that a cell assigns at its top level."""
    names = []
    for statement in ast.parse(source).body:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        targets = [statement.target] if isinstance(statement, ast.AnnAssign) else targets
        names += [target.id for target in targets if isinstance(target, ast.Name)]
    return names
