"""Mutations of the materialized views and of all that is around them, as in test_mutations."""

from collections.abc import Iterator
from operator import attrgetter

import pytest

from conftest import Databases
from gatebook.database import Database
from mutations import UNSEEN, VIEW_MUTATIONS, Mutation
from mutations.catching import Copies, catch, catching

NOT_YET = [pytest.param(mutation, marks=pytest.mark.xfail(reason="no gate sees it yet")) for mutation in UNSEEN]


@pytest.fixture(scope="module")
def copies(databases: Databases, legacy: Database, migrated: Database) -> Iterator[Copies]:
    with catching(databases, legacy, migrated) as made:
        yield made


@pytest.mark.server
@pytest.mark.parametrize("mutation", [*VIEW_MUTATIONS, *NOT_YET], ids=attrgetter("name"))
def test_a_gate_goes_red(mutation: Mutation, copies: Copies) -> None:
    catch(mutation, copies)
