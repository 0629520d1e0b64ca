"""The paths of a dataset."""

from __future__ import annotations

import pytest

from beamvec.embeddings.layout import TABLE_DIRS, Layout, part_name


@pytest.mark.parametrize("root", ["/data/out", "gs://bucket/out", "out"])
def test_every_path_is_below_the_folder(root):
    layout = Layout(root)
    tables = [layout.table(name) for name in TABLE_DIRS]
    files = [layout.run_file, layout.success_file, layout.lock_file, layout.chunks]
    paths = [*tables, *files]
    assert {path.rpartition("/")[0] for path in paths} == {root}
    assert len(set(paths)) == len(paths)


def test_what_a_run_needs_only_while_it_goes_on_is_below_its_chunks():
    layout = Layout("out")
    for path in (
        *(layout.chunk_file("ab"), layout.begun_file, layout.old_begun_file, layout.total_file),
        *(layout.old_publication_file, layout.staged().path, layout.staged("ab").path),
    ):
        assert path.startswith(f"{layout.chunks}/")


def test_parts_sort_by_generation_and_index():
    names = [part_name(i, 11, generation) for generation in (0, 1, 12) for i in range(11)]
    assert sorted(names[:11]) == names[:11]
    assert sorted(names[11:]) == names[11:]
    assert len(set(names)) == len(names)
