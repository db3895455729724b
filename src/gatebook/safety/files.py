"""Texts that a migration reads from files next to it: open(path).read(), Path(__file__).with_name(…).read_text()."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

LARGEST_BYTES = 1_000_000


@dataclass(frozen=True)
class File:
    path: Path


def opened(arguments: list[Any]) -> File | None:
    first = arguments[0] if arguments else None
    return File(Path(first)) if isinstance(first, str) else first if isinstance(first, File) else None


def library(path: str, arguments: list[Any]) -> Any:
    """pathlib.Path and os.path over known paths."""
    texts = [str(each.path) if isinstance(each, File) else each for each in arguments]
    if not texts or not all(isinstance(each, str) for each in texts):
        return None
    if path in ("pathlib.Path", "pathlib.PurePath"):
        return File(Path(*texts))
    if path == "os.path.join":
        return str(Path(*texts))
    if path == "os.path.dirname":
        return str(Path(texts[0]).parent)
    return texts[0] if path in ("os.path.abspath", "os.path.realpath", "os.path.normpath") else None


def attribute(owner: Any, name: str) -> Any:
    if isinstance(owner, File) and name == "parent":
        return File(owner.path.parent)
    return owner.path.name if isinstance(owner, File) and name == "name" else None


def call(owner: Any, name: str, arguments: list[Any]) -> Any:
    if not isinstance(owner, File):
        return None
    if name in ("read", "read_text"):
        return _text(owner.path)
    if name in ("resolve", "absolute", "open", "expanduser"):
        return owner
    if name in ("joinpath", "with_name", "with_suffix") and all(isinstance(each, str) for each in arguments):
        return File(getattr(owner.path, name)(*arguments))
    return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text("utf-8") if path.stat().st_size <= LARGEST_BYTES else None
    except (OSError, UnicodeError, ValueError):
        return None
