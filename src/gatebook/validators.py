"""Examinations of the validators at work: the scripts, their fixtures, the CI job and the documents about them.

A script is run as its user would run it, and judged by its exit code and its words.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from gatebook.project import Project
from gatebook.subject import Examination, Subject
from gatebook.verdicts import Fail, Pass, Rows, Unknown, Verdict

MIGRATION_SCRIPT = "scripts/validate-migration.sh"
EVERY_MIGRATION_SCRIPT = "scripts/validate-migrations.sh"
PHASE_SCRIPTS = tuple(f"scripts/validate-phase-{phase}.sh" for phase in range(4))
WORKFLOW = ".github/workflows/ci.yml"
JOB = "validate-migrations"
TEMPLATE = ".github/PULL_REQUEST_TEMPLATE.md"
DOCUMENT = "docs/migration-safety.md"
COPIED = ("alembic", "alembic.ini", "docs/adr", "params", "scripts")
TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class Printed:
    """How a command ended, and what it said."""

    exit_code: int
    text: str

    def rows(self) -> Rows:
        return ({"exit code": self.exit_code}, *({"line": line} for line in self.text.splitlines()))


def run_script(root: Path, *command: str) -> Printed:
    """Run a script of a project from its folder, with the interpreter that runs here."""
    done = subprocess.run(
        command,
        cwd=root,
        env=os.environ | {"PYTHON": sys.executable, "NO_COLOR": "1", "COLUMNS": "120"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    return Printed(done.returncode, done.stdout)


def are_executable(*scripts: str) -> Examination:
    """Each of these scripts is there and may be run."""

    def examination(subject: Subject) -> Verdict:
        what = "the scripts exist and may be run"
        have: Rows = tuple(
            {"script": script, "executable": os.access(subject.project.root / script, os.X_OK)} for script in scripts
        )
        bad = [str(row["script"]) for row in have if not row["executable"]]
        return Fail(what, have, (), f"missing or not executable: {', '.join(bad)}") if bad else Pass(what, have)

    return examination


def validates(fixture: str, *, exit_code: int, says: Sequence[str]) -> Examination:
    """scripts/validate-migration.sh ends with this code over a migration, and says each of these."""

    def examination(subject: Subject) -> Verdict:
        printed = run_script(subject.project.root, MIGRATION_SCRIPT, fixture)
        return judge_printed(f"{MIGRATION_SCRIPT} {fixture}", printed, exit_code=exit_code, says=says)

    return examination


def judge_printed(command: str, printed: Printed, *, exit_code: int, says: Sequence[str]) -> Verdict:
    """Exit code and words of a command are those wanted."""
    what = f"{command} ends with {exit_code} and says why"
    want: Rows = ({"exit code": exit_code}, *({"line": text} for text in says))
    if printed.exit_code != exit_code:
        return Fail(what, printed.rows(), want, f"it ended with {printed.exit_code}, not {exit_code}")
    unsaid = [text for text in says if text not in printed.text]
    if unsaid:
        return Fail(what, printed.rows(), want, f"it did not say: {'; '.join(unsaid)}")
    return Pass(what, printed.rows(), want)


def samples_are_real(subject: Subject) -> Verdict:
    """Each sample in the document is what its command prints here and now."""
    what = f"the samples in {DOCUMENT} are what the commands print"
    text = _text(subject.project, DOCUMENT)
    found = samples(text)
    if not found:
        return Unknown(what, reason=f"{DOCUMENT} holds no sample")
    printed = {command: run_script(subject.project.root, *command.split()).text.strip() for command in found}
    stale = [command for command, sample in found.items() if sample != printed[command]]
    have: Rows = tuple({"command": command, "in the document": sample} for command, sample in found.items())
    want: Rows = tuple({"command": command, "printed": output} for command, output in printed.items())
    return Fail(what, have, want, f"not what is printed: {', '.join(stale)}") if stale else Pass(what, have, want)


SAMPLE = re.compile(r"<!-- sample: (?P<command>[^\n]+) -->\n```[a-z]*\n(?P<text>.*?)\n?```", re.DOTALL)


def samples(text: str) -> dict[str, str]:
    """Command -> the output that a document shows for it, between a marker and the end of its code block."""
    return {found["command"]: found["text"].strip() for found in SAMPLE.finditer(text)}


def with_samples(text: str, root: Path) -> str:
    """The document with each sample as its command prints it now."""

    def renewed(found: re.Match[str]) -> str:
        output = run_script(root, *found["command"].split()).text.strip()
        return f"<!-- sample: {found['command']} -->\n```text\n{output}\n```"

    return SAMPLE.sub(renewed, text)


def tells(document: str, *headings: str) -> Examination:
    """The document has each of these sections, and each says something."""

    def examination(subject: Subject) -> Verdict:
        what = f"{document} has the sections {', '.join(headings)}"
        words = {heading: len(body.split()) for heading, body in sections(_text(subject.project, document)).items()}
        have: Rows = tuple({"section": heading, "words": words.get(heading, 0)} for heading in headings)
        bad = [heading for heading in headings if not words.get(heading)]
        return Fail(what, have, (), f"missing or empty: {', '.join(bad)}") if bad else Pass(what, have)

    return examination


def sections(text: str) -> dict[str, str]:
    """Heading -> what stands below it, until the next heading; a '#' inside a code block is none."""
    found: dict[str, list[str]] = {}
    body: list[str] = []
    is_code = False
    for line in text.splitlines():
        is_code ^= line.startswith("```")
        if not is_code and line.startswith("#"):
            body = found.setdefault(line.lstrip("# ").strip(), [])
        else:
            body.append(line)
    return {heading: "\n".join(lines) for heading, lines in found.items()}


def ci_runs(*scripts: str) -> Examination:
    """The workflow's job runs each of these scripts, on pushes and pull requests, unskipped and unforgiven."""

    def examination(subject: Subject) -> Verdict:
        what = f"the job {JOB} of {WORKFLOW} runs {', '.join(scripts)}"
        problems = job_problems(_text(subject.project, WORKFLOW), scripts)
        have: Rows = tuple({"script": script, "run by the job": script not in problems} for script in scripts)
        return Fail(what, have, (), "; ".join(problems.values())) if problems else Pass(what, have)

    return examination


