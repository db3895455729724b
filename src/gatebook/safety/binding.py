"""Assignments: what a name, an attribute, an element of a list or a dict stands for from then on."""

import ast
from typing import Any

from gatebook.safety.containers import placed
from gatebook.safety.things import (
    DATA,
    REST,
    Bind,
    Class,
    Foreign,
    Instance,
    Name,
    Op,
    Scope,
    any_of,
    either,
    reaches,
)  # fmt: skip
from gatebook.safety.walk import Walk

NAMESPACES = ("builtins.globals()", "builtins.locals()", "builtins.vars()")


class Binding(Walk):
    """Follows assignments of every form."""

    def assign(self, node: ast.Assign | ast.AnnAssign | ast.NamedExpr, scope: Scope) -> Any:
        if node.value is None:
            return None
        value = self.value(node.value, scope)
        value = self.claimed(node.value, scope, value)
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            self.bind(target, value, scope)
        return value

    def foreign_call(self, node: ast.AST, scope: Scope, name: str) -> None:
        how = "write what it does here, or put the module next to the migration"
        self.unclear(scope, node, name.removesuffix("()"), f"{name.removesuffix('()')} is not defined here; {how}")

    def claimed(self, node: ast.expr, scope: Scope, value: Any) -> Any:
        """The result of a call that could not be followed: a class's instance is fine, a function may have acted."""
        is_call = isinstance(value, Foreign) and isinstance(node, ast.Call) and value.name.endswith("()")
        if is_call and not value.name.rsplit(".", 1)[-1][:1].isupper():
            self.foreign_call(node, scope, value.name)
        return value

    def bind(self, target: ast.expr, value: Any, scope: Scope) -> None:
        if isinstance(target, ast.Name):
            self.name(target.id, value, scope)
        elif isinstance(target, ast.Tuple | ast.List):
            self.unpack(target.elts, value, scope)
        elif isinstance(target, ast.Starred):
            self.bind(target.value, value if isinstance(value, list) else DATA, scope)
        elif isinstance(target, ast.Subscript):
            self.put(target, value, scope)
        elif isinstance(target, ast.Attribute):
            self.keep(target, value, scope)

    def name(self, name: str, value: Any, scope: Scope) -> None:
        """A name of this scope, or of one further out where it is declared so."""
        outer = scope.elsewhere.get(name)
        if outer is None:
            scope.names[name] = value
            return
        old = outer.find(name, self)
        outer.names[name] = either(old, value) if self.known.branches else value

    def unpack(self, targets: list[ast.expr], value: Any, scope: Scope) -> None:
        parts = list(value) if isinstance(value, list | tuple) and REST not in value else []
        stars = [index for index, each in enumerate(targets) if isinstance(each, ast.Starred)]
        if stars and len(parts) >= len(targets) - 1:
            after = len(targets) - stars[0] - 1
            end = len(parts) - after
            parts = [*parts[: stars[0]], parts[stars[0] : end], *parts[end:]]
        known = parts if len(parts) == len(targets) else [self.part_of(value)] * len(targets)
        for target, each in zip(targets, known, strict=True):
            self.bind(target, each, scope)

    def put(self, target: ast.Subscript, value: Any, scope: Scope) -> None:
        owner, key = self.value(target.value, scope), self.value(target.slice, scope)
        if isinstance(owner, Name) and owner.path in NAMESPACES:
            self.unclear(scope, target, owner.path, "a name is set by its text; assign to it plainly")
        elif isinstance(owner, dict):
            placed(owner, key, value, is_certain=not self.known.branches)
        elif isinstance(owner, list):
            is_place = isinstance(key, int) and -len(owner) <= key < len(owner) and REST not in owner
            if is_place and not self.known.branches:
                owner[key] = value
            else:
                owner += [*(value if isinstance(value, list | tuple) else [value]), REST]
        elif reaches(value):
            self.unclear(scope, target, "…[…]", "it is given the database; call it where it is used")

    def keep(self, target: ast.Attribute, value: Any, scope: Scope) -> None:
        """`owner.name = value`: a class and its instances are remembered, the database is not given to others."""
        owner = self.value(target.value, scope)
        if isinstance(owner, Instance | Class):
            is_certain = not self.known.branches or target.attr not in owner.names
            owner.names[target.attr] = value if is_certain else either(owner.names[target.attr], value)
        elif isinstance(owner, Op | Bind):
            self.unclear(scope, target, "op", f"{target.attr} is replaced; what is called later cannot be seen")
        elif reaches(value) and target.attr not in ("bind", "connection", "session"):
            self.unclear(scope, target, target.attr, "it is given the database; call it where it is used")

    @staticmethod
    def part_of(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return any_of([*value, DATA])
        return value if isinstance(value, Foreign | Bind | Op) else DATA

    def augmented(self, node: ast.AugAssign, scope: Scope) -> None:
        load = ast.copy_location(ast.BinOp(_as_load(node.target), node.op, node.value), node)
        ast.fix_missing_locations(load)
        self.bind(node.target, self.value(load, scope), scope)


def _as_load(node: ast.Name | ast.Attribute | ast.Subscript) -> ast.expr:
    """The same place, read instead of written."""
    if isinstance(node, ast.Name):
        return ast.Name(node.id, ast.Load())
    if isinstance(node, ast.Attribute):
        return ast.Attribute(node.value, node.attr, ast.Load())
    return ast.Subscript(node.value, node.slice, ast.Load())
