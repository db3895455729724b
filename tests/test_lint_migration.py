"""The command and both scripts, as their users run them: bad input is one clear message and exit code 1."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import ROOT
from gatebook.safety.linting import lint
from gatebook.safety.report import as_github, as_json, as_sarif, as_text

SCRIPT = ROOT / "scripts" / "validate-migration.sh"
GOOD = 'from alembic import op\nrevision = "r"\n\n\ndef upgrade():\n    op.execute("SELECT 1")\n'
RED = GOOD.replace('op.execute("SELECT 1")', 'op.drop_table("a,b:c%")')


def script(*arguments: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPT, *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )


def written(text: str | bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())

    return write


def loop(path: Path) -> None:
    path.symlink_to(path)


BAD_INPUT = [
    pytest.param(written("SELECT 1;\n"), "It is not Python, line 1", id="not Python"),
    pytest.param(written(b"x = '\xff\xfe'\n"), "It is not a text in the encoding it names", id="not UTF-8"),
    pytest.param(written(b"# coding: nonsense\n"), "It is not a text in the encoding it names", id="unknown encoding"),
    pytest.param(written("  \n"), "It is empty.", id="empty"),
    pytest.param(written("revision = 'r'\n"), "It has no upgrade(); a migration defines one.", id="no upgrade"),
    pytest.param(written("def upgrade(:\n"), "It is not Python, line 1", id="syntax error"),
    pytest.param(written("x = 1  # " + "x" * 5_000_000), "It has 5,000,009 bytes", id="5 MB"),
    pytest.param(written("x = '\0'\n"), "It is not Python", id="zero byte"),
    pytest.param(written("x = " + "(" * 3_000 + ")" * 3_000), "It is n", id="nested parentheses"),
    pytest.param(written("x = " + "-" * 30_000 + "1\n"), "It is nested too deeply", id="nested signs"),
    pytest.param(loop, "It is not a file that can be read", id="a link to itself"),
    pytest.param(written("def upgrade():\n    upgrade()\n"), "upgrade calls itself", id="recursion"),
    pytest.param(
        written("def a():\n    b()\n\n\ndef b():\n    a()\n\n\ndef upgrade():\n    a()\n"),
        "calls itself",
        id="a circle",
    ),
    pytest.param(
        written(GOOD.replace("SELECT 1", "SELEC 1")), 'syntax error at or near "SELEC"', id="SQL that is none"
    ),
    pytest.param(written(GOOD.replace("SELECT 1", "ALTER TABLE :t ADD x int")), "cannot parse", id="a name as :t"),
    pytest.param(written(GOOD.replace("SELECT 1", "DROP TABLE %s")), "cannot parse", id="a name as %s"),
]


@pytest.mark.parametrize(("make", "says"), BAD_INPUT)
def test_bad_input_fails_with_one_clear_message(tmp_path: Path, make: Callable[[Path], None], says: str) -> None:
    path = tmp_path / "bad.py"
    make(path)
    (judgement,) = lint([path])
    text = as_text([judgement])

    assert not judgement.passes
    assert says in text
    assert "VALIDATION FAILED" in text
    assert "mistake in gatebook" not in text
    assert "Traceback" not in text


def test_utf8_with_a_mark_and_other_encodings_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    (tmp_path / "b.py").write_bytes(b"# coding: latin-1\n# \xe9\n" + GOOD.encode())
    (tmp_path / "c.py").write_bytes(GOOD.replace("\n", "\r\n").encode())

    assert [each.passes for each in lint([tmp_path])] == [True] * 3


def test_no_argument() -> None:
    done = script()

    assert (done.returncode, done.stdout) == (
        1,
        f"ERROR: No migration file provided\nUsage: {SCRIPT} <migration_file>\n",
    )


def test_a_missing_file() -> None:
    done = script("params/safety/missing.py")

    assert (done.returncode, done.stdout) == (1, "ERROR: Migration file not found: params/safety/missing.py\n")


def test_red() -> None:
    done = script("params/safety/danger.py")

    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines()[:10] == [
        "--- [CI Safety Validator] Analyzing: params/safety/danger.py ---",
        "⛔️ DANGER: Destructive pattern found: 'op.drop_table'",
        "     line 10: drops table old_analytics_table with its rows",
        "⛔️ DANGER: Destructive pattern found: 'DROP TABLE'",
        "     line 11: drops table old_metrics",
        "⛔️ VALIDATION FAILED: This migration contains destructive operations.",
        "",
        "Detected patterns:",
        "  - op.drop_table",
        "  - DROP TABLE",
    ]
    assert done.stdout.endswith("\n\n1 file: 0 passed, 1 failed. 2 statements seen: 2 resolved, 0 not resolvable.\n")


@pytest.mark.parametrize(
    ("fixture", "says"),
    [
        ("safe", "✅ VALIDATION PASSED: No destructive patterns found."),
        ("bypass", "✅ VALIDATION PASSED: Every destructive pattern found is acknowledged."),
    ],
)
def test_green(fixture: str, says: str) -> None:
    done = script(f"params/safety/{fixture}.py")

    assert (done.returncode, says in done.stdout.splitlines()) == (0, True)


def test_from_elsewhere_and_with_spaces(tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    (folder / "a migration.py").write_text(RED)
    done = script("a migration.py", cwd=folder)

    assert done.returncode == 1
    assert "--- [CI Safety Validator] Analyzing: a migration.py ---" in done.stdout


def test_all_of_our_own_pass_the_strict_rules() -> None:
    judgements = lint([ROOT / "alembic" / "versions"], strict=True)

    assert len(judgements) == len(list((ROOT / "alembic" / "versions").glob("*.py")))
    assert [each.path for each in judgements if not each.passes] == []
    assert sum(each.unresolved for each in judgements) == 0


def test_json(tmp_path: Path) -> None:
    path = tmp_path / "r.py"
    path.write_text(RED)
    (found,) = json.loads(as_json(lint([path])))["files"]

    assert (found["passes"], found["revision"], found["statements"]) == (False, "r", 1)
    assert found["findings"] == [
        {
            "path": str(path),
            "line": 6,
            "level": "fail",
            "kind": "rows or objects lost",
            "pattern": "op.drop_table",
            "target": "a,b:c%",
            "detail": "drops table a,b:c% with its rows",
            "acknowledged": None,
        }
    ]


def test_workflow_commands_are_escaped(tmp_path: Path) -> None:
    path = tmp_path / "a,b:c.py"
    path.write_text(RED)
    first = as_github(lint([path])).splitlines()[0]

    place = str(path).replace(":", "%3A").replace(",", "%2C")
    assert first == f"::error file={place},line=6::op.drop_table: drops table a,b:c%25 with its rows"


def test_sarif(tmp_path: Path) -> None:
    path = tmp_path / "r.py"
    path.write_text(RED + '    op.drop_table("d")  # CI:DESTRUCTIVE_OK - moved, ADR-1\n    op.drop_index("i")\n')
    log = json.loads(as_sarif(lint([path])))
    (run,) = log["runs"]

    assert (log["version"], run["tool"]["driver"]["name"]) == ("2.1.0", "gatebook")
    rules = {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    assert [(each["ruleId"], each["level"]) for each in run["results"]] == [
        ("LOST", "error"), ("LOST", "error"), ("GUARD", "warning"),
    ]  # fmt: skip
    assert {each["ruleId"] for each in run["results"]} <= rules
    assert run["results"][1]["suppressions"] == [{"kind": "inSource", "justification": "moved, ADR-1"}]
    region = run["results"][0]["locations"][0]["physicalLocation"]["region"]
    assert region == {"startLine": 6}
