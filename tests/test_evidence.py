"""Evidence: whatever happens to a finished run is noticed, from its folder alone; the formats are those of others."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from junitparser import Error, Failure, JUnitXml, Skipped
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError

import batch
from command import ROOT, Command, assert_refused, params_file
from conftest import Databases
from gatebook import journal, runs
from gatebook.database import Database
from gatebook.errors import ConfigurationError
from gatebook.evidence import archive, attestation, keys, signing
from gatebook.evidence.verify import Report, recomputed, verify
from gatebook.project import OUTPUTS_VARIABLE, Project

pytestmark = pytest.mark.server

FLIPS = 1_000


@dataclass(frozen=True)
class Signed:
    """A real run that its validator signed at its end, and the keys."""

    ended: batch.Ended
    validator: Path
    reviewer: Path

    @property
    def folder(self) -> Path:
        return self.ended.folder

    def check(self, folder: Path, *names: str) -> Report:
        chosen = [keys.public_key(Path(f"{getattr(self, name)}.pub")) for name in names or ("validator",)]
        return verify(folder, keys=chosen)


@pytest.fixture(scope="module")
def signed(databases: Databases, legacy: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signed]:
    folder = tmp_path_factory.mktemp("signed")
    for name in ("validator", "reviewer"):
        keys.keygen(folder / name)
    database = databases.copy(legacy)
    params = params_file(folder, database=database.name)
    env = {keys.KEY_VARIABLE: (folder / "validator").read_text()}
    yield Signed(
        batch.run(folder / "outputs", params, "--only", "4", env=env), folder / "validator", folder / "reviewer"
    )
    databases.drop(database)


@pytest.fixture
def copy(signed: Signed, tmp_path: Path) -> Path:
    return Path(shutil.copytree(signed.folder, tmp_path / "run"))


@pytest.fixture
def unsigned(signed: Signed, tmp_path: Path) -> Path:
    """The same run as if it had been finished without a key."""
    folder = Path(shutil.copytree(signed.folder, tmp_path / "unsigned"))
    (folder / runs.ENVELOPE).unlink()
    rewrite(folder, lambda event: event | {"signer": ""} if event["event"] == "run_finished" else event)
    return folder


def rewrite(folder: Path, change: Callable[[Any], Any]) -> None:
    """A journal with other events, and all that is rendered from it made anew: what a careful forger does."""
    path = folder / "journal.jsonl"
    path.write_text("".join(f"{json.dumps(change(dict(each)))}\n" for each in journal.read(path)))
    reseal(folder)


def reseal(folder: Path) -> None:
    from gatebook.evidence import pages

    results = archive.load(folder).results
    for name, text in archive.documents(results).items():
        (folder / name).write_text(text, encoding="utf-8")
    stems = {path.stem for path in folder.glob("html/*.html")}
    (folder / "index.html").write_text(pages.index(results, stems), encoding="utf-8")
    archive.seal(folder, results, None)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def problems(report: Report) -> str:
    return "\n".join(f"{check.name}: {problem}" for check in report.checks for problem in check.problems)


def is_noticed(signed: Signed, folder: Path) -> bool:
    try:
        return signed.check(folder).exit_code == 1
    except ConfigurationError:
        return True


# -- a run as it was finished


def test_a_run_is_signed_at_its_end_and_holds(signed: Signed) -> None:
    assert signed.ended.code == 0, signed.ended.said
    report = signed.check(signed.folder)
    (keyid,) = report.signers

    assert (report.exit_code, report.verdict, problems(report)) == (0, "PASS", "")
    assert [check.name for check in report.checks] == [
        "files", "signature", "record", "verdicts", "notebooks", "pages",
    ]  # fmt: skip
    assert signed.ended.results["signer"] == keyid
    assert f"Signature: by key {keyid}" in signed.ended.said
    assert f"signed at its end by key {keyid}" in (signed.folder / "index.html").read_text("utf-8")


def test_without_a_key_nobody_can_tell_who_signed(signed: Signed) -> None:
    report = verify(signed.folder)

    assert (report.exit_code, problems(report)) == (2, "")


def test_the_record_says_what_ran_on_what(signed: Signed) -> None:
    facts = signed.ended.results["facts"]

    assert (signed.folder / "gates.yaml").read_bytes() == (ROOT / "params" / "gates.yaml").read_bytes()
    assert re.fullmatch(r"[0-9a-f]{64}", facts["parameters_sha256"])
    assert {"TimeZone", "server_encoding", "work_mem"} <= facts["settings"].keys()
    assert facts["versions"].keys() >= {"python", "gatebook", "alembic", "sqlalchemy", "papermill"}
    assert facts["git"] is None or re.fullmatch(r"[0-9a-f]{40}", facts["git"]["commit"])


def test_the_private_key_is_nowhere(signed: Signed) -> None:
    """Neither as PEM nor as its bytes, in no file and in nothing that was printed."""
    (secret,) = [line for line in signed.validator.read_text().splitlines() if not line.startswith("-")]

    assert secret not in signed.ended.said
    for path in files(signed.folder):
        assert secret.encode() not in path.read_bytes(), path
    assert signed.validator.stat().st_mode & 0o077 == 0


def test_a_kernel_does_not_inherit_the_key(signed: Signed) -> None:
    environment = {keys.KEY_VARIABLE: signed.validator.read_text(), "PATH": "kept"}
    signer = keys.take_signer(environment)

    assert signer is not None
    assert signer.public_key.keyid == signed.ended.results["signer"]
    assert environment == {"PATH": "kept"}
    assert keys.take_signer(environment) is None


# -- what happens to a finished run


def test_every_flipped_byte_is_noticed(signed: Signed, copy: Path) -> None:
    dice = random.Random(20251115)
    all_files = [path for path in files(copy) if path.stat().st_size]
    missed = []
    for number in range(FLIPS):
        path = all_files[number % len(all_files)]
        content = path.read_bytes()
        place, flip = dice.randrange(len(content)), dice.randrange(1, 256)
        path.write_bytes(content[:place] + bytes([content[place] ^ flip]) + content[place + 1 :])
        if not is_noticed(signed, copy):
            missed.append((path.name, place, flip))
        path.write_bytes(content)
    print(f"{FLIPS - len(missed)} of {FLIPS} flipped bytes noticed, in {len(all_files)} files")

    assert missed == []
    assert signed.check(copy).exit_code == 0


def test_every_flipped_byte_of_an_unsigned_run_is_noticed(unsigned: Path) -> None:
    dice = random.Random(1)
    assert verify(unsigned).exit_code == 0
    for path in [path for path in files(unsigned) if path.stat().st_size]:
        content = path.read_bytes()
        place, flip = dice.randrange(len(content)), dice.randrange(1, 256)
        path.write_bytes(content[:place] + bytes([content[place] ^ flip]) + content[place + 1 :])
        assert verify(unsigned).exit_code == 1, path
        path.write_bytes(content)


def test_every_deleted_or_truncated_file_is_noticed(signed: Signed, copy: Path) -> None:
    for path in files(copy):
        content = path.read_bytes()
        path.unlink()
        assert is_noticed(signed, copy), f"{path} deleted"
        for size in {0, len(content) // 2, len(content) - 1} - {len(content)}:
            path.write_bytes(content[:size])
            assert is_noticed(signed, copy), f"{path} cut to {size}"
        path.write_bytes(content)

    assert signed.check(copy).exit_code == 0


@pytest.mark.parametrize("name", ["extra", "notebooks/99.ipynb", ".hidden", "data/phase-9-after.json", "a/b/c"])
def test_every_added_file_is_noticed_and_named(signed: Signed, copy: Path, name: str) -> None:
    (copy / name).parent.mkdir(parents=True, exist_ok=True)
    (copy / name).write_text("{}")

    assert f"files: {name} is not in manifest.json" in problems(signed.check(copy))


def test_a_link_in_place_of_a_file_is_noticed(signed: Signed, copy: Path, tmp_path: Path) -> None:
    elsewhere = (copy / "results.json").rename(tmp_path / "results.json")
    (copy / "results.json").symlink_to(elsewhere)

    assert "files: results.json is no plain file" in problems(signed.check(copy))


def test_swapped_files_are_noticed(signed: Signed, copy: Path) -> None:
    before, after = copy / "data" / "phase-4-before.json", copy / "data" / "phase-4-after.json"
    first, second = before.read_bytes(), after.read_bytes()
    before.write_bytes(second)
    after.write_bytes(first)
    said = problems(signed.check(copy))

    assert "data/phase-4-after.json was changed" in said
    assert "data/phase-4-before.json was changed" in said


# -- a forger who makes the manifest anew


def test_a_new_manifest_does_not_fit_the_signature(signed: Signed, copy: Path) -> None:
    (copy / "data" / "phase-4-after.json").write_text("{}")
    reseal(copy)

    assert problems(signed.check(copy)) == (
        "signature: the statement that was signed is not about this folder as it is now"
    )


def test_a_signature_that_was_taken_away_is_missed(signed: Signed, copy: Path) -> None:
    (copy / runs.ENVELOPE).unlink()

    assert "attestation.dsse.json is missing" in problems(verify(copy))
    assert "the run is unsigned, and a signature was wanted" in problems(signed.check(copy))


def test_an_unsigned_run_says_so(unsigned: Path, signed: Signed, command: Command) -> None:
    outcome = command("evidence", "verify", str(unsigned))
    assert outcome.code == 0, outcome
    assert re.search(r"✓ signature +UNSIGNED", outcome.out)
    assert outcome.out.rstrip().endswith("verdict PASS, UNSIGNED")
    assert "UNSIGNED" in (unsigned / "index.html").read_text("utf-8")
    assert signed.check(unsigned).exit_code == 1


def test_a_turned_verdict_is_recomputed(unsigned: Path) -> None:
    """A red have under a green verdict, in a journal from which all else was made anew."""
    events = journal.read(unsigned / "journal.jsonl")
    turned = next(event["test"] for event in events if event["event"] == "test" and event["rule"] == "equal")
    rewrite(unsigned, lambda event: event | {"have": []} | {"have_rows": 0} if event.get("test") == turned else event)

    assert problems(verify(unsigned)) == f"verdicts: test {turned} is PASS, and its have and want give FAIL"


def test_a_verdict_that_the_notebook_does_not_show_is_noticed(unsigned: Path) -> None:
    def change(event: Any) -> Any:
        return event | {"verdict": "FAIL"} if event.get("test") == "4.2.2" else event

    rewrite(unsigned, change)
    said = problems(verify(unsigned))

    assert "notebooks: 04_tenants: shows 4.2.2 as PASS" in said
    assert "notebooks: 04_tenants: does not show 4.2.2 as FAIL" in said
    assert "record: gate 4.2 was told as PASS, and its tests give FAIL" in said


def test_a_test_without_a_record_and_one_without_a_declaration_are_noticed(unsigned: Path) -> None:
    def change(event: Any) -> Any:
        return event | {"test": "4.2.9"} if event.get("test") == "4.2.2" else event

    rewrite(unsigned, change)
    said = problems(verify(unsigned))

    assert "record: test 4.2.9 is recorded, and gates.yaml does not declare it" in said
    assert "record: gate 4.2 was told as PASS, and its tests give UNKNOWN" in said


def test_a_page_that_tells_otherwise_is_noticed(unsigned: Path) -> None:
    """results.json, junit.xml and index.html cannot disagree with the journal, even with hashes made anew."""
    for name in ("results.json", "junit.xml", "index.html"):
        path = unsigned / name
        before = path.read_text("utf-8")
        path.write_text(before.replace("4.2", "4.3", 1), encoding="utf-8")
        archive.seal(unsigned, archive.load(unsigned).results, None)
        assert problems(verify(unsigned)) == f"pages: {name} is not what the journal gives"
        path.write_text(before, encoding="utf-8")


@pytest.mark.parametrize(
    ("rule", "have", "want", "rows", "verdict"),
    [
        pytest.param("equal", [{"n": 1}], [{"n": 1}], (1, 1), "PASS", id="equal"),
        pytest.param("equal", [{"n": 2}], [{"n": 1}], (1, 1), "FAIL", id="not equal"),
        pytest.param("equal", [{"n": 1}], [{"n": 1}], (60, 60), "", id="recorded in part"),
        pytest.param("includes", [{"n": 1, "m": 2}], [{"n": 1}], (1, 1), "PASS", id="included"),
        pytest.param("includes", [{"n": 2, "m": 1}], [{"n": 1}], (1, 1), "FAIL", id="not included"),
        pytest.param("includes", [{"n": 1}], [], (1, 0), "FAIL", id="nothing to include"),
        pytest.param("empty", [], [], (0, 0), "PASS", id="empty"),
        pytest.param("empty", [{"n": 1}], [], (60, 0), "FAIL", id="not empty, in part"),
        pytest.param("", [{"n": 1}], [{"n": 1}], (1, 1), "", id="have and want do not decide"),
    ],
)
def test_recomputed(rule: str, have: list[Any], want: list[Any], rows: tuple[int, int], verdict: str) -> None:
    event = {"rule": rule, "have": have, "want": want, "have_rows": rows[0], "want_rows": rows[1]}

    assert recomputed(event) == verdict


# -- signatures


def test_two_signers_and_a_threshold(signed: Signed, copy: Path) -> None:
    with pytest.raises(ConfigurationError, match="3 signatures cannot be proven with 1 keys"):
        verify(copy, keys=[keys.public_key(Path(f"{signed.validator}.pub"))], threshold=3)
    assert "1 good signatures, 2 wanted" in problems(signed.check(copy, "validator", "reviewer"))
    before = {path: path.read_bytes() for path in files(copy) if path.name != runs.ENVELOPE}
    signing.sign(copy, keys.signer(signed.reviewer))

    assert signed.check(copy, "validator", "reviewer").exit_code == 0
    assert "signed too, and its public key was not given" in problems(signed.check(copy, "validator"))
    assert {path: path.read_bytes() for path in before} == before


def test_a_changed_run_is_not_signed(signed: Signed, copy: Path) -> None:
    (copy / "junit.xml").write_text("<testsuites/>")
    before = (copy / runs.ENVELOPE).read_bytes()
    with pytest.raises(ConfigurationError, match="the evidence does not hold, so it is not signed"):
        signing.sign(copy, keys.signer(signed.reviewer))

    assert (copy / runs.ENVELOPE).read_bytes() == before


def test_another_verifier_accepts_the_statement(signed: Signed) -> None:
    """securesystemslib's own calls, and the fields that in-toto demands."""
    envelope = Envelope.from_dict(json.loads((signed.folder / runs.ENVELOPE).read_text("utf-8")))
    key, other = (keys.public_key(Path(f"{path}.pub")) for path in (signed.validator, signed.reviewer))

    assert envelope.verify([key], 1) == {key.keyid: key}
    with pytest.raises(VerificationError):
        envelope.verify([other], 1)
    content = json.loads(envelope.payload)
    assert (envelope.payload_type, content["_type"]) == (attestation.PAYLOAD_TYPE, attestation.STATEMENT)
    assert content["predicateType"] == attestation.PREDICATE
    assert [each["name"] for each in content["subject"]] == ["manifest.json", "notebooks/04_tenants.ipynb"]
    predicate = content["predicate"]
    assert predicate["result"] == "PASSED"
    assert "4.2" in predicate["passedTests"]
    assert (predicate["failedTests"], predicate["warnedTests"]) == ([], [])
    assert predicate["configuration"][0]["name"] == "gates.yaml"


