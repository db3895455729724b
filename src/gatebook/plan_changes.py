"""What is different in a plan of another day or another server: nodes, indexes, relations, conditions, estimates."""

import difflib
import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

from gatebook.plans import CONDITIONS, Facts, Node, condition_text
from gatebook.verdicts import Rows

DIFFERENT_ESTIMATE = 2.0
# A driver sends 7 as smallint and 70,000 as integer; an InitPlan is $0 before PostgreSQL 17.
LITERALS = re.compile(
    r"'(?:[^']|'')*'(?:::(?:smallint|integer|bigint))?|\(InitPlan \d+\)\.col\d+|\$\d+|\b\d+(?:\.\d+)?\b"
)


def plan_changes(before: Facts, after: Facts) -> Rows:
    """What is different in the second of two plans; how long they took is left to others.

    Shape   at (path of node types), what, before, after; in the order of the tree; nothing where they are the same.
            Estimates are told when one is more than twice the other; literals in conditions do not count.
    before, after  documents as Plan.document or Plan.to_json() holds them
    """
    old, new = before["Plan"], after["Plan"]
    costs = _estimates(Node(old).title, "total cost", old["Total Cost"], new["Total Cost"])
    return (*costs, *_compare(old, new, ""))


def _compare(old: Facts, new: Facts, path: str) -> Iterator[dict[str, Any]]:
    at = f"{path} > {Node(old).title}" if path else Node(old).title
    if Node(old).title != Node(new).title:
        if (below := _child_like(old, new)) is not None:
            yield from _put_on_top(new, below, at, added=True)
            yield from _compare(old, below, f"{path} > {Node(new).title}" if path else Node(new).title)
            return
        if (below := _child_like(new, old)) is not None:
            yield from _put_on_top(old, below, at, added=False)
            yield from _compare(below, new, at)
            return
        yield _change(at, "node type", Node(old).title, Node(new).title)
    yield from _facts_changed(old, new, at)
    yield from _children_changed(old.get("Plans", []), new.get("Plans", []), at)


def _child_like(node: Facts, parent: Facts) -> Facts | None:
    """The child of the parent that is what the node is: then the parent was put on top of it."""
    wanted = (Node(node).title, Node(node).relation)
    return next((each for each in parent.get("Plans", []) if (Node(each).title, Node(each).relation) == wanted), None)


def _put_on_top(top: Facts, below: Facts, at: str, *, added: bool) -> Iterator[dict[str, Any]]:
    for each in (top, *(child for child in top.get("Plans", []) if child is not below)):
        yield _added(at, each) if added else _gone(at, each)


def _facts_changed(old: Facts, new: Facts, at: str) -> Iterator[dict[str, Any]]:
    for what, key in (("relation", "Relation Name"), ("index", "Index Name"), ("CTE", "CTE Name")):
        if old.get(key) != new.get(key):
            yield _change(at, what, old.get(key), new.get(key))
    for key in CONDITIONS:
        if _shape(old.get(key)) != _shape(new.get(key)):
            yield _change(at, key, condition_text(old.get(key)), condition_text(new.get(key)))
    yield from _estimates(at, "rows estimated", old["Plan Rows"], new["Plan Rows"])


def _children_changed(old: Sequence[Facts], new: Sequence[Facts], at: str) -> Iterator[dict[str, Any]]:
    matcher = difflib.SequenceMatcher(None, [_key(each) for each in old], [_key(each) for each in new], autojunk=False)
    for _, old_from, old_to, new_from, new_to in matcher.get_opcodes():
        for before, after in zip_longest(old[old_from:old_to], new[new_from:new_to]):
            if before is None:
                yield _added(at, after)
            elif after is None:
                yield _gone(at, before)
            else:
                yield from _compare(before, after, at)


def _estimates(at: str, what: str, old: float, new: float) -> tuple[dict[str, Any], ...]:
    low, high = sorted((max(old, 1), max(new, 1)))
    return (_change(at, what, old, new),) if high > DIFFERENT_ESTIMATE * low else ()


def _added(at: str, facts: Facts) -> dict[str, Any]:
    return _change(at, "node added", None, _named(facts))


def _gone(at: str, facts: Facts) -> dict[str, Any]:
    return _change(at, "node gone", _named(facts), None)


def _change(at: str, what: str, before: Any, after: Any) -> dict[str, Any]:
    return {"at": at, "what": what, "before": before, "after": after}


def _key(facts: Facts) -> tuple[Any, ...]:
    return facts.get("Parent Relationship"), Node(facts).subplan, facts.get("Relation Name")


def _named(facts: Facts) -> str:
    node = Node(facts)
    return node.label + f" using {node.index}" * bool(node.index) + f" on {node.relation}" * bool(node.relation)


def _shape(value: Any) -> str:
    """A condition without its literals, which are other ones on another day, and InitPlans by any server's name."""
    return LITERALS.sub("?", str(condition_text(value)))
