"""Mutated migrations for the validator: fuzz_migrations.py [--files N] [--seed N], one line of counts.

The labelled fixtures are changed byte by byte, token by token and statement by statement. Whatever comes out, a
judgement comes back within a second, and never one that admits a mistake of gatebook itself; else the exit code is 1
and the texts are printed.
"""

import argparse
import ast
import copy
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import yaml

from gatebook.safety.judge import judge
from gatebook.safety.reading import read_migration

FIXTURES = Path(__file__).parents[1] / "tests" / "fixtures" / "migrations.yaml"
LONGEST_S, HANGS_S, TRIES = 1.0, 20, 6
MISTAKE = "mistake in gatebook"
TOKEN = re.compile(r"\s+|\w+|'[^'\n]*'|\"[^\"\n]*\"|.", re.DOTALL)
FRAME = (
    "import sqlalchemy as sa\nfrom alembic import op\n\nrevision = 'x'\n\n{top}\n\n\ndef upgrade():\n    pass\n{up}\n"
)
AROUND = (
    "if x:\n    pass", "for x in op.get_bind().execute('SELECT 1'):\n    pass", "for x in ('a', 'b'):\n    pass",
    "while x:\n    pass", "try:\n    pass\nexcept E as e:\n    pass\nelse:\n    pass\nfinally:\n    pass",
    "with x as y:\n    pass", "def x(*a, b=op, **c):\n    pass", "class x(y):\n    pass",
    "match x:\n    case [a, *b]:\n        pass",
    "async def x():\n    pass", "@x\ndef y():\n    pass", "x = lambda: y",
)  # fmt: skip
TEXTS = (
    "",
    "DROP TABLE orders",
    "%s",
    "{}",
    "{0[a]}",
    "%(x)s",
    "$$",
    "'",
    "\0",
    ":id",
    "\\",
    "é",
    "public.orders",
    "DO $$",
)


class Hangs(BaseException):
    """Longer than anyone would wait."""


@dataclass
class Outcome:
    """counts: files by verdict. broken: what must not happen, each with its text."""

    counts: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    slowest: str = ""
    broken: list[tuple[str, bytes]] = field(default_factory=list)


def sources() -> list[str]:
    """The fixtures as texts of files."""
    declared = yaml.safe_load(FIXTURES.read_text("utf-8"))
    entries = [entry for verdict in ("fail", "pass") for entry in declared[verdict].values()]
    return [each.get("source") or FRAME.format(top=each.get("top", ""), up=_indented(each["up"])) for each in entries]


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


def changed_bytes(text: str, _others: Sequence[str], chance: random.Random) -> bytes:
    raw = bytearray(text.encode())
    for _ in range(chance.randint(1, 8)):
        at, size = chance.randrange(len(raw) + 1), chance.choice((1, 1, 2, 8, 64))
        piece = bytes(raw[at : at + size])
        new = chance.choice((b"", chance.randbytes(size), piece * 2, piece[::-1], b"\n", b"(", b"'", b"\t"))
        raw[at : at + size] = new
    return bytes(raw)


def changed_tokens(text: str, others: Sequence[str], chance: random.Random) -> bytes:
    tokens, more = TOKEN.findall(text), TOKEN.findall(chance.choice(others))
    for _ in range(chance.randint(1, 12)):
        at, other = chance.randrange(len(tokens)), chance.randrange(len(tokens))
        match chance.randrange(4):
            case 0:
                tokens[at] = chance.choice(more)
            case 1:
                tokens[at], tokens[other] = tokens[other], tokens[at]
            case 2:
                tokens[at] += tokens[other]
            case _:
                tokens[at] = ""
    return "".join(tokens).encode()


