"""Follows a migration's Python without running it: values, branches, loops, helpers.

Both sides of a branch that cannot be decided are followed. What cannot be followed and could reach the database
becomes an UNRESOLVED effect; calls.py knows what Alembic and SQLAlchemy do.
"""

import ast
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from gatebook.safety import calls, modules
from gatebook.safety.effects import Effect, Kind, Operation
from gatebook.safety.known import Known
from gatebook.safety.texts import formatted, joined, modulo, string_method
from gatebook.safety.things import (
    DATA,
    MISSING,
    Bind,
    Bound,
    Class,
    Clause,
    Data,
    Foreign,
    Function,
    Instance,
    Module,
    Name,
    OneOf,
    Op,
    Scope,
    Sql,
    Table,
    alternatives,
    either,
    is_constant,
    is_known,
)  # fmt: skip

STEPS = 60_000
DEPTH = 24
UNROLLED = 2_000

BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv,
    ast.Div: operator.truediv, ast.BitOr: operator.or_,
}  # fmt: skip
COMPARED: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b,
    ast.Is: operator.is_, ast.IsNot: operator.is_not,
}  # fmt: skip


class TooMuch(Exception):
    """More steps than a migration may take."""


class Interpreter:
    """One walk through upgrade() or downgrade()."""

    def __init__(self, folder_of: "modules.Neighbours") -> None:
        self.neighbours = folder_of
        self.known = Known()
        self.operations: list[Operation] = []
        self.statements = 0
        self.unresolved = 0
        self.steps = 0
        self.stack: list[tuple[str, ast.AST, Any]] = []
        self.returned: list[list[Any]] = []

    # -- what it finds

    def emit(self, scope: Scope, node: ast.AST, call: str, effects: Iterable[Effect], *, sql: str = "") -> None:
        via = tuple((path, getattr(at, "lineno", 0)) for path, at, _ in self.stack)
        line, end = getattr(node, "lineno", 0), getattr(node, "end_lineno", 0) or 0
        self.operations.append(Operation(scope.path, line, end, call, tuple(effects), sql, via))

    def unclear(self, scope: Scope, node: ast.AST, call: str, detail: str) -> None:
        self.statements += 1
        self.unresolved += 1
        self.emit(scope, node, call, [Effect(Kind.UNRESOLVED, call, "", detail)])

    # -- statements

    def block(self, body: Sequence[ast.stmt], scope: Scope) -> bool:
        """Whether the block certainly ends before its last line: by return, raise, break or continue."""
        for statement in body:
            self.step()
            if self.statement(statement, scope):
                return True
        return False

    def step(self) -> None:
        self.steps += 1
        if self.steps > STEPS:
            raise TooMuch

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

    # -- values

    def value(self, node: ast.expr, scope: Scope) -> Any:
        self.step()
        handler = VALUES.get(type(node))
        if handler is None:
            return DATA
        return handler(self, node, scope)

    def named(self, node: ast.Name, scope: Scope) -> Any:
        value = scope.find(node.id, self)
        return Name(f"builtins.{node.id}") if value is MISSING else value

    def attribute(self, node: ast.Attribute, scope: Scope) -> Any:
        return self.attribute_of(self.value(node.value, scope), node.attr)

    def attribute_of(self, owner: Any, name: str) -> Any:
        if isinstance(owner, OneOf):
            return OneOf(tuple(self.attribute_of(each, name) for each in owner.values))
        if isinstance(owner, Name):
            return calls.known_name(f"{owner.path}.{name}")
        if isinstance(owner, Foreign):
            return Foreign(f"{owner.name}.{name}")
        if isinstance(owner, Module):
            value = owner.scope.find(name, self)
            return Foreign(f"{owner.path}.{name}") if value is MISSING else value
        if isinstance(owner, Class | Instance):
            return self.member(owner, name)
        if isinstance(owner, Data | Clause) or owner is None:
            return Bound(owner, name)
        return calls.attribute(owner, name)

    def member(self, owner: Class | Instance, name: str) -> Any:
        of = owner.of if isinstance(owner, Instance) else owner
        for statement in of.node.body:
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef) and statement.name == name:
                is_static = any(getattr(each, "id", "") == "staticmethod" for each in statement.decorator_list)
                return Function(statement, of.scope, () if is_static else (owner,))
            if isinstance(statement, ast.Assign) and any(getattr(each, "id", "") == name for each in statement.targets):
                return self.value(statement.value, of.scope)
        if name in ("__table__", "__mapper__"):
            return calls.table_of(self, owner)
        for base in of.node.bases:
            found = self.value(base, of.scope)
            if isinstance(found, Class):
                return self.member(found, name)
        return Bound(owner, name)

    def subscript(self, node: ast.Subscript, scope: Scope) -> Any:
        owner, key = self.value(node.value, scope), self.value(node.slice, scope)
        return self.item(owner, key)

    def item(self, owner: Any, key: Any) -> Any:
        if isinstance(owner, OneOf):
            return either(*(self.item(each, key) for each in owner.values[:2]))
        if isinstance(owner, list | tuple | str | dict):
            try:
                return owner[key]
            except (LookupError, TypeError):
                values = list(owner.values()) if isinstance(owner, dict) else list(owner)
                return OneOf(tuple(values)) if 1 < len(values) <= 64 else values[0] if values else DATA
        if isinstance(owner, Foreign):
            return Foreign(f"{owner.name}[…]")
        return calls.item(owner, key)

    def binary(self, node: ast.BinOp, scope: Scope) -> Any:
        left, right = self.value(node.left, scope), self.value(node.right, scope)
        if isinstance(node.op, ast.Mod) and isinstance(left, str):
            return modulo(left, right)
        function = BINARY.get(type(node.op))
        if function is None:
            return DATA
        return _combined(function, left, right)

    def unary(self, node: ast.UnaryOp, scope: Scope) -> Any:
        value = self.value(node.operand, scope)
        if not is_known(value):
            return DATA
        return (not value) if isinstance(node.op, ast.Not) else -value if isinstance(value, int | float) else DATA

    def compared(self, node: ast.Compare, scope: Scope) -> Any:
        values = [self.value(each, scope) for each in (node.left, *node.comparators)]
        function = COMPARED.get(type(node.ops[0]))
        if len(values) != 2 or function is None or not all(is_known(each) for each in values):
            return DATA
        try:
            return bool(function(*values))
        except TypeError:
            return DATA

    def logical(self, node: ast.BoolOp, scope: Scope) -> Any:
        result: Any = None
        for each in node.values:
            value = self.value(each, scope)
            if not is_known(value):
                result = value if result is None or is_known(result) else DATA
                continue
            if bool(value) == isinstance(node.op, ast.Or) and (result is None or is_known(result)):
                return value
            result = value if result is None or is_known(result) else result
        return result

    def chosen(self, node: ast.IfExp, scope: Scope) -> Any:
        test = self.value(node.test, scope)
        if is_known(test):
            return self.value(node.body if test else node.orelse, scope)
        return either(self.value(node.body, scope), self.value(node.orelse, scope))

    def text(self, node: ast.JoinedStr, scope: Scope) -> Any:
        parts: list[Any] = []
        for each in node.values:
            if isinstance(each, ast.FormattedValue):
                value = self.value(each.value, scope)
                parts.append(formatted(value, each))
            else:
                parts.append(self.value(each, scope))
        return joined(parts)

    def listed(self, node: ast.List | ast.Tuple | ast.Set, scope: Scope) -> Any:
        found: list[Any] = []
        for each in node.elts:
            if isinstance(each, ast.Starred):
                items = self.items(self.value(each.value, scope))
                if items is None:
                    return DATA
                found += items
            else:
                found.append(self.value(each, scope))
        return tuple(found) if isinstance(node, ast.Tuple) else found

    def mapped(self, node: ast.Dict, scope: Scope) -> Any:
        found: dict[Any, Any] = {}
        for key, item in zip(node.keys, node.values, strict=True):
            value = self.value(item, scope)
            if key is None:
                found |= value if isinstance(value, dict) else {}
                continue
            name = self.value(key, scope)
            found[name if is_constant(name) else id(key)] = value
        return found

    def comprehended(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp, scope: Scope) -> Any:
        inner = Scope({}, scope.path, scope)
        parts = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        found: list[Any] = []
        is_whole = self.generate(list(node.generators), parts, inner, found)
        if not is_whole:
            return DATA
        if isinstance(node, ast.DictComp):
            return {key: value for key, value in found if is_constant(key)}
        return [each[0] for each in found]

    def generate(self, rest: list[ast.comprehension], parts: list[ast.expr], scope: Scope, found: list[Any]) -> bool:
        if not rest:
            found.append([self.value(each, scope) for each in parts])
            return True
        first, *others = rest
        iterable = self.value(first.iter, scope)
        items = self.items(iterable)
        is_whole = items is not None and len(items) <= UNROLLED
        for item in items if items is not None and is_whole else [self.element(iterable)]:
            self.bind(first.target, item, scope)
            tests = [self.value(each, scope) for each in first.ifs]
            if any(is_known(each) and not each for each in tests):
                continue
            is_whole = all(is_known(each) for each in tests) and is_whole
            is_whole = self.generate(others, parts, scope, found) and is_whole
        return is_whole

    def items(self, value: Any) -> list[Any] | None:
        """The elements of something that can be counted, or None."""
        if isinstance(value, list | tuple | set | frozenset | str):
            return list(value)
        return list(value) if isinstance(value, dict) else None

    @staticmethod
    def element(iterable: Any) -> Any:
        return iterable if isinstance(iterable, Foreign) else DATA

    def lambda_(self, node: ast.Lambda, scope: Scope) -> Any:
        return Function(node, scope)

    def awaited(self, node: ast.Await, scope: Scope) -> Any:
        return self.value(node.value, scope)

    def walrus(self, node: ast.NamedExpr, scope: Scope) -> Any:
        return self.assign(node, scope)

    # -- calls

    def called(self, node: ast.Call, scope: Scope) -> Any:
        function = self.value(node.func, scope)
        arguments, named = self.arguments(node, scope)
        return self.call(function, arguments, named, node, scope)

    def arguments(self, node: ast.Call, scope: Scope) -> tuple[list[Any], dict[str, Any]]:
        arguments: list[Any] = []
        for each in node.args:
            if isinstance(each, ast.Starred):
                items = self.items(self.value(each.value, scope))
                arguments += items if items is not None else [DATA]
            else:
                arguments.append(self.value(each, scope))
        named: dict[str, Any] = {}
        for keyword in node.keywords:
            value = self.value(keyword.value, scope)
            if keyword.arg is not None:
                named[keyword.arg] = value
            elif isinstance(value, dict):
                named |= {str(key): each for key, each in value.items()}
        return arguments, named

    def call(self, function: Any, arguments: list[Any], named: dict[str, Any], node: ast.expr, scope: Scope) -> Any:
        if isinstance(function, OneOf):
            with self.known.maybe():
                results = [self.call(each, arguments, named, node, scope) for each in function.values]
            return either(results[0], results[-1])
        if isinstance(function, Function):
            return self.run(function, arguments, named, node, scope)
        if isinstance(function, Class):
            return self.instance(function, arguments, named, node, scope)
        if isinstance(function, Bound) and isinstance(function.owner, str | list | dict | tuple | set):
            return string_method(function.owner, function.name, arguments, named)
        if isinstance(function, calls.Given):
            given = [*function.arguments, *arguments]
            return self.call(function.function, given, function.named | named, node, scope)
        return calls.call(function, calls.Call(self, arguments, named, node, scope))

    def instance(self, made: Class, arguments: list[Any], named: dict[str, Any], node: ast.expr, scope: Scope) -> Any:
        instance = Instance(made)
        start = self.member(instance, "__init__")
        if isinstance(start, Function):
            self.run(start, arguments, named, node, scope)
        return instance

    def run(self, function: Function, arguments: list[Any], named: dict[str, Any], node: ast.AST, scope: Scope) -> Any:
        if len(self.stack) >= DEPTH or any(each is function.node for _, _, each in self.stack):
            name = getattr(function.node, "name", "lambda")
            self.unclear(scope, node, name, f"{name} calls itself, or calls are nested too deeply; write it out")
            return DATA
        inner = Scope({}, function.scope.path, function.scope)
        self.bind_arguments(function, [*function.given, *arguments], function.named | named, inner)
        self.stack.append((scope.path, node, function.node))
        self.returned.append([])
        try:
            if isinstance(function.node, ast.Lambda):
                return self.value(function.node.body, inner)
            self.block(function.node.body, inner)
            results = self.returned[-1]
        finally:
            self.stack.pop()
            self.returned.pop()
        value = results[0] if results else None
        for each in results[1:]:
            value = either(value, each)
        return value

    def bind_arguments(self, function: Function, arguments: list[Any], named: dict[str, Any], inner: Scope) -> None:
        spec = function.node.args
        places = [*spec.posonlyargs, *spec.args]
        defaults = dict(
            zip(
                [each.arg for each in places][-len(spec.defaults) :] if spec.defaults else [],
                spec.defaults,
                strict=False,
            )
        )
        defaults |= {each.arg: value for each, value in zip(spec.kwonlyargs, spec.kw_defaults, strict=True) if value}
        for each in (*places, *spec.kwonlyargs):
            default = defaults.get(each.arg)
            inner.names[each.arg] = self.value(default, function.scope) if default is not None else DATA
        for place, value in zip(places, arguments, strict=False):
            inner.names[place.arg] = value
        if spec.vararg:
            inner.names[spec.vararg.arg] = tuple(arguments[len(places) :])
        known = {each.arg for each in (*places, *spec.kwonlyargs)}
        inner.names |= {name: value for name, value in named.items() if name in known}
        if spec.kwarg:
            inner.names[spec.kwarg.arg] = {name: value for name, value in named.items() if name not in known}


