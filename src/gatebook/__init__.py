"""An interactive, notebook-driven schema audit workbook for PostgreSQL.

What notebooks import from here:

    from gatebook import Phase, catalog, checks, probes

The names are loaded when they are first used, so that the command line answers without waiting for pandas.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gatebook import (
        catalog,
        charts,
        checks,
        compare,
        contract,
        isolation,
        preflight,
        probes,
        readiness,
        refreshing,
        views,
    )
    from gatebook.phase import Phase

__all__ = [
    "Phase",
    "catalog",
    "charts",
    "checks",
    "compare",
    "contract",
    "isolation",
    "preflight",
    "probes",
    "readiness",
    "refreshing",
    "views",
]


def __getattr__(name: str) -> Any:
    if name == "Phase":
        return importlib.import_module("gatebook.phase").Phase
    if name in __all__:
        return importlib.import_module(f"gatebook.{name}")
    raise AttributeError(f"module 'gatebook' has no attribute {name!r}")