def job_problems(workflow: str, scripts: Sequence[str]) -> dict[str, str]:
    """What keeps the job from being a hard gate: script or key of the workflow -> a sentence."""
    declared = yaml.safe_load(workflow) or {}
    job = (declared.get("jobs") or {}).get(JOB)
    if not job:
        return {"job": f"there is no job {JOB}"}
    events = declared.get("on", declared.get(True)) or {}
    problems = {event: f"it does not run on {event}" for event in ("push", "pull_request") if event not in events}
    forgiven = [key for key in ("if", "continue-on-error") if any(key in each for each in (job, *job["steps"]))]
    problems |= {key: f"`{key}` lets it pass without a verdict" for key in forgiven}
    commands = [line.strip() for step in job["steps"] for line in str(step.get("run", "")).splitlines()]
    for script in scripts:
        running = [line for line in commands if script in line]
        if not running:
            problems[script] = f"no step runs {script}"
        elif any(mark in line for line in running for mark in ("||", "&", ";", "|", "#")):
            problems[script] = f"the exit code of {script} is not that of its step"
    return problems


def every_migration_is_judged(subject: Subject) -> Verdict:
    """The job's script judges as many files as there are migrations, and all of them pass under the strict rules."""
    what = "every migration is judged by the CI job's script, and passes"
    files = sorted(path.name for path in (subject.project.root / "alembic" / "versions").glob("*.py"))
    printed = run_script(subject.project.root, EVERY_MIGRATION_SCRIPT)
    unseen = [name for name in files if name not in printed.text]
    if printed.exit_code != 0 or unseen or not files:
        reason = f"it ended with {printed.exit_code}; not judged: {', '.join(unseen) or 'none'}"
        return Fail(what, printed.rows(), (), reason)
    return Pass(what, ({"migrations": len(files), "judged": len(files) - len(unseen)},))


def job_fails_on(fixture: str, *, acknowledged: str) -> Examination:
    """With a destructive migration the job's script fails; with an acknowledged one it passes. In a copy."""

    def examination(subject: Subject) -> Verdict:
        what = "a destructive migration fails the job, and an acknowledged one does not"
        wanted = {fixture: 1, acknowledged: 0}
        have: Rows = tuple({"added": each, "exit code": _with(subject.project, each).exit_code} for each in wanted)
        want: Rows = tuple({"added": each, "exit code": code} for each, code in wanted.items())
        wrong = [str(row["added"]) for row, expected in zip(have, want, strict=True) if row != expected]
        return Fail(what, have, want, f"not as wanted with {', '.join(wrong)}") if wrong else Pass(what, have, want)

    return examination


def _with(project: Project, fixture: str) -> Printed:
    """The job's script over a copy of the project that has one migration more."""
    with tempfile.TemporaryDirectory(prefix="gatebook-") as folder:
        root = Path(folder)
        for name in COPIED:
            source = project.root / name
            if source.is_dir():
                shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, root / name)
        shutil.copy(project.root / fixture, root / "alembic" / "versions" / f"added_{Path(fixture).name}")
        return run_script(root, EVERY_MIGRATION_SCRIPT)


def template_asks(*items: str) -> Examination:
    """The pull request template has a box to tick for each of these."""

    def examination(subject: Subject) -> Verdict:
        what = f"{TEMPLATE} has the checklist"
        boxes = [line for line in _text(subject.project, TEMPLATE).splitlines() if line.startswith("- [ ] ")]
        have: Rows = tuple({"box": line.removeprefix("- [ ] ")} for line in boxes)
        missing = [item for item in items if not any(item in line for line in boxes)]
        want: Rows = tuple({"box": f"… {item} …"} for item in items)
        return Fail(what, have, want, f"no box about: {', '.join(missing)}") if missing else Pass(what, have, want)

    return examination


def fixtures_behave(wanted: Mapping[str, int]) -> Examination:
    """Red, green and bypass: scripts/validate-migration.sh ends with the wanted code over each fixture."""

    def examination(subject: Subject) -> Verdict:
        what = "red, green and bypass fixtures behave"
        root = subject.project.root
        have: Rows = tuple(
            {"fixture": fixture, "exit code": run_script(root, MIGRATION_SCRIPT, fixture).exit_code}
            for fixture in wanted
        )
        want: Rows = tuple({"fixture": fixture, "exit code": code} for fixture, code in wanted.items())
        wrong = [str(row["fixture"]) for row, expected in zip(have, want, strict=True) if row != expected]
        return Fail(what, have, want, f"not as wanted: {', '.join(wrong)}") if wrong else Pass(what, have, want)

    return examination


def _text(project: Project, name: str) -> str:
    """Errors  OSError, which a gate shows as Unknown, when the file is not there"""
    return (project.root / name).read_text("utf-8")
