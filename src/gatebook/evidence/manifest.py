"""manifest.json: SHA-256 and size of every file of a run, one line a file. A folder has exactly one manifest."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gatebook.runs import ENVELOPE

MANIFEST = "manifest.json"
OUTSIDE = (MANIFEST, ENVELOPE)  # a manifest cannot name itself; the envelope signs it


@dataclass(frozen=True)
class Entry:
    """One file. kind: "file", or "other" for a link or a device, which no run leaves."""

    sha256: str
    size: int
    kind: str = "file"


def entries(folder: Path) -> dict[str, Entry]:
    """Path -> file, of all that lies in the folder beside manifest and envelope."""
    found = sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    names = {path.relative_to(folder).as_posix(): path for path in found}
    return {name: _entry(path) for name, path in names.items() if name not in OUTSIDE}


def render(run: str, files: dict[str, Entry]) -> str:
    """The manifest's text; the same files give the same bytes."""
    lines = [
        json.dumps({"sha256": each.sha256, "size": each.size, "path": name}, ensure_ascii=False)
        for name, each in sorted(files.items())
    ]
    head = f'{{"version": 1, "run": {json.dumps(run)}, "files": [\n'
    return head + ",\n".join(lines) + "\n]}\n"


def differences(text: str, files: dict[str, Entry]) -> list[str]:
    """What the manifest says and the folder does not show, file by file."""
    try:
        listed = {each["path"]: (each["sha256"], each["size"]) for each in _files(text)}
    except (ValueError, KeyError, TypeError):
        return [f"{MANIFEST} cannot be read"]
    problems = [f"{name} is missing" for name in sorted(listed.keys() - files.keys())]
    problems += [f"{name} is not in {MANIFEST}" for name in sorted(files.keys() - listed.keys())]
    for name in sorted(listed.keys() & files.keys()):
        problems += _changed(name, listed[name], files[name])
    return problems


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _files(text: str) -> list[dict[str, Any]]:
    return list(json.loads(text)["files"])


def _changed(name: str, listed: tuple[str, int], file: Entry) -> list[str]:
    if file.kind != "file":
        return [f"{name} is no plain file"]
    if file.size != listed[1]:
        return [f"{name} was changed: {file.size:,} bytes, {listed[1]} in {MANIFEST}"]
    return [] if file.sha256 == listed[0] else [f"{name} was changed: its SHA-256 differs from that in {MANIFEST}"]


def _entry(path: Path) -> Entry:
    if path.is_symlink() or not path.is_file():
        return Entry("", 0, "other")
    content = path.read_bytes()
    return Entry(sha256(content), len(content))
