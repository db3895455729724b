"""Phase validators 0 and 1: ownership, decisions, and the migration system, by what is in them.

A word that occurs somewhere proves nothing: documents are read by their sections, Python by its syntax tree, and
parameters by their keys. What a project owes stands in params/governance.yaml.
"""

import ast
import configparser
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import yaml
from alembic.script import Script
from mako.template import Template

from gatebook import migrations
from gatebook.declarations import Declared, load
from gatebook.errors import MigrationFailed
from gatebook.project import Project
from gatebook.subject import Examination, Subject
from gatebook.validators import sections
from gatebook.verdicts import Fail, Pass, Rows, Unknown, Verdict

STATUSES = ("proposed", "accepted", "superseded", "deprecated")
PARTS = ("Context", "Decision", "Consequences")
PASSWORD_IN_URL = re.compile(r"\b[a-z][a-z0-9+]*://[^\s:/@{]*:[^\s/@{<]+@", re.IGNORECASE)
PASSWORD_SETTING = re.compile(r"""\b(?:password|passwd|pwd)\s*[=:]\s*['"]?[^\s{%$'"]""", re.IGNORECASE)
MADE = ("__pycache__", "build", "dist", "outputs")
VALIDATORS = {"phase": "phase validators", "migration": "migration validator"}
Check = Callable[[Project], Verdict]


class Aspect(Declared):
    """One thing that one of the two validators answers for."""

    validator: str
    how: str
    example: str


class Governance(Declared):
    """params/governance.yaml

    folders       that there must be
    owned         folders whose entries each need an owner
    decisions     number of an ADR -> words of its title
    documented_since  revisions after this one have these fields in their docstring
    """

    folders: list[str]
    owned: list[str]
    decisions: dict[str, str]
    documented_since: str
    fields: list[str]
    template_fields: list[str]
    aspects: dict[str, Aspect]


def load_governance(project: Project) -> Governance:
    return load(Governance, project.params / "governance.yaml")


def of_project(check: Check) -> Examination:
    """A check of the project's files as an examination; it needs no database."""

    def examination(subject: Subject) -> Verdict:
        return check(subject.project)

    return examination


# -- phase 0: ownership and layout


def folders_exist(project: Project) -> Verdict:
    """Every folder that the project promises is there, and holds something."""
    wanted = load_governance(project).folders
    have: Rows = tuple({"folder": name, "entries": len(_entries(project.root / name))} for name in wanted)
    empty = [str(row["folder"]) for row in have if not row["entries"]]
    return _judged("the promised folders exist and hold something", have, empty, "missing or empty")


def owners_are_complete(project: Project) -> Verdict:
    """Every entry has an owner, by the longest path that covers it, and nobody owns what is not there."""
    what = "everything has an owner, and nothing owned is missing"
    text = (project.root / "docs" / "ownership.yaml").read_text("utf-8")
    rules: Mapping[str, str] = yaml.safe_load(text)
    entries = sorted(_to_be_owned(project))
    have: Rows = tuple({"path": entry, "owner": owner_of(entry, rules) or "nobody"} for entry in entries)
    orphans = [f"{row['path']} has no owner" for row in have if row["owner"] == "nobody"]
    gone = [f"{path} is owned and not there" for path in rules if not (project.root / path).exists()]
    blank = [f"{path} names no owner" for path, owner in rules.items() if not str(owner or "").strip()]
    said = re.findall(r"^([^#\s:]+):", text, re.MULTILINE)
    twice = [f"{path} is given twice" for path in sorted({each for each in said if said.count(each) > 1})]
    problems = [*orphans, *gone, *blank, *twice]
    return Fail(what, have, (), "; ".join(problems)) if problems else _seen(what, have)


def owner_of(entry: str, rules: Mapping[str, str]) -> str | None:
    """Whoever the longest covering path names."""
    covering = [path for path in rules if entry == path or entry.startswith(f"{path}/")]
    return rules[max(covering, key=len)] if covering else None


def _to_be_owned(project: Project) -> Iterator[str]:
    yield from _entries(project.root)
    for folder in load_governance(project).owned:
        yield from (f"{folder}/{name}" for name in _entries(project.root / folder))


