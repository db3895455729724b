"""Follows a migration's Python without running it: values, branches, loops, helpers.

What cannot be followed and could reach the database becomes an UNRESOLVED effect.
"""

import ast
from typing import Any

from gatebook.safety import dispatch
from gatebook.safety.calls import Call
from gatebook.safety.containers import container_method
from gatebook.safety.expressions import VALUES, Expressions
from gatebook.safety.statements import Statements, leaves_early
from gatebook.safety.texts import text_method
from gatebook.safety.things import (
    DATA,
    MORE,
    REST,
    Bound,
    Class,
    Function,
    Given,
    Instance,
    OneOf,
    Scope,
    any_of,
)

DEPTH = 24
REPEATED = 3  # a decorator stands around several functions


class Interpreter(Statements, Expressions):
    """One walk through upgrade() or downgrade()."""

    def called(self, node: ast.Call, scope: Scope) -> Any:
        function = self.value(node.func, scope)
        arguments, named = self.arguments(node, scope)
        return self.call(function, arguments, named, node, scope)

    def arguments(self, node: ast.Call, scope: Scope) -> tuple[list[Any], dict[str, Any]]:
        arguments: list[Any] = []
        for each in node.args:
            if isinstance(each, ast.Starred):
                items = self.items(self.value(each.value, scope))
                arguments += items if items is not None else [REST]
            else:
                arguments.append(self.value(each, scope))
        named: dict[str, Any] = {}
        for keyword in node.keywords:
            value = self.value(keyword.value, scope)
            if keyword.arg is not None:
                named[keyword.arg] = value
            elif isinstance(value, dict) and not (REST in value or DATA in value):
                named |= {str(key): each for key, each in value.items()}
            else:
                named[MORE] = DATA
        return arguments, named

    def call(self, function: Any, arguments: list[Any], named: dict[str, Any], node: ast.expr, scope: Scope) -> Any:
        if isinstance(function, OneOf):
            with self.known.maybe():
                results = [self.call(each, arguments, named, node, scope) for each in function.values]
            return any_of(results)
        if isinstance(function, Function):
            return self.run(function, arguments, named, node, scope)
        if isinstance(function, Class):
            return self.instance(function, arguments, named, node, scope)
        if isinstance(function, Bound) and isinstance(function.owner, str):
            return text_method(function.owner, function.name, arguments, named)
        if isinstance(function, Bound) and isinstance(function.owner, list | dict | tuple | set):
            is_certain = not self.known.branches
            return container_method(function.owner, function.name, arguments, named, is_certain=is_certain)
        if isinstance(function, Instance):
            function = self.member(function, "__call__")
            if isinstance(function, Function):
                return self.run(function, arguments, named, node, scope)
        if isinstance(function, Given):
            given = [*function.arguments, *arguments]
            return self.call(function.function, given, function.named | named, node, scope)
        return dispatch.call(function, Call(self, arguments, named, node, scope))

    def instance(self, made: Class, arguments: list[Any], named: dict[str, Any], node: ast.expr, scope: Scope) -> Any:
        instance = Instance(made)
        start = self.member(instance, "__init__")
        if isinstance(start, Function):
            self.run(start, arguments, named, node, scope)
            return instance
        targets = [each.target for each in made.node.body if isinstance(each, ast.AnnAssign)]
        names = [each.id for each in targets if isinstance(each, ast.Name)]
        instance.names.update(dict(zip(names, arguments, strict=False)) | named)
        return instance

    def run(self, function: Function, arguments: list[Any], named: dict[str, Any], node: ast.AST, scope: Scope) -> Any:
        if len(self.stack) >= DEPTH or sum(each is function.node for _, _, each in self.stack) >= REPEATED:
            name = getattr(function.node, "name", "lambda")
            self.unclear(scope, node, name, f"{name} calls itself, or calls are nested too deeply; write it out")
            return DATA
        inner = Scope({}, function.scope.path, function.scope)
        self.seen.add(function.node)
        self.bind_arguments(function, [*function.given, *arguments], function.named | named, inner)
        self.stack.append((scope.path, node, function.node))
        self.returned.append([])
        self.yielded.append([])
        try:
            if isinstance(function.node, ast.Lambda):
                return self.value(function.node.body, inner)
            is_whole = isinstance(function.node, ast.FunctionDef) and not leaves_early(function.node)
            with self.known.perhaps_in_part(is_whole=is_whole):
                if not self.block(function.node.body, inner):
                    self.returned[-1].append(None)
            yields, results = self.yielded[-1], self.returned[-1]
        finally:
            self.stack.pop()
            self.returned.pop()
            self.yielded.pop()
        return [*yields, REST] if yields else any_of(results)

    def bind_arguments(self, function: Function, arguments: list[Any], named: dict[str, Any], inner: Scope) -> None:
        spec = function.node.args
        places = [*spec.posonlyargs, *spec.args]
        last = places[len(places) - len(spec.defaults) :]
        defaults = dict(zip([each.arg for each in last], spec.defaults, strict=True))
        defaults |= {each.arg: value for each, value in zip(spec.kwonlyargs, spec.kw_defaults, strict=True) if value}
        for each in (*places, *spec.kwonlyargs):
            default = defaults.get(each.arg)
            is_open = MORE in named or REST in arguments
            inner.names[each.arg] = DATA if is_open or default is None else self.value(default, function.scope)
        given = arguments[: arguments.index(REST)] if REST in arguments else arguments
        for place, value in zip(places, given, strict=False):
            inner.names[place.arg] = value
        if spec.vararg:
            inner.names[spec.vararg.arg] = tuple(arguments[len(places) :])
        known = {each.arg for each in (*places, *spec.kwonlyargs)}
        inner.names |= {name: value for name, value in named.items() if name in known}
        if spec.kwarg:
            inner.names[spec.kwarg.arg] = {name: value for name, value in named.items() if name not in known}


VALUES[ast.Call] = Interpreter.called
