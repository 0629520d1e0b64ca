"""Nothing is lost when runs are killed; `make test-chaos` kills more of them."""

from __future__ import annotations

import pytest

from chaos import Chaos


@pytest.mark.timeout(900)
def test_killed_runs_end_with_the_same_bytes_and_leave_nothing_behind(tmp_path):
    chaos = Chaos(tmp_path, seed=1)
    chaos.kill(12)
    assert chaos.totals.kills.total() == 12
    assert chaos.totals.taken_over > 0
