"""Mutated migrations are judged without a crash, a hang or an admitted mistake."""

import warnings

import fuzz_migrations


def test_mutants_are_judged() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python's own, on what the mutants say
        outcome = fuzz_migrations.fuzz(1_000, seed=2)

    assert outcome.broken == []
    assert sum(outcome.counts.values()) == 1_000
    assert min(outcome.counts[verdict] for verdict in ("failed", "passed", "unreadable")) > 10


def test_the_same_seed_makes_the_same_mutants() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first, second = (fuzz_migrations.fuzz(20, seed=3) for _ in range(2))

    assert first.counts == second.counts