def _entries(folder: Path) -> list[str]:
    """What belongs to the project: nothing hidden but its CI, and nothing that is made by running it."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return [name for name in names if name in (".ci", ".github") or not (name.startswith(".") or name in MADE)]


def decisions_are_complete(project: Project) -> Verdict:
    """Every ADR has a status, and Context, Decision and Consequences as sections with words in them."""
    what = "every decision is complete"
    wanted = load_governance(project).decisions
    files = sorted((project.root / "docs" / "adr").glob("*.md"))
    texts = {path.name: path.read_text("utf-8") for path in files}
    problems = [f"{name}: {problem}" for name, text in texts.items() for problem in decision_problems(name, text)]
    numbers = [name.partition("-")[0] for name in texts]
    problems += [f"{number} is used twice" for number in sorted({n for n in numbers if numbers.count(n) > 1})]
    titles = {f"ADR-{name.partition('-')[0]}": _title(text).lower() for name, text in texts.items()}
    problems += [f"{adr} is not about {words}" for adr, words in wanted.items() if words not in titles.get(adr, "")]
    have: Rows = tuple({"file": name, "title": _title(text), "status": _status(text)} for name, text in texts.items())
    return Fail(what, have, (), "; ".join(problems)) if problems else _seen(what, have)


def decision_problems(name: str, text: str) -> list[str]:
    """What an ADR lacks; a heading in a code block is none, and a section without words neither."""
    found = sections(text)
    problems = [f"no words under {part}" for part in PARTS if not found.get(part, "").split()]
    if _status(text) not in STATUSES:
        problems.append(f"its status is not one of {', '.join(STATUSES)}")
    if not _title(text).startswith(f"ADR-{name.partition('-')[0]}:"):
        problems.append("its title does not begin with its number")
    return problems


def _title(text: str) -> str:
    return next((line.removeprefix("# ") for line in text.splitlines() if line.startswith("# ")), "")


def _status(text: str) -> str:
    said = re.search(r"^\*\*Status\*\*\s+(\w+)", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.MULTILINE)
    words = sections(text).get("Status", "").split()
    return (said[1] if said else words[0] if words else "").lower()


# -- phase 1: the migration system


def no_credentials(project: Project) -> Verdict:
    """No URL with a password, and no password, in Alembic's files, the parameters, or the code."""
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(project.alembic_ini)
    is_set = any(settings.get(section, "sqlalchemy.url", fallback="") for section in settings.sections())
    problems = ["alembic.ini sets sqlalchemy.url"] if is_set else []
    looked = 0
    for path, texts in _texts(project):
        looked += 1
        if any(PASSWORD_IN_URL.search(text) or PASSWORD_SETTING.search(text) for text in texts):
            problems.append(f"{path} holds a password")
    have: Rows = ({"files looked at": looked},)
    what = "no credentials in configuration, parameters or code"
    return Fail(what, have, (), "; ".join(problems)) if problems else _seen(what, have if looked else ())


def _texts(project: Project) -> Iterator[tuple[str, list[str]]]:
    """Each file with the texts in it: the strings of Python without its docstrings, and other files line by line."""
    root = project.root
    plain = [project.alembic_ini, *sorted(project.params.rglob("*.yaml"))]
    for path in plain:
        yield str(path.relative_to(root)), path.read_text("utf-8").splitlines()
    for path in [root / "alembic" / "env.py", *sorted((root / "alembic" / "versions").glob("*.py")), *_sources(root)]:
        yield str(path.relative_to(root)), list(strings(ast.parse(path.read_text("utf-8"))))


def _sources(root: Path) -> list[Path]:
    return sorted(path for folder in ("src", "scripts") for path in (root / folder).rglob("*.py"))


def strings(tree: ast.AST) -> Iterator[str]:
    """Every text that the program uses; a docstring is not used."""
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value
        elif isinstance(node, ast.keyword) and node.arg and isinstance(node.value, ast.Constant):
            yield f"{node.arg}={node.value.value or ''!s}"  # password="secret", as an argument


def url_from_environment(project: Project) -> Verdict:
    """alembic/env.py asks the environment for DATABASE_URL: in its code, not in a comment."""
    what = "the URL comes from the environment"
    tree = ast.parse((project.root / "alembic" / "env.py").read_text("utf-8"))
    asked = sorted(environment_names(tree))
    have: Rows = tuple({"asked for": name} for name in asked)
    if "DATABASE_URL" not in asked:
        return Fail(what, have, ({"asked for": "DATABASE_URL"},), "env.py does not ask for DATABASE_URL")
    return Pass(what, have, ({"asked for": "DATABASE_URL"},))


