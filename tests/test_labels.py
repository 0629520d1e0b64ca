"""Labels: from the column that holds them, or from the folder."""

from __future__ import annotations

import pytest

import samples
from beamvec.errors import ArgumentError
from beamvec.pipeline.labels import choose_labels, find_labels, read_labels


@pytest.fixture
def write(tmp_path, extract, dataset):
    """Make a dataset of a manifest with some columns, and open it."""

    def make(header, *rows):
        for i in range(len(rows)):
            samples.make_image(i).save(tmp_path / f"{i}.png")
        lines = [f"uri,{header}", *(f"{tmp_path}/{i}.png,{row}" for i, row in enumerate(rows))]
        (tmp_path / "in.csv").write_text("\n".join(lines))
        assert extract("--manifest", tmp_path / "in.csv") == 0
        return dataset()

    return make


@pytest.mark.parametrize(
    ("header", "chosen"),
    [("split,Label", "Label"), ("target,class", "class"), ("split,size", "parent-folder")],
)
def test_the_column_that_is_called_so_holds_the_labels(header, chosen, write):
    assert choose_labels(write(header, "a,b")) == chosen


def test_labels_are_text_and_may_be_missing(write, tmp_path):
    dataset = write("label,split", "3,a", ",b")
    uris = dataset.read_uris()
    assert read_labels(dataset, "label", uris) == ["3", None]
    assert read_labels(dataset, "parent-folder", uris) == [tmp_path.name] * 2
    assert find_labels(dataset, [*uris, "nowhere"]) == {uris[0]: "3"}
    with pytest.raises(ArgumentError, match="has the columns label, split"):
        read_labels(dataset, "width", uris)
