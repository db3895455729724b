"""Statements: assignments, branches, loops, definitions and imports. Both sides of an undecided branch are followed."""

import ast
from collections.abc import Callable, Sequence
from typing import Any

from gatebook.safety.things import (
    DATA,
    Bind,
    Class,
    Foreign,
    Function,
    Op,
    Scope,
    either,
    is_constant,
    is_known,
)
from gatebook.safety.walk import UNROLLED, Walk


class Statements(Walk):
    """Follows blocks; whether one certainly ends early is what its methods return."""

    def block(self, body: Sequence[ast.stmt], scope: Scope) -> bool:
        """Whether the block certainly ends before its last line: by return, raise, break or continue."""
        for statement in body:
            self.step()
            if self.statement(statement, scope):
                return True
        return False

    def statement(self, node: ast.stmt, scope: Scope) -> bool:
        handler = STATEMENTS.get(type(node))
        return bool(handler(self, node, scope)) if handler else False

    def expression_statement(self, node: ast.Expr, scope: Scope) -> None:
        value = self.value(node.value, scope)
        if isinstance(value, Foreign) and isinstance(node.value, ast.Call | ast.Await):
            self.foreign_call(node.value, scope, value.name)

    def foreign_call(self, node: ast.AST, scope: Scope, name: str) -> None:
        how = "write what it does here, or put the module next to the migration"
        self.unclear(scope, node, name.removesuffix("()"), f"{name.removesuffix('()')} is not defined here; {how}")

    def assign(self, node: ast.Assign | ast.AnnAssign | ast.NamedExpr, scope: Scope) -> Any:
        if node.value is None:
            return None
        value = self.value(node.value, scope)
        value = self.claimed(node.value, scope, value)
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            self.bind(target, value, scope)
        return value

    def claimed(self, node: ast.expr, scope: Scope, value: Any) -> Any:
        """The result of a call that could not be followed: a class's instance is fine, a function may have acted."""
        is_call = isinstance(value, Foreign) and isinstance(node, ast.Call) and value.name.endswith("()")
        if is_call and not value.name.rsplit(".", 1)[-1][:1].isupper():
            self.foreign_call(node, scope, value.name)
        return value

    def bind(self, target: ast.expr, value: Any, scope: Scope) -> None:
        if isinstance(target, ast.Name):
            scope.names[target.id] = value
        elif isinstance(target, ast.Tuple | ast.List):
            parts = list(value) if isinstance(value, list | tuple) and len(value) == len(target.elts) else None
            for index, each in enumerate(target.elts):
                self.bind(each, parts[index] if parts else self.part_of(value), scope)
        elif isinstance(target, ast.Starred):
            self.bind(target.value, DATA, scope)
        elif isinstance(target, ast.Subscript):
            self.put(target, value, scope)
        elif isinstance(target, ast.Attribute):
            owner = self.value(target.value, scope)
            if isinstance(owner, Op | Bind):
                self.unclear(scope, target, "op", f"{target.attr} is replaced; what is called later cannot be seen")

    def put(self, target: ast.Subscript, value: Any, scope: Scope) -> None:
        owner, key = self.value(target.value, scope), self.value(target.slice, scope)
        if isinstance(owner, dict) and is_constant(key):
            owner[key] = value
        elif isinstance(owner, list):
            owner.append(value)

    @staticmethod
    def part_of(value: Any) -> Any:
        return value if isinstance(value, Foreign | Bind | Op) else DATA

    def augmented(self, node: ast.AugAssign, scope: Scope) -> None:
        load = ast.copy_location(ast.BinOp(_as_load(node.target), node.op, node.value), node)
        ast.fix_missing_locations(load)
        self.bind(node.target, self.value(load, scope), scope)

    def branch(self, node: ast.If, scope: Scope) -> bool:
        test = self.value(node.test, scope)
        if is_known(test):
            return self.block(node.body if test else node.orelse, scope)
        return self.both([node.body, node.orelse], scope)

    def both(self, bodies: Sequence[Sequence[ast.stmt]], scope: Scope) -> bool:
        """Each may be the one that runs; afterwards a name has the value that one of them gave it."""
        before = dict(scope.names)
        after: list[dict[str, Any]] = []
        ended = []
        for body in bodies:
            scope.names = dict(before)
            with self.known.maybe():
                ended.append(self.block(body, scope))
            after.append(scope.names)
        going_on = [names for names, end in zip(after, ended, strict=True) if not end] or after
        merged = dict(going_on[0])
        for names in going_on[1:]:
            for name, value in names.items():
                merged[name] = either(merged[name], value) if name in merged else value
        scope.names = merged
        return all(ended)

    def loop(self, node: ast.For | ast.AsyncFor, scope: Scope) -> bool:
        items = self.items(self.value(node.iter, scope))
        if items is not None and len(items) <= UNROLLED:
            for item in items:
                self.bind(node.target, item, scope)
                if self.block(node.body, scope) and _leaves(node.body):
                    break
        else:
            self.bind(node.target, self.element(self.value(node.iter, scope)), scope)
            self.once(node.body, scope)
        self.block(node.orelse, scope)
        return False

    def once(self, body: Sequence[ast.stmt], scope: Scope) -> None:
        """A body that runs nobody knows how often: what it changes is not known afterwards."""
        for name in _assigned(body):
            if isinstance(scope.names.get(name), str | int | float):
                scope.names[name] = DATA
        before = dict(scope.names)
        with self.known.maybe():
            self.block(body, scope)
        for name, value in before.items():
            scope.names[name] = either(value, scope.names.get(name, value))

    def repeat(self, node: ast.While, scope: Scope) -> bool:
        self.value(node.test, scope)
        self.once(node.body, scope)
        self.block(node.orelse, scope)
        return False

    def attempt(self, node: ast.Try, scope: Scope) -> bool:
        if not node.handlers:
            ended = self.block(node.body, scope)
        else:
            ended = self.both([[*node.body, *node.orelse], *([*each.body] for each in node.handlers)], scope)
        return self.block(node.finalbody, scope) or ended

    def within(self, node: ast.With | ast.AsyncWith, scope: Scope) -> bool:
        for item in node.items:
            value = self.value(item.context_expr, scope)
            if item.optional_vars is not None:
                self.bind(item.optional_vars, value, scope)
        return self.block(node.body, scope)

    def match(self, node: ast.Match, scope: Scope) -> bool:
        self.value(node.subject, scope)
        for case in node.cases:
            for name in [each.name for each in ast.walk(case.pattern) if isinstance(each, ast.MatchAs) and each.name]:
                scope.names[name] = DATA
        return self.both([*(case.body for case in node.cases), []], scope)

    def give_back(self, node: ast.Return, scope: Scope) -> bool:
        value = self.value(node.value, scope) if node.value is not None else None
        if self.returned:
            self.returned[-1].append(value)
        return True

    def define(self, scope: Scope, node: ast.stmt) -> None:
        """A function, class, import or constant."""
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            scope.names[node.name] = self.decorated(Function(node, scope), node, scope)
        elif isinstance(node, ast.ClassDef):
            scope.names[node.name] = Class(node, scope)
        else:
            self.statement(node, scope)

    def decorated(self, function: Function, node: ast.FunctionDef | ast.AsyncFunctionDef, scope: Scope) -> Any:
        """A decorator that is followed may call the function or leave it out; others are taken to call it."""
        value: Any = function
        for decorator in reversed(node.decorator_list):
            made = self.value(decorator, scope)
            if isinstance(made, Function):
                result = self.call(made, [value], {}, decorator, scope)
                value = either(value, result) if isinstance(result, Function) else value
        return value

    def imported(self, node: ast.Import | ast.ImportFrom, scope: Scope) -> None:
        for name, value in self.neighbours.imported(node, scope.path, self).items():
            scope.names[name] = value


