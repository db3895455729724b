"""The three verdicts. Unknown is red: an error, NULL, nothing seen or no privilege never reads as a pass."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

Rows = tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Verdict:
    """What was claimed, what was found, what was wanted, and in one sentence why.

    have, want  rows as mappings, bounded by whoever made them
    rule        how have and want decide, where they do so by themselves; "" where they do not:
                "equal" they are the same, "empty" have has no row, "includes" each wanted row is part of one
    """

    what: str
    have: Rows = ()
    want: Rows = ()
    reason: str = ""
    rule: str = field(default="", compare=False)

    name: ClassVar[str] = ""
    symbol: ClassVar[str] = ""

    @property
    def is_green(self) -> bool:
        return isinstance(self, Pass)


@dataclass(frozen=True)
class Pass(Verdict):
    name: ClassVar[str] = "PASS"
    symbol: ClassVar[str] = "✓"


@dataclass(frozen=True)
class Fail(Verdict):
    name: ClassVar[str] = "FAIL"
    symbol: ClassVar[str] = "✗"


@dataclass(frozen=True)
class Unknown(Verdict):
    name: ClassVar[str] = "UNKNOWN"
    symbol: ClassVar[str] = "?"


VERDICTS: Mapping[str, type[Verdict]] = {kind.name: kind for kind in (Pass, Fail, Unknown)}

Check = Callable[[Rows], Verdict]


def worst(names: Iterable[str]) -> str:
    """The verdict of a whole from those of its parts; no parts at all prove nothing."""
    seen = set(names)
    if "FAIL" in seen:
        return "FAIL"
    return "PASS" if seen == {"PASS"} else "UNKNOWN"
