"""The migration validator beside other tools, on the labelled migrations of the tests: one table.

    python bench/safety.py [--write-docs]

Every tool sees the same files in the same run; seconds include its start. A tool that cannot read a file has neither
caught nor flagged it.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from migration_fixtures import Fixture, fixtures  # noqa: E402 - it lives with the tests

DOCS = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- written by make bench-safety ARGS=--write-docs -->", "<!-- until here: safety -->"
PEERS = ROOT / "bench" / ".venv" / "bin" / "python"
ROUNDS = 3
MANY = 1_000
PATTERNS = (
    r"DROP TABLE|DROP COLUMN|DROP DATABASE|DROP SCHEMA|TRUNCATE|DELETE FROM.*WHERE.*1.*=.*1"
    r"|ALTER TABLE.*DROP CONSTRAINT|op\.drop_table|op\.drop_column"
)
WHOLE = f"grep -v '# CI:DESTRUCTIVE_OK' \"$f\" | grep -qiE '{PATTERNS}'"
UPGRADE = f"sed -n '/def upgrade/,/def downgrade/p' \"$f\" | grep -v '# CI:DESTRUCTIVE_OK' | grep -qiE '{PATTERNS}'"

Flagged = dict[str, bool | None]
Tool = Callable[[Path, Sequence[str]], Flagged]


def gatebook(folder: Path, names: Sequence[str]) -> Flagged:
    command = [sys.executable, "-m", "gatebook", "lint-migration", "--format", "json"]
    done = subprocess.run(
        [*command, *(f"{folder}/{name}.py" for name in names)], capture_output=True, text=True, check=False
    )
    return {Path(each["path"]).stem: not each["passes"] for each in json.loads(done.stdout)["files"]}


def grep(test: str) -> Tool:
    def run(folder: Path, names: Sequence[str]) -> Flagged:
        loop = f'for f in "$@"; do if {test}; then echo "$f"; fi; done'
        files = [str(folder / f"{name}.py") for name in names]
        done = subprocess.run(["bash", "-c", loop, "bash", *files], capture_output=True, text=True, check=True)
        hits = {Path(line).stem for line in done.stdout.splitlines()}
        return {name: name in hits for name in names}

    return run


def peer(tool: str, python: Path) -> Tool:
    def run(folder: Path, _names: Sequence[str]) -> Flagged:
        command = [str(python), str(ROOT / "bench" / "safety_peers.py"), tool, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)  # type: ignore[no-any-return]

    return run


TOOLS: dict[str, Tool] = {
    "gatebook": gatebook,
    "grep, whole file": grep(WHOLE),
    "grep, upgrade() alone": grep(UPGRADE),
    "alembic --sql and squawk": peer("squawk", Path(sys.executable)),
    "alembic-migration-linter": peer("alembic-migration-linter", PEERS),
    "pytest-mrt, static": peer("pytest-mrt", PEERS),
}


def timed(tool: Tool, folder: Path, names: Sequence[str]) -> tuple[Flagged, float]:
    started = time.perf_counter()
    found = tool(folder, names)
    return found, time.perf_counter() - started


def lines(folder: Path, cases: Sequence[Fixture]) -> list[str]:
    """One line a tool: caught, flagged, not read, seconds, and seconds ÷ those of grep in the same round."""
    names = [each.name for each in cases]
    bad = {each.name for each in cases if each.verdict == "fail"}
    rounds = [{name: timed(tool, folder, names) for name, tool in TOOLS.items()} for _ in range(ROUNDS)]
    rows = ["| tool | destructive caught | clean flagged | not read | time ÷ grep |", "|---|---|---|---|---|"]
    for tool in TOOLS:
        found, _ = rounds[0][tool]
        caught = sum(bool(found.get(name)) for name in bad)
        flagged = sum(bool(found.get(name)) for name in set(names) - bad)
        unread = sum(found.get(name) is None for name in names)
        ratio = statistics.median(each[tool][1] / each["grep, whole file"][1] for each in rounds)
        rows.append(
            f"| {tool} | {caught} of {len(bad)} | {flagged} of {len(names) - len(bad)} | {unread} | {ratio:.2f} × |"
        )
    return rows


def speed(folder: Path, cases: Sequence[Fixture]) -> list[str]:
    """Cold, start included: many files, and one."""
    many = folder / "many"
    many.mkdir()
    for number in range(MANY):
        shutil.copy(folder / f"{cases[number % len(cases)].name}.py", many / f"m{number}.py")
    names = [f"m{number}" for number in range(MANY)]
    found = []
    for wanted in (names, names[:1]):
        ours = [timed(gatebook, many, wanted)[1] for _ in range(ROUNDS)]
        theirs = [timed(TOOLS["grep, whole file"], many, wanted)[1] for _ in range(ROUNDS)]
        ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
        what = f"{len(wanted):,} files" if len(wanted) > 1 else "one file"
        found.append(f"- {what}, cold: {statistics.median(ours):.2f} s, {ratio:.1f} × grep (median of {ROUNDS} rounds)")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--write-docs", action="store_true", help=f"write the table into {DOCS.name}")
    given = parser.parse_args()
    cases = fixtures()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "versions"
        for each in cases:
            each.write(folder)
        (folder / "names.txt").write_text("\n".join(each.name for each in cases))
        text = "\n".join([*lines(folder, cases), "", *speed(folder, cases)])
    print(text)
    if given.write_docs:
        page = DOCS.read_text("utf-8")
        before, _, rest = page.partition(BEGIN)
        DOCS.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}", "utf-8")


if __name__ == "__main__":
    main()
