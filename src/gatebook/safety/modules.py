"""What a migration imports: libraries that are understood, files next to it, and the rest, which is foreign."""

import ast
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatebook.safety import calls
from gatebook.safety.things import MISSING, Foreign, Module, Name, Scope

if TYPE_CHECKING:
    from gatebook.safety.walk import Walk

UNDERSTOOD = ("sqlalchemy", "alembic", *sys.stdlib_module_names)
LARGEST_BYTES = 1_000_000
DEFINING = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)


class Neighbours:
    """Files that may be read for a migration: in its folder, under the two folders above it, and in its own package."""

    def __init__(self, path: Path) -> None:
        folder = path.resolve().parent
        self.folders = [folder, *list(folder.parents)[:2]]
        self.loaded: dict[Path, Module | None] = {}

    def imported(self, node: ast.Import | ast.ImportFrom, at: str, interpreter: "Walk") -> dict[str, Any]:
        """Name -> value of an import statement."""
        if isinstance(node, ast.Import):
            return {
                each.asname or each.name.partition(".")[0]: self.module(
                    each.name if each.asname else each.name.partition(".")[0], interpreter
                )
                for each in node.names
            }
        found: dict[str, Any] = {}
        for each in node.names:
            if each.name == "*":
                found |= self.everything(node, at, interpreter)
            else:
                found[each.asname or each.name] = self.member(node, each.name, at, interpreter)
        return found

    def module(self, name: str, interpreter: "Walk") -> Any:
        if name.partition(".")[0] in UNDERSTOOD:
            return calls.known_name(name)
        return self.load(self.find(self.folders, name), interpreter) or Foreign(name)

    def member(self, node: ast.ImportFrom, name: str, at: str, interpreter: "Walk") -> Any:
        source = node.module or ""
        if not node.level and source.partition(".")[0] in UNDERSTOOD:
            return calls.known_name(f"{source}.{name}")
        folders = [Path(at).resolve().parents[node.level - 1]] if node.level else self.folders
        module = self.load(self.find(folders, source), interpreter) if source else None
        if module is not None:
            value = module.scope.find(name, interpreter)
            if value is not MISSING:
                return value
        inner = self.load(self.find(folders, f"{source}.{name}".strip(".")), interpreter)
        return inner or Foreign(f"{source}.{name}".strip("."))

    def everything(self, node: ast.ImportFrom, at: str, interpreter: "Walk") -> dict[str, Any]:
        source = node.module or ""
        if not node.level and source.partition(".")[0] in UNDERSTOOD:
            return {"*": Name(source)}
        folders = [Path(at).resolve().parents[node.level - 1]] if node.level else self.folders
        module = self.load(self.find(folders, source), interpreter)
        if module is None:
            return {"*": Foreign(source)}
        for name in list(module.scope.lazy):
            module.scope.find(name, interpreter)
        return dict(module.scope.names)

    def find(self, folders: list[Path], name: str) -> Path | None:
        relative = Path(*name.split(".")) if name else Path()
        for folder in [*folders, *self.roots(name)]:
            for path in (folder / relative.with_suffix(".py"), folder / relative / "__init__.py"):
                if name and path.is_file() and path.stat().st_size < LARGEST_BYTES:
                    return path.resolve()
        return None

    def roots(self, name: str) -> list[Path]:
        """Where the package that holds the migration starts: above a folder that has the package's name."""
        first = name.partition(".")[0]
        return [each.parent for each in self.folders[0].parents if each.name == first]

    def load(self, path: Path | None, interpreter: "Walk") -> Module | None:
        """A file's names, evaluated when asked for; what it does when it is imported is followed now."""
        if path is None or path in self.loaded:
            return self.loaded.get(path) if path else None
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError, OSError, RecursionError):
            self.loaded[path] = None
            return None
        module = self.loaded[path] = Module(str(path), lazy_scope(tree, str(path)))
        acting = [each for each in tree.body if not isinstance(each, (*DEFINING, ast.If)) and not is_text(each)]
        interpreter.block(acting, module.scope)
        return module


def lazy_scope(tree: ast.Module, path: str) -> Scope:
    scope = Scope({"__file__": path, "__name__": Path(path).stem}, path)
    for statement in tree.body:
        for name in _names(statement):
            scope.lazy[name] = statement
    return scope


def _names(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return [each.asname or each.name.partition(".")[0] for each in statement.names]
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        return [each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)]
    return []


def is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