def changed_statements(text: str, others: Sequence[str], chance: random.Random) -> bytes:
    """Statements moved, doubled, nested and mixed with those of another file; names and texts exchanged."""
    tree, more = ast.parse(text), ast.parse(chance.choice(others))
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, ast.stmt) and hasattr(node, "body")] + [
        tree.body
    ]
    found = [each for node in ast.walk(more) for each in ast.iter_child_nodes(node) if isinstance(each, ast.stmt)]
    for _ in range(chance.randint(1, 6)):
        body = chance.choice(bodies)
        piece = copy.deepcopy(chance.choice([*body, *found]))
        if chance.random() < 0.5:
            piece = _nested(piece, chance)
        body.insert(chance.randrange(len(body) + 1), piece)
    _exchange(tree, chance)
    try:
        return ast.unparse(ast.fix_missing_locations(tree)).encode("utf-8", "replace")
    except ValueError:  # an f-string that Python itself cannot write again
        return text.encode()


def _nested(piece: ast.stmt, chance: random.Random) -> ast.stmt:
    around = ast.parse(chance.choice(AROUND)).body[0]
    holders = [each for each in ast.walk(around) if isinstance(getattr(each, "body", None), list)]
    if holders:
        chance.choice(holders).body = [piece]  # type: ignore[attr-defined]
    return around


def _exchange(tree: ast.Module, chance: random.Random) -> None:
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and chance.random() < 0.1:
            node.value = chance.choice(TEXTS)
        elif isinstance(node, ast.Name) and chance.random() < 0.1:
            node.id = chance.choice(names).id
        elif isinstance(node, ast.Attribute) and chance.random() < 0.05:
            node.attr = chance.choice(("execute", "append", "pop", "format", "items", "__dict__", "drop", "c"))


CHANGES: tuple[Callable[[str, Sequence[str], random.Random], bytes], ...] = (
    changed_bytes,
    changed_tokens,
    changed_statements,
)


def fuzz(files: int, *, seed: int) -> Outcome:
    """Judge so many mutated files; one in eight may be no Python any more."""
    chance, texts, outcome = random.Random(seed), sources(), Outcome()
    signal.signal(signal.SIGALRM, _hangs)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(files):
            _judge(Path(folder) / "migration.py", _mutant(texts, chance, is_any=number % 8 == 0), outcome)
    return outcome


def _mutant(texts: Sequence[str], chance: random.Random, *, is_any: bool) -> bytes:
    source = chance.choice(texts).encode()
    for _ in range(chance.randint(1, 3)):
        for _ in range(1 if is_any else TRIES):
            changed = chance.choice(CHANGES)(source.decode(), texts, chance)
            if is_any or _is_python(changed):
                source = changed
                break
        if is_any:
            break
    return source


def _is_python(source: bytes) -> bool:
    try:
        return bool(ast.parse(source.decode()).body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def _judge(path: Path, source: bytes, outcome: Outcome) -> None:
    path.write_bytes(source)
    signal.alarm(HANGS_S)
    start = time.perf_counter()
    try:
        judgement = judge(read_migration(path))
    except (Exception, Hangs) as error:
        outcome.broken.append((f"{type(error).__name__}: {error}", source))
        return
    finally:
        signal.alarm(0)
    took_s = time.perf_counter() - start
    if took_s > outcome.slowest_s:
        outcome.slowest_s, outcome.slowest = took_s, source.decode("utf-8", "replace")
    outcome.counts["unreadable" if judgement.problems else "passed" if judgement.passes else "failed"] += 1
    wrong = [each for each in judgement.problems if MISTAKE in each]
    if wrong or took_s > LONGEST_S:
        outcome.broken.append((wrong[0] if wrong else f"took {took_s:.2f} s", source))


def _hangs(_number: int, _frame: FrameType | None) -> None:
    raise Hangs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    outcome = fuzz(given.files, seed=given.seed)
    counts = ", ".join(f"{count} {name}" for name, count in sorted(outcome.counts.items()))
    print(f"{given.files} files: {counts}; {len(outcome.broken)} broken; the slowest took {outcome.slowest_s:.3f} s")
    for what, source in outcome.broken[:10]:
        print(f"\n--- {what}\n{source.decode('utf-8', 'replace')}", file=sys.stderr)
    return 1 if outcome.broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