def by_hand(folder: Path, key: Path) -> "subprocess.CompletedProcess[str]":
    """The commands of docs/evidence.md, as they stand there."""
    text = (ROOT / "docs" / "evidence.md").read_text("utf-8")
    (script,) = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    env = os.environ | {"RUN": str(folder), "KEY": f"{key}.pub"}
    return subprocess.run(["bash", "-c", script], env=env, capture_output=True, text=True, check=False)


def test_verification_by_hand(signed: Signed, copy: Path) -> None:
    done = by_hand(copy, signed.validator)
    assert (done.returncode, done.stdout.strip()) == (0, "Signature Verified Successfully"), done.stderr
    assert by_hand(copy, signed.reviewer).returncode != 0
    (copy / "extra").touch()
    assert by_hand(copy, signed.validator).returncode != 0
    (copy / "extra").unlink()
    (copy / "junit.xml").write_text("")
    assert by_hand(copy, signed.validator).returncode != 0
    archive.seal(copy, archive.load(copy).results, None)
    assert by_hand(copy, signed.validator).returncode != 0


# -- alone, and quickly

ALONE = """
import socket, sys, time
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED or name.startswith("jupyter"):
            raise ImportError(f"{name} is not here")
BLOCKED = {"nbformat", "nbclient", "nbconvert", "papermill", "IPython", "ipykernel", "sqlalchemy", "psycopg", "alembic"}
sys.meta_path.insert(0, Refuse())
def no_network(*_words, **_names):
    raise OSError("there is no network")
socket.socket = socket.create_connection = no_network
started = time.process_time()
from gatebook import cli
try:
    cli.main()
finally:
    print(f"seconds of processor {time.process_time() - started:.2f}")
"""


