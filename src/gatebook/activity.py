"""What an application does between two phases, in a database that the scenario filled.

A declared change of rows: recorded as a phase is, with a look before and one after, so that it is told from a
change that nobody declared.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from gatebook import catalog, row_security, scenario
from gatebook.applying import Migration
from gatebook.baseline import State
from gatebook.errors import DataChanged


@dataclass(frozen=True)
class Activity(Migration):
    """One activity: the SQL in its folder of params/, with the settings that the scenario was made with."""

    settings: Mapping[str, Any] = field(default_factory=dict)

    def _act(self, connection: sa.Connection) -> None:
        with row_security.all_rows(connection):
            scenario.play(connection, self.project.params / str(self.phase.activity), self.settings)

    def _refuse_conflicts(self, snapshot: catalog.Snapshot) -> None:
        """An activity makes no objects."""

    def _refuse_loss(self, before: State, after: State) -> None:
        """Rows may change, the schema may not."""
        changes = catalog.diff(before.catalog, after.catalog)
        if changes:
            raise DataChanged(
                f"the activity of phase {self.phase.phase} changed the schema; it was rolled back",
                where=str(changes[0]["object"]),
                next_step=f"let the SQL in params/{self.phase.activity} change rows alone",
            )
