"""Small migrations with their verdicts, from tests/fixtures/migrations*.yaml, as files."""

from dataclasses import dataclass, field
from pathlib import Path
from textwrap import indent

import yaml

DECLARED = sorted((Path(__file__).parent / "fixtures").glob("migrations*.yaml"))
TEMPLATE = '''"""{why}"""

import sqlalchemy as sa
from alembic import op

revision = "{name}"
down_revision = None

{top}


def upgrade():
{up}


def downgrade():
{down}
'''


@dataclass(frozen=True)
class Fixture:
    """One migration. verdict: fail or pass; kind: the class of its finding, or clean, warned, acknowledged.

    kind is "LOST or UNRESOLVED" where both would be true.
    """

    name: str
    verdict: str
    kind: str
    why: str
    text: str
    beside: dict[str, str] = field(default_factory=dict)

    @property
    def kinds(self) -> set[str]:
        return set(self.kind.split(" or "))

    @property
    def helpers(self) -> list[str]:
        """The modules among the files next to it."""
        return [name for name in self.beside if name.endswith(".py")]

    @property
    def commits(self) -> bool:
        """Whether it ends its transaction by itself."""
        return any(way in self.text for way in ("autocommit_block", "driver_connection", "ROLLBACK;"))

    def write(self, folder: Path) -> Path:
        """The file, with those that belong next to it."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in self.beside.items():
            (folder / name).write_text(text, "utf-8")
        path = folder / f"{self.name}.py"
        path.write_text(self.text, "utf-8")
        return path


def fixtures() -> list[Fixture]:
    return [
        Fixture(name, verdict, entry["kind"], entry["why"], _text(name, entry), entry.get("beside", {}))
        for declared in DECLARED
        for verdict, entries in yaml.safe_load(declared.read_text("utf-8")).items()
        for name, entry in entries.items()
    ]


def _text(name: str, entry: dict[str, str]) -> str:
    if "source" in entry:
        return entry["source"]
    body = {key: indent(entry.get(key, "pass"), "    ") for key in ("up", "down")}
    return TEMPLATE.format(name=name, why=entry["why"], top=entry.get("top", ""), **body)
