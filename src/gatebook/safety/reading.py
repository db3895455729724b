"""A file to a Migration: its text, its comments, and what upgrade() and downgrade() would do. Nothing is imported."""

import ast
import io
import re
import tokenize
import warnings
from dataclasses import replace
from pathlib import Path

from gatebook.safety.effects import Acknowledgement, Kind, Migration, Operation
from gatebook.safety.hidden import WHY, hidden
from gatebook.safety.modules import Neighbours
from gatebook.safety.python import Interpreter
from gatebook.safety.texts import written
from gatebook.safety.things import MISSING, Function, OneOf, Scope
from gatebook.safety.walk import TooMuch

LARGEST_BYTES = 1_000_000
MARK = re.compile(r"#\s*CI:DESTRUCTIVE_OK\b[\s:–—-]*(?P<reason>.*)")
ADR = re.compile(r"\bADR-\d+\b")


class Unreadable(Exception):
    """One sentence on why a file cannot be judged."""


def read_migration(path: Path, *, name: str = "") -> Migration:
    """What a file would do. Never raises: what kept it from being read stands in `problems`.

    name  how the file is called in reports; its path unless given
    """
    shown = name or str(path)
    try:
        return _read(path, shown)
    except Unreadable as problem:
        return Migration(shown, problems=(str(problem),))
    except (RecursionError, MemoryError):
        return Migration(shown, problems=("It is nested too deeply to be read; write it flatter.",))
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        return Migration(shown, problems=(f"This is a mistake in gatebook itself, and nothing is proven: {what}",))


def _read(path: Path, shown: str) -> Migration:
    source = _source(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError) as error:
            where = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
            raise Unreadable(f"It is not Python{where}: {getattr(error, 'msg', error)}") from None
    up, problem = _follow(tree, path, "upgrade")
    if problem:
        raise Unreadable(problem)
    down, _ = _follow(tree, path, "downgrade")
    for node in () if up.is_cut else hidden(tree, [up, down]):
        up.unclear(Scope({}, str(path.resolve())), node, written(node), WHY)
    effects = [effect for operation in up.operations for effect in operation.effects]
    return Migration(
        shown,
        _revision(tree),
        tuple(up.operations),
        tuple(down.operations),
        tuple(_acknowledgements(source, path)) + tuple(_of_neighbours(up.operations, path)),
        (),
        up.statements,
        up.unresolved,
        tuple(effect for effect in effects if effect.kind is Kind.DEFINED),
    )


def _source(path: Path) -> str:
    try:
        if path.is_dir():
            raise Unreadable("It is a folder; name a file.")
        if not path.is_file():
            raise Unreadable("It is not a file that can be read.")
        size = path.stat().st_size
        if size > LARGEST_BYTES:
            raise Unreadable(
                f"It has {size:,} bytes; a migration of more than {LARGEST_BYTES:,} is not judged: split it."
            )
        raw = path.read_bytes()
        encoding, _ = tokenize.detect_encoding(io.BytesIO(raw).readline)
        text = raw.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
    except (OSError, RuntimeError) as error:
        raise Unreadable(f"It cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    except (UnicodeError, SyntaxError, LookupError) as error:
        raise Unreadable(f"It is not a text in the encoding it names (UTF-8 unless it names one): {error}.") from None
    if not text.strip():
        raise Unreadable("It is empty.")
    return text


def _follow(tree: ast.Module, path: Path, wanted: str) -> tuple[Interpreter, str]:
    """The walk through one function, and why there is none."""
    interpreter = Interpreter(Neighbours(path))
    scope = Scope({"__file__": str(path.resolve()), "__name__": path.stem}, str(path.resolve()))
    try:
        interpreter.block(tree.body, scope)
        function = scope.find(wanted, interpreter)
        if function is MISSING:
            return interpreter, f"It has no {wanted}(); a migration defines one."
        node = next((each for each in tree.body if getattr(each, "name", "") == wanted), tree.body[-1])
        for each in function.values if isinstance(function, OneOf) else (function,):
            if not isinstance(each, Function):
                interpreter.unclear(
                    scope, node, wanted, f"{wanted} is not a function that is defined here; write it here"
                )
                continue
            interpreter.run(each, [], {}, node, scope)
        interpreter.operations = [_without_start(each) for each in interpreter.operations]
    except TooMuch:
        node = tree.body[0]
        interpreter.is_cut = True
        interpreter.unclear(scope, node, wanted, "it takes too many steps to follow; write its statements out")
    return interpreter, ""


def _without_start(operation: Operation) -> Operation:
    """The call of upgrade() itself is no place where something can be acknowledged."""
    return replace(operation, via=operation.via[1:])


def _revision(tree: ast.Module) -> str:
    for statement in tree.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        value = getattr(statement, "value", None)
        if any(getattr(each, "id", "") == "revision" for each in targets) and isinstance(value, ast.Constant):
            return str(value.value)
    return ""


def _acknowledgements(source: str, path: Path) -> list[Acknowledgement]:
    """Real comments alone: a string that looks like one is a string."""
    found = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            mark = MARK.match(token.string) if token.type == tokenize.COMMENT else None
            if mark:
                reason = mark["reason"].strip()
                stands_alone = not token.line[: token.start[1]].strip()
                line = token.start[0]
                found.append(
                    Acknowledgement(str(path.resolve()), line, reason, tuple(ADR.findall(reason)), stands_alone)
                )
    except (tokenize.TokenError, SyntaxError, IndentationError):
        return found
    return found


def _of_neighbours(operations: list[Operation], path: Path) -> list[Acknowledgement]:
    """Acknowledgements in helpers' files that the operations stand in."""
    others = sorted({operation.path for operation in operations} - {str(path.resolve())})
    found: list[Acknowledgement] = []
    for each in others:
        found += _acknowledgements(_source(Path(each)), Path(each))
    return found


def defines_migration(path: Path) -> bool:
    """Whether a file of a folder looks like a revision: it says `revision` or has an upgrade()."""
    try:
        text = path.read_text("utf-8", errors="replace")
    except OSError:
        return True
    return bool(re.search(r"^(?:revision\b|(?:async )?def upgrade\b|upgrade\s*=)", text, re.MULTILINE))
