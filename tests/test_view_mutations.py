"""Mutations of the materialized views and of all that is around them, as in test_mutations."""

from collections.abc import Iterator
from operator import attrgetter

import pytest

from conftest import Databases
from gatebook.database import Database
from mutations import UNSEEN, VIEW_MUTATIONS, Mutation
from mutations.catching import Copies, catch, catching


@pytest.fixture(scope="module")
def copies(databases: Databases, legacy: Database, migrated: Database) -> Iterator[Copies]:
    with catching(databases, legacy, migrated) as made:
        yield made


@pytest.mark.server
@pytest.mark.parametrize("mutation", VIEW_MUTATIONS, ids=attrgetter("name"))
def test_a_gate_goes_red(mutation: Mutation, copies: Copies) -> None:
    catch(mutation, copies)


@pytest.mark.server
@pytest.mark.xfail(raises=AssertionError, reason="no gate sees it yet")
@pytest.mark.parametrize("mutation", UNSEEN, ids=attrgetter("name"))
def test_a_gate_should_go_red(mutation: Mutation, copies: Copies) -> None:
    catch(mutation, copies)