def _combined(function: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
    if isinstance(left, OneOf) or isinstance(right, OneOf):
        results = [_combined(function, a, b) for a in alternatives(left) for b in alternatives(right)]
        return OneOf(tuple(results)) if len(results) <= 64 else DATA
    if isinstance(left, Sql | Clause | Table) or isinstance(right, Sql | Clause | Table):
        return Clause()
    if not all(is_constant(each) or isinstance(each, list | tuple | dict) for each in (left, right)):
        return DATA
    try:
        result = function(left, right)
    except (TypeError, ArithmeticError, OverflowError, MemoryError):
        return DATA
    return DATA if isinstance(result, str | list) and len(result) > 1_000_000 else result


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


def _ends(_interpreter: Interpreter, _node: Any, _scope: Scope) -> bool:
    return True


def _gives(interpreter: Interpreter, node: ast.Assign | ast.AnnAssign, scope: Scope) -> None:
    interpreter.assign(node, scope)


def _raises(interpreter: Interpreter, node: ast.Raise, scope: Scope) -> bool:
    if node.exc is not None:
        interpreter.value(node.exc, scope)
    return True


def _checks(interpreter: Interpreter, node: ast.Assert, scope: Scope) -> None:
    interpreter.value(node.test, scope)


def _deletes(_interpreter: Interpreter, node: ast.Delete, scope: Scope) -> None:
    for target in node.targets:
        if isinstance(target, ast.Name):
            scope.names.pop(target.id, None)


def _makes(interpreter: Interpreter, node: ast.stmt, scope: Scope) -> None:
    interpreter.define(scope, node)


STATEMENTS: dict[type[ast.stmt], Callable[..., Any]] = {
    ast.Expr: Interpreter.expression_statement,
    ast.Assign: _gives,
    ast.AnnAssign: _gives,
    ast.AugAssign: Interpreter.augmented,
    ast.If: Interpreter.branch,
    ast.For: Interpreter.loop,
    ast.AsyncFor: Interpreter.loop,
    ast.While: Interpreter.repeat,
    ast.Try: Interpreter.attempt,
    ast.TryStar: Interpreter.attempt,
    ast.With: Interpreter.within,
    ast.AsyncWith: Interpreter.within,
    ast.Match: Interpreter.match,
    ast.Return: Interpreter.give_back,
    ast.Raise: _raises,
    ast.Break: _ends,
    ast.Continue: _ends,
    ast.Assert: _checks,
    ast.Delete: _deletes,
    ast.FunctionDef: _makes,
    ast.AsyncFunctionDef: _makes,
    ast.ClassDef: _makes,
    ast.Import: Interpreter.imported,
    ast.ImportFrom: Interpreter.imported,
}

VALUES: dict[type[ast.expr], Callable[..., Any]] = {
    ast.Constant: lambda _interpreter, node, _scope: node.value,
    ast.Name: Interpreter.named,
    ast.Attribute: Interpreter.attribute,
    ast.Subscript: Interpreter.subscript,
    ast.BinOp: Interpreter.binary,
    ast.UnaryOp: Interpreter.unary,
    ast.Compare: Interpreter.compared,
    ast.BoolOp: Interpreter.logical,
    ast.IfExp: Interpreter.chosen,
    ast.JoinedStr: Interpreter.text,
    ast.List: Interpreter.listed,
    ast.Tuple: Interpreter.listed,
    ast.Set: Interpreter.listed,
    ast.Dict: Interpreter.mapped,
    ast.ListComp: Interpreter.comprehended,
    ast.SetComp: Interpreter.comprehended,
    ast.GeneratorExp: Interpreter.comprehended,
    ast.DictComp: Interpreter.comprehended,
    ast.Lambda: Interpreter.lambda_,
    ast.Await: Interpreter.awaited,
    ast.NamedExpr: Interpreter.walrus,
    ast.Call: Interpreter.called,
}
