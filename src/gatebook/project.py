"""Where things are: one project folder with alembic.ini, params/, notebooks/ and outputs/."""

import os
from dataclasses import dataclass
from pathlib import Path

from gatebook.errors import ConfigurationError

PROJECT_VARIABLE = "GATEBOOK_PROJECT"
HOME_VARIABLE = "GATEBOOK_HOME"
OUTPUTS_VARIABLE = "GATEBOOK_OUTPUTS"


@dataclass(frozen=True)
class Project:
    """The folders of one audit project.

    root      holds alembic.ini and params/gates.yaml
    home      the embedded server's data and what is known of each database; ignored by git
    outputs   one folder a run
    """

    root: Path
    home: Path
    outputs: Path

    @property
    def alembic_ini(self) -> Path:
        return self.root / "alembic.ini"

    @property
    def params(self) -> Path:
        return self.root / "params"

    @property
    def notebooks(self) -> Path:
        return self.root / "notebooks"

    @classmethod
    def at(cls, root: Path, *, home: Path | None = None, outputs: Path | None = None) -> "Project":
        return cls(root=root, home=home or root / ".gatebook", outputs=outputs or root / "outputs")

    @classmethod
    def find(cls, start: Path | None = None) -> "Project":
        """The project around a folder, or the one that GATEBOOK_PROJECT names.

        Errors  ConfigurationError when no folder from here upwards holds a project
        """
        named = os.environ.get(PROJECT_VARIABLE)
        here = Path(named) if named else (start or Path.cwd())
        here = here.resolve()
        for folder in (here, *here.parents):
            if (folder / "params" / "gates.yaml").is_file() and (folder / "alembic.ini").is_file():
                return cls.at(folder, home=_folder(HOME_VARIABLE), outputs=_folder(OUTPUTS_VARIABLE))
        raise ConfigurationError(
            "no gatebook project found",
            where=f"{here} and the folders above it (a project holds alembic.ini and params/gates.yaml)",
            next_step=f"change into the project's folder, or set {PROJECT_VARIABLE} to it",
        )


def _folder(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value).absolute() if value else None
