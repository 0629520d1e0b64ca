"""Damaged images are rows or failures, never a crash; `make test-fuzz` tries more of them."""

from __future__ import annotations

import pytest

from fuzz import Fuzz, Originals, find_originals
from mutate import load_originals, mutate


@pytest.mark.timeout(900)
def test_mutated_images_are_rows_or_failures(tmp_path):
    fuzz = Fuzz(tmp_path, Originals(find_originals(), seed=1))
    fuzz.run(range(200))
    assert not fuzz.totals.defects
    assert fuzz.totals.rows + fuzz.totals.failures.total() == 200


def test_a_seed_and_an_index_name_one_mutant():
    mutants = [mutate(None, 5, index) for index in range(50)]
    assert mutants == [mutate(None, 5, index) for index in range(50)]
    assert len({mutant.data for mutant in mutants}) > 45


def test_originals_cover_many_formats():
    [made] = load_originals(None)
    assert len({original.name.rpartition(".")[2] for original in made}) >= 18