def test_verification_needs_neither_jupyter_nor_a_database_nor_a_network(signed: Signed, tmp_path: Path) -> None:
    words = ["evidence", "verify", str(signed.folder), "--key", f"{signed.validator}.pub"]
    done = subprocess.run(
        [sys.executable, "-c", ALONE, *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "The evidence holds" in done.stdout
    assert float(done.stdout.split()[-1]) < 2


# -- what is no evidence, keys, junit, diff, and old runs


@pytest.mark.parametrize("ending", [".incomplete", ".session"])
def test_an_unfinished_run_is_no_evidence(copy: Path, command: Command, ending: str) -> None:
    unfinished = copy.rename(copy.with_name(f"run{ending}"))

    assert_refused(command("evidence", "verify", str(unfinished)), f"the folder ends in {ending}")


def test_a_folder_that_is_not_there_is_refused(command: Command, tmp_path: Path) -> None:
    assert_refused(command("evidence", "verify", str(tmp_path / "absent")), "there is no such run")
    assert_refused(command("evidence", "verify", str(tmp_path)), "the folder has no manifest.json")


def test_keys_are_never_written_over_and_wrong_ones_are_refused(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "key"
    assert command("evidence", "keygen", str(path)).code == 0
    before = path.read_bytes()
    assert_refused(command("evidence", "keygen", str(path)), "File exists")
    assert path.read_bytes() == before
    with pytest.raises(ConfigurationError, match="no public Ed25519 key"):
        keys.public_key(path)
    with pytest.raises(ConfigurationError, match="no private Ed25519 key"):
        keys.signer(Path(f"{path}.pub"))


def test_junit_is_read_by_others(signed: Signed, unsigned: Path) -> None:
    (suite,) = JUnitXml.fromfile(str(signed.folder / "junit.xml"))
    names = [case.name for case in suite]
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == (len(names), 0, 0, 0)
    assert len(names) == len(set(names)) == len(signed.ended.phase("4")["gates"])

    turned = {"4.1.1": "FAIL", "4.2.1": "UNKNOWN"}
    rewrite(
        unsigned, lambda event: event | {"verdict": turned[event["test"]]} if event.get("test") in turned else event
    )
    (suite,) = JUnitXml.fromfile(str(unsigned / "junit.xml"))
    outcomes = {case.name.split()[0]: [type(each) for each in case.result] for case in suite}
    assert (outcomes["4.1"], outcomes["4.2"], outcomes["4.3"]) == ([Failure], [Error], [])
    assert Skipped not in [kind for kinds in outcomes.values() for kind in kinds]


def test_what_changed_between_two_runs(signed: Signed, copy: Path, unsigned: Path, command: Command) -> None:
    same = command("evidence", "diff", str(signed.folder), str(copy))
    assert (same.code, same.out) == (0, "nothing changed, but for what differs in any two runs\n")
    rewrite(unsigned, lambda event: event | {"verdict": "FAIL"} if event.get("test") == "4.2.2" else event)
    other = command("evidence", "diff", str(signed.folder), str(unsigned))
    assert other.code == 1
    assert other.out.splitlines() == [
        "verdict  run: PASS -> FAIL", "verdict  phase 4: PASS -> FAIL", "verdict  4.2.2: PASS -> FAIL", "3 changes",
    ]  # fmt: skip


def test_old_runs_are_listed_and_removed_but_never_the_latest_nor_signed_ones(
    signed: Signed, unsigned: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = tmp_path / "outputs"
    monkeypatch.setenv(OUTPUTS_VARIABLE, str(outputs))
    names = [f"2025111{day}T000000Z-abcdef" for day in range(5)]
    for name, source in zip(names, [signed.folder, *[unsigned] * 4], strict=True):
        shutil.copytree(source, outputs / name)
    (outputs / f"{names[4]}.incomplete").mkdir()
    (outputs / "latest").symlink_to(names[1])
    project = Project.find(ROOT)
    listed = command("runs").out.splitlines()
    assert [line.split()[:3] for line in listed] == [
        [name, "PASS", "signed" if name == names[0] else "UNSIGNED"] for name in names
    ]

    assert command("runs", "prune", "--keep", "1").out.splitlines() == [f"removed {name}" for name in names[2:4]]
    assert [path.name for path in runs.finished(project)] == [names[0], names[1], names[4]]
    assert [path.name for path in runs.prune(project, keep=0, with_signed=True)] == [names[0], names[4]]
    assert sorted(path.name for path in outputs.iterdir()) == [names[1], f"{names[4]}.incomplete", "latest"]