def environment_names(tree: ast.AST) -> set[str]:
    """Names that a program looks up with os.environ or os.getenv."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and any(_is_environment(each) for each in node.comparators):
            found |= _constants([node.left])
        elif isinstance(node, ast.Subscript) and _is_environment(node.value):
            found |= _constants([node.slice])
        elif isinstance(node, ast.Call) and _asks_environment(node.func):
            found |= _constants(node.args[:1])
    return found


def _is_environment(node: ast.expr) -> bool:
    return ast.unparse(node) in ("os.environ", "environ")


def _asks_environment(function: ast.expr) -> bool:
    return ast.unparse(function) in ("os.environ.get", "os.getenv", "environ.get", "getenv")


def _constants(nodes: Iterable[ast.expr]) -> set[str]:
    return {each.value for each in nodes if isinstance(each, ast.Constant) and isinstance(each.value, str)}


def chain_is_whole(project: Project) -> Verdict:
    """One first revision, one head, no gap; each revision explains itself and can be taken back."""
    what = "the migrations are one chain, explained and reversible"
    try:
        migrations.head(project)
        revisions = list(migrations.script(project).walk_revisions())
    except MigrationFailed as error:
        return Fail(what, (), (), error.what)
    declared = load_governance(project)
    problems = [f"{each.revision}: {problem}" for each in revisions for problem in _revision_problems(each, declared)]
    roots = [each.revision for each in revisions if each.down_revision is None]
    problems += [] if len(roots) == 1 else [f"{len(roots)} first revisions"]
    have: Rows = tuple({"revision": each.revision, "after": each.down_revision or "–"} for each in revisions)
    return Fail(what, have, (), "; ".join(problems)) if problems else _seen(what, have)


def _revision_problems(revision: Script, declared: Governance) -> Iterator[str]:
    tree = ast.parse(Path(revision.path).read_text("utf-8"))
    text = ast.get_docstring(tree) or ""
    if not text:
        yield "no docstring"
    if revision.revision > declared.documented_since:
        missing = [field for field in declared.fields if not re.search(rf"^{field}\s+\S", text, re.MULTILINE)]
        if missing:
            yield f"its docstring does not say {', '.join(missing)}"
    for name in ("upgrade", "downgrade"):
        function = next((each for each in tree.body if getattr(each, "name", "") == name), None)
        if not isinstance(function, ast.FunctionDef):
            yield f"no {name}()"
        elif name == "downgrade" and revision.down_revision is not None and not does_something(function):
            yield "its downgrade() takes nothing back"


def does_something(function: ast.FunctionDef) -> bool:
    """Whether there is more in it than words, `pass` and a refusal."""
    return any(
        not (
            isinstance(each, ast.Pass | ast.Raise)
            or (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant))
        )
        for each in function.body
    )


def template_is_complete(project: Project) -> Verdict:
    """alembic/script.py.mako renders to Python with every field that a revision must fill in."""
    what = "the template of a revision is complete"
    given = {"up_revision": "1", "down_revision": None, "branch_labels": None, "depends_on": None, "message": "m"}
    rendered = Template(filename=str(project.root / "alembic" / "script.py.mako")).render(
        **given, imports="", upgrades="", downgrades=""
    )
    try:
        tree = ast.parse(rendered)
    except SyntaxError as error:
        return Fail(what, (), (), f"it does not render to Python: {error.msg}, line {error.lineno}")
    text = ast.get_docstring(tree) or ""
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    wanted = load_governance(project).template_fields
    missing = [field for field in wanted if not re.search(rf"^{field}\s+\S", text, re.MULTILINE)]
    missing += sorted({"upgrade", "downgrade"} - functions)
    have: Rows = tuple({"part": part, "there": part not in missing} for part in (*wanted, "upgrade", "downgrade"))
    return _judged(what, have, missing, "missing")


# -- who answers for what


def responsibilities_are_written(project: Project) -> Verdict:
    """The document's table shows the aspects of params/governance.yaml, each with the validator that answers."""
    what = "the responsibility table is the declared one"
    text = (project.root / "docs" / "migration-safety.md").read_text("utf-8")
    shown = table_rows(sections(text).get("Who answers for what", ""))
    wanted = [
        [name, VALIDATORS.get(aspect.validator, "?"), aspect.how, aspect.example]
        for name, aspect in load_governance(project).aspects.items()
    ]
    have: Rows = tuple({"aspect": cells[0], "answers": cells[1]} for cells in shown if len(cells) > 1)
    missing = [cells[0] for cells in wanted if cells not in shown]
    extra = [cells[0] for number, cells in enumerate(shown) if cells not in wanted or cells in shown[:number]]
    return _judged(what, have, [*missing, *extra], "not the same in document and declaration")


def every_aspect_has_one(project: Project) -> Verdict:
    """Each aspect belongs to exactly one validator, and each validator has some."""
    what = "every aspect belongs to exactly one validator"
    aspects = load_governance(project).aspects
    have: Rows = tuple({"aspect": name, "answers": VALIDATORS.get(a.validator, "")} for name, a in aspects.items())
    problems = [f"{row['aspect']} belongs to neither, or to both" for row in have if not row["answers"]]
    idle = [said for key, said in VALIDATORS.items() if all(a.validator != key for a in aspects.values())]
    problems += [f"the {said} answer for nothing" for said in idle]
    return Fail(what, have, (), "; ".join(problems)) if problems else _seen(what, have)


def table_rows(text: str) -> list[list[str]]:
    """The cells of a Markdown table, without its head."""
    lines = [line.strip().strip("|") for line in text.splitlines() if line.strip().startswith("|")]
    return [[cell.strip() for cell in line.split("|")] for line in lines[2:]]


def _seen(what: str, have: Rows) -> Verdict:
    return Pass(what, have) if have else Unknown(what, reason="there was nothing to look at")


def _judged(what: str, have: Rows, bad: Sequence[str], problem: str) -> Verdict:
    return Fail(what, have, (), f"{problem}: {', '.join(bad)}") if bad else _seen(what, have)


CHECKS: Mapping[str, Sequence[Check]] = {
    "0": (folders_exist, owners_are_complete, decisions_are_complete),
    "1": (no_credentials, url_from_environment, chain_is_whole, template_is_complete),
}
