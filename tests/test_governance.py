"""Phase validators 0 and 1: green on the project, red where one thing is taken away, whatever words stand elsewhere."""

import ast
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import ROOT
from gatebook import governance
from gatebook.project import Project

ADR = "# ADR-009: X\n\n**Status** accepted\n\n## Context\na\n\n## Decision\nb\n\n## Consequences\nc\n"
OURS = Project.at(ROOT)
CHECKS = [check for checks in governance.CHECKS.values() for check in checks]
TOLD = [governance.responsibilities_are_written, governance.every_aspect_has_one]


@pytest.fixture
def copy(tmp_path: Path) -> Project:
    """What these checks read, for a test to change."""
    root = tmp_path / "project"
    for name in ("alembic", "docs", "params", ".github", "src/gatebook"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("bench", "notebooks", "scripts", "tests", ".ci"):
        (root / name).mkdir()
        (root / name / "kept").touch()
    for name in ("alembic.ini", "Makefile", "LICENSE", "README.md", "environment.yml", "pyproject.toml"):
        shutil.copy(ROOT / name, root)
    (root / "requirements.lock").touch()
    return Project.at(root)


@pytest.mark.parametrize("check", [*CHECKS, *TOLD], ids=lambda check: check.__name__)
def test_green_on_the_project_and_on_its_copy(check: governance.Check, copy: Project) -> None:
    for project in (OURS, copy):
        verdict = check(project)
        assert (verdict.name, verdict.reason) == ("PASS", "")
        assert verdict.have


def edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        path = root / name
        text = path.read_text("utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), "utf-8")

    return change


def write(name: str, text: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        (root / name).write_text(text, "utf-8")

    return change


def only_refuses(root: Path) -> None:
    path = root / REVISION
    before, _, _ = path.read_text("utf-8").partition("def downgrade(")
    path.write_text(f"{before}def downgrade() -> None:\n    raise NotImplementedError\n", "utf-8")


def test_a_chain_that_cannot_be_read_is_red(copy: Project) -> None:
    (copy.root / "alembic/versions/x.py").write_text("revision = 'x'\ndown_revision = 'gone'\n")
    verdict = governance.chain_is_whole(copy)

    assert verdict.name == "FAIL"
    assert verdict.reason.startswith("the migrations cannot be read: ")


REVISION = "alembic/versions/202511151400_add_tenants_auth_columns.py"
RED = [
    pytest.param(
        "folders_exist", lambda root: (root / "bench" / "kept").unlink(), "missing or empty: bench", id="empty"
    ),
    pytest.param("owners_are_complete", write("stray.txt", ""), "stray.txt has no owner", id="no owner"),
    pytest.param(
        "owners_are_complete", edit("docs/ownership.yaml", "bench: engine", "bank: engine"),
        "bench has no owner; bank is owned and not there", id="owner of nothing",
    ),
    pytest.param(
        "owners_are_complete", edit("docs/ownership.yaml", "LICENSE: maintainers", 'LICENSE: ""'),
        "LICENSE has no owner; LICENSE names no owner", id="nobody",
    ),
    pytest.param(
        "decisions_are_complete", write("docs/adr/009-x.md", ADR.replace("## Decision", "The Decision:")),
        "009-x.md: no words under Decision", id="the word in prose",
    ),
    pytest.param(
        "decisions_are_complete", write("docs/adr/009-x.md", ADR.replace("## Decision\nb", "```\n## Decision\nb\n```")),
        "009-x.md: no words under Decision", id="a heading in a code block",
    ),
    pytest.param(
        "decisions_are_complete", write("docs/adr/009-x.md", ADR.replace("\nb\n", "\n")),
        "009-x.md: no words under Decision", id="an empty section",
    ),
    pytest.param(
        "decisions_are_complete", write("docs/adr/009-x.md", ADR.replace("accepted", "maybe")),
        "009-x.md: its status is not one of proposed, accepted, superseded, deprecated", id="status",
    ),
    pytest.param(
        "decisions_are_complete", write("docs/adr/008-x.md", ADR),
        "008-x.md: its title does not begin with its number; 008 is used twice", id="number",
    ),
    pytest.param(
        "decisions_are_complete", lambda root: (root / "docs/adr/001-schema-source-of-truth.md").unlink(),
        "ADR-001 is not about source of truth", id="ADR-001",
    ),
    pytest.param(
        "no_credentials", edit("alembic.ini", "[alembic]", "[alembic]\nsqlalchemy.url = postgresql://u:s3cret@h/d"),
        "alembic.ini sets sqlalchemy.url; alembic.ini holds a password", id="URL in alembic.ini",
    ),
    pytest.param(
        "no_credentials", edit("alembic/env.py", "PROJECT =", "URL = 'postgresql://u:s3cret@h/d'\nPROJECT ="),
        "alembic/env.py holds a password", id="URL in env.py",
    ),
    pytest.param(
        "no_credentials", edit("params/demo.yaml", "notes:", "notes: host=h password=s3cret #"),
        "params/demo.yaml holds a password", id="password in parameters",
    ),
    pytest.param(
        "url_from_environment", edit("alembic/env.py", '"DATABASE_URL" in os.environ', "'os.environ[DATABASE_URL]'"),
        "env.py does not ask for DATABASE_URL", id="in a comment",
    ),
    pytest.param(
        "chain_is_whole", edit(REVISION, "def downgrade(", "def down("),
        "202511151400: no downgrade()", id="no downgrade",
    ),
    pytest.param(
        "chain_is_whole", edit(REVISION, "Locks ", "Lacks "),
        "202511151400: its docstring does not say Locks", id="docstring",
    ),
    pytest.param(
        "chain_is_whole", write("alembic/versions/x.py", 'revision = "x"\ndown_revision = "202511151530"\n'),
        "the migrations have 2 heads: 202511151540, x", id="two heads",
    ),
    pytest.param(
        "template_is_complete", edit("alembic/script.py.mako", "Undo ", "Undone "), "missing: Undo", id="template",
    ),
    pytest.param(
        "responsibilities_are_written",
        edit("docs/migration-safety.md", "| Safety | migration validator", "| Safety | both"),
        "not the same in document and declaration: Safety, Safety", id="the table says otherwise",
    ),
    pytest.param(
        "every_aspect_has_one",
        edit("params/governance.yaml", "Safety: {validator: migration", "Safety: {validator: x"),
        "Safety belongs to neither, or to both", id="both",
    ),
    pytest.param(
        "owners_are_complete", edit("docs/ownership.yaml", "bench: engine", "bench: engine\nbench: platform"),
        "bench is given twice", id="two owners",
    ),
    pytest.param(
        "decisions_are_complete",
        write("docs/adr/009-x.md", ADR.replace("**Status** accepted", "```\n**Status** accepted\n```")),
        "009-x.md: its status is not one of proposed, accepted, superseded, deprecated", id="status in a code block",
    ),
    pytest.param(
        "no_credentials",
        edit("alembic/env.py", "PROJECT =", "URL = sa.URL.create('postgresql', password='s3cret')\nPROJECT ="),
        "alembic/env.py holds a password", id="password as an argument",
    ),
    pytest.param(
        "no_credentials", edit("alembic/env.py", "PROJECT =", "URL = 'postgresql://:s3cret@h/d'\nPROJECT ="),
        "alembic/env.py holds a password", id="URL without a user",
    ),
    pytest.param(
        "no_credentials",
        edit("src/gatebook/project.py", "PROJECT_VARIABLE =", "URL = 'postgresql://u:s3cret@h/d'\nPROJECT_VARIABLE ="),
        "src/gatebook/project.py holds a password", id="URL in the code",
    ),
    pytest.param(
        "no_credentials", edit("params/demo.yaml", "notes:", "password: s3cret\nnotes:"),
        "params/demo.yaml holds a password", id="key of the parameters",
    ),
    pytest.param(
        "no_credentials", edit("alembic.ini", "[alembic]", "[other]\nsqlalchemy.url = x\n[alembic]"),
        "alembic.ini sets sqlalchemy.url", id="URL in another section",
    ),
    pytest.param(
        "chain_is_whole", edit(REVISION, "def upgrade(", "def up("), "202511151400: no upgrade()", id="no upgrade",
    ),
    pytest.param("chain_is_whole", only_refuses, "202511151400: its downgrade() takes nothing back", id="no way back"),
    pytest.param(
        "template_is_complete", edit("alembic/script.py.mako", "def upgrade()", "def upgrade("),
        "it does not render to Python: invalid syntax, line 21", id="template that is no Python",
    ),
    pytest.param(
        "responsibilities_are_written",
        edit("docs/migration-safety.md", "| Safety |", "| Safety | phase validators | x | y |\n| Safety |"),
        "not the same in document and declaration: Safety", id="one aspect twice",
    ),
    pytest.param(
        "responsibilities_are_written", edit("docs/migration-safety.md", "upgrade() drops no table", "anything"),
        "not the same in document and declaration: Safety, Safety", id="another example",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("check", "change", "reason"), RED)
def test_red_where_one_thing_is_taken_away(
    check: str, change: Callable[[Path], None], reason: str, copy: Project
) -> None:
    change(copy.root)
    verdict = getattr(governance, check)(copy)

    assert (verdict.name, verdict.reason) == ("FAIL", reason)


@pytest.mark.parametrize(
    ("code", "names"),
    [
        (
            "import os\nos.environ['A']\nos.environ.get('B')\nos.getenv('C', 'x')\n'D' in os.environ",
            {"A", "B", "C", "D"},
        ),
        ("# os.environ['A']\n'''os.environ['B']'''\nx = {'C': 1}\nx['C']", set()),
    ],
)
def test_names_asked_of_the_environment(code: str, names: set[str]) -> None:
    assert governance.environment_names(ast.parse(code)) == names


@pytest.mark.parametrize("phase", [0, 1])
def test_scripts_of_the_phases(phase: int) -> None:
    done = subprocess.run(
        [ROOT / "scripts" / f"validate-phase-{phase}.sh"], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("✓ PASS") == len(governance.CHECKS[str(phase)])
