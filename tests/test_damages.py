"""Damage is noticed and named in every way of reading; `make test-damage` tries more of it."""

from __future__ import annotations

import random

import pytest

from damages import Damages, flip


@pytest.mark.timeout(900)
def test_damaged_datasets_are_noticed_and_raise_no_other_errors(tmp_path):
    damages = Damages(tmp_path, seed=1)
    damages.run(250)
    assert not damages.defects
    assert damages.outcomes["inspect --verify: refused"] > 200
    assert damages.outcomes["read_vectors: refused"] > 50


def test_a_flip_changes_one_bit():
    data = bytes(range(50))
    flipped = flip(data, random.Random(0))
    different = [a ^ b for a, b in zip(data, flipped, strict=True) if a != b]
    assert len(different) == 1
    assert different[0].bit_count() == 1
