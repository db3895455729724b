"""What a run was made with: versions, the project's commit, parameters, the server and the settings that matter."""

import hashlib
import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gatebook.catalog import execute
from gatebook.database import Database
from gatebook.declarations import PhaseDeclaration, RunParameters

PACKAGES = (
    "gatebook", "papermill", "nbclient", "sqlalchemy", "psycopg", "alembic", "pandas",
    "securesystemslib", "junitparser",
)  # fmt: skip

# Shape  name, setting
SETTINGS = """
    SELECT name, setting
      FROM pg_catalog.pg_settings
     WHERE name IN ('TimeZone', 'server_encoding', 'default_transaction_isolation', 'row_security', 'shared_buffers',
                    'work_mem', 'effective_cache_size', 'random_page_cost', 'jit', 'max_parallel_workers_per_gather')
     ORDER BY name
"""


def facts(
    project_root: Path, database: Database, parameters: RunParameters, selected: Sequence[PhaseDeclaration]
) -> dict[str, Any]:
    """What the record of a run begins with; nothing of it is a secret or names the host it ran on."""
    given = parameters.model_dump()
    with database.connect() as connection:
        settings = {row.name: row.setting for row in execute(connection, SETTINGS)}
    return {
        "database": str(database),
        "server": f"PostgreSQL {database.server.version}",
        "server_key": database.server.key,
        "settings": settings,
        "role": database.server.role,
        "parameters": given,
        "parameters_sha256": hashlib.sha256(json.dumps(given, sort_keys=True, default=str).encode()).hexdigest(),
        "phases": [phase.phase for phase in selected],
        "git": git(project_root),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def git(folder: Path) -> dict[str, Any] | None:
    """The commit of a folder and whether its files are those of the commit; None outside a git repository."""
    try:
        commit = _git(folder, "rev-parse", "HEAD").strip()
        return {"commit": commit, "is_clean": not _git(folder, "status", "--porcelain", "--", ".").strip()}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