def _as_load(node: ast.expr) -> ast.expr:
    text = ast.unparse(node)
    return ast.parse(text, mode="eval").body


def _assigned(body: Sequence[ast.stmt]) -> set[str]:
    return {
        each.id
        for statement in body
        for each in ast.walk(statement)
        if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
    }


def _leaves(body: Sequence[ast.stmt]) -> bool:
    """Whether the last thing a body does is to leave the loop; `continue` does not."""
    return bool(body) and not isinstance(body[-1], ast.Continue)


def _ends(_interpreter: Statements, _node: Any, _scope: Scope) -> bool:
    return True


def _gives(interpreter: Statements, node: ast.Assign | ast.AnnAssign, scope: Scope) -> None:
    interpreter.assign(node, scope)


def _raises(interpreter: Statements, node: ast.Raise, scope: Scope) -> bool:
    if node.exc is not None:
        interpreter.value(node.exc, scope)
    return True


def _checks(interpreter: Statements, node: ast.Assert, scope: Scope) -> None:
    interpreter.value(node.test, scope)


def _deletes(_interpreter: Statements, node: ast.Delete, scope: Scope) -> None:
    for target in node.targets:
        if isinstance(target, ast.Name):
            scope.names.pop(target.id, None)


def _makes(interpreter: Statements, node: ast.stmt, scope: Scope) -> None:
    interpreter.define(scope, node)


STATEMENTS: dict[type[ast.stmt], Callable[..., Any]] = {
    ast.Expr: Statements.expression_statement,
    ast.Assign: _gives,
    ast.AnnAssign: _gives,
    ast.AugAssign: Statements.augmented,
    ast.If: Statements.branch,
    ast.For: Statements.loop,
    ast.AsyncFor: Statements.loop,
    ast.While: Statements.repeat,
    ast.Try: Statements.attempt,
    ast.TryStar: Statements.attempt,
    ast.With: Statements.within,
    ast.AsyncWith: Statements.within,
    ast.Match: Statements.match,
    ast.Return: Statements.give_back,
    ast.Raise: _raises,
    ast.Break: _ends,
    ast.Continue: _ends,
    ast.Assert: _checks,
    ast.Delete: _deletes,
    ast.FunctionDef: _makes,
    ast.AsyncFunctionDef: _makes,
    ast.ClassDef: _makes,
    ast.Import: Statements.imported,
    ast.ImportFrom: Statements.imported,
}
