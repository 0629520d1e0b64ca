"""`beamvec map`: the rows of a map, where they lie, what they can be coloured by."""

from __future__ import annotations

import datetime
import json

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import adjusted_rand_score

import samples
from beamvec.embeddings import open_dataset, schema
from beamvec.pipeline.commands.main import main
from beamvec.pipeline.pages import map_projection, map_sample
from beamvec.pipeline.pages.map import make_map, spread_over_map
from beamvec.pipeline.pages.map_colors import NONE, OTHER, choose_first, make_colorings
from beamvec.pipeline.pages.map_projection import project
from beamvec.pipeline.pages.map_sample import Sample, choose_rows, read_sample
from beamvec.transforms.files import storage


def make_groups(count=600, groups=12, dimension=24, seed=0):
    """Return vectors of length 1 in groups, float16 [n, D], and the group of each."""
    random = np.random.default_rng(seed)
    group = np.arange(count) % groups
    vectors = random.normal(size=(groups, dimension))[group]
    vectors += 0.3 * random.normal(size=vectors.shape)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16), group


def nearest_by_cosine(vectors, k=10):
    cosines = vectors.astype(np.float32) @ vectors.T.astype(np.float32)
    np.fill_diagonal(cosines, -2)
    return np.argsort(-cosines, axis=1, kind="stable")[:, :k]


def test_groups_are_islands_and_the_nearest_are_the_nearest():
    vectors, group = make_groups()
    projection = project(vectors)
    assert projection.method == "t-SNE"
    assert adjusted_rand_score(group, projection.islands) > 0.95
    assert (np.diff(np.bincount(projection.islands + 1)[1:]) <= 0).all()
    assert projection.positions.min() >= 0
    assert projection.positions.max() <= 1
    same = [len(np.intersect1d(*each)) for each in zip(
        projection.nearest, nearest_by_cosine(vectors), strict=True
    )]  # fmt: skip
    assert np.mean(same) > 9.8


def test_the_same_rows_give_the_same_map():
    vectors, _ = make_groups(300)
    first, second = project(vectors), project(vectors.copy())
    for name in ("positions", "nearest", "islands"):
        assert (getattr(first, name) == getattr(second, name)).all()


def test_more_rows_lie_between_anchors(monkeypatch):
    monkeypatch.setattr(map_projection, "ANCHORS", 200)
    vectors, group = make_groups(900)
    projection = project(vectors)
    assert projection.method == "t-SNE of 200 dots, between which the others were placed"
    assert adjusted_rand_score(group, projection.islands) > 0.9
    for number in range(group.max() + 1):
        at = projection.positions[group == number]
        assert np.median(np.linalg.norm(at - np.median(at, axis=0), axis=1)) < 0.1


@pytest.mark.parametrize("anchors", [200, 1000])
def test_without_opentsne_the_map_shows_principal_components_and_says_so(monkeypatch, anchors):
    monkeypatch.setattr(storage, "is_installed", lambda package: package != "openTSNE")
    monkeypatch.setattr(map_projection, "ANCHORS", anchors)
    vectors, _ = make_groups(300)
    projection = project(vectors)
    assert projection.method == (
        "the two largest principal components, for openTSNE is not installed"
    )
    assert len(projection.positions) == len(projection.islands) == 300


@pytest.mark.parametrize("count", [0, 1, 2, 5, 11, 12, 13, 40])
@pytest.mark.parametrize("dimension", [1, 2, 60])
def test_few_rows_have_a_map_too(count, dimension):
    vectors, _ = make_groups(count, 3, dimension)
    projection = project(vectors)
    assert projection.positions.shape == (count, 2)
    assert np.isfinite(projection.positions).all()
    assert projection.nearest.shape == (count, max(0, min(10, count - 1)))
    assert (projection.nearest != np.arange(count)[:, None]).all()


def test_equal_rows_have_a_map_too():
    projection = project(np.full((50, 4), 0.5, np.float16))
    assert np.isfinite(projection.positions).all()
    copies = project(np.repeat(make_groups(20, 20)[0], 30, axis=0))
    assert np.isfinite(copies.positions).all()
    assert (copies.nearest // 30 == np.arange(600)[:, None] // 30).all()


def test_rows_are_spread_over_a_dataset(monkeypatch):
    assert choose_rows([], 5).tolist() == []
    assert choose_rows([10, 10], 100).tolist() == list(range(20))
    chosen = choose_rows([1000] * 50, 500)
    assert len(chosen) == len(np.unique(chosen)) == 500
    assert set(chosen // 1000) == set(range(50))
    monkeypatch.setattr(map_sample, "MAX_GROUPS", 5)
    chosen = choose_rows([1000] * 50, 500)
    assert len(chosen) == len(np.unique(chosen)) == 500
    assert len(set(chosen // 1000)) == 5


def test_a_sample_has_rows_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(map_sample, "_BATCH_ROWS", 7)
    vectors, _ = make_groups(50)
    samples.write_dataset(tmp_path / "d", 5 * vectors.astype(np.float32))
    dataset = open_dataset(str(tmp_path / "d"))
    sample = read_sample(dataset, 20)
    assert sample.uris == [dataset.read_uris()[row] for row in sample.rows]
    expected = dataset.read_vectors(normalize=True)[sample.rows]
    assert np.allclose(sample.vectors, expected, atol=1e-3)


def color(**columns):
    """Return the colourings of a table of some columns, by name."""
    count = len(next(iter(columns.values())))
    table = {
        schema.URI: [f"/a/{i % 3}/{i}.jpg" for i in range(count)],
        **{name: pa.array(values) for name, values in columns.items()},
        schema.WIDTH: pa.array(np.arange(count)),
        schema.HEIGHT: [5] * count,
        schema.FORMAT: ["PNG"] * count,
        schema.SIZE_BYTES: [1] * count,
    }
    sample = Sample(np.arange(count), pa.table(table), np.zeros((count, 2), np.float16))
    return {one.name: one for one in make_colorings(sample, np.arange(count) % 2 - 1, "d")}


def test_every_column_can_colour():
    start = datetime.date(2024, 1, 1)
    found = color(
        label=["cat", "dog", None, "cat"] * 5,
        score=[0.5, float("nan"), None, *range(17)],
        day=[start + datetime.timedelta(days=i) for i in range(20)],
        good=[True, False] * 10,
        boxes=[[1, 2], None] * 10,
    )
    assert list(found) == [
        *("label", "score", "day", "good", "boxes", "parent folder", "island"),
        *("format", "width", "height", "size_bytes"),
    ]
    label = found["label"]
    assert (label.kind, label.labels) == ("names", ["cat", "dog"])
    assert label.codes[:4].tolist() == [0, 1, NONE, 0]
    score = found["score"]
    assert score.kind == found["day"].kind == found["width"].kind == "numbers"
    assert score.codes[1:3].tolist() == [NONE, NONE]
    assert score.codes[3] == 0
    assert (np.diff(score.codes[3:].astype(int)) > 0).all()
    assert (found["day"].labels[0], len(found["day"].labels)) == ("2024-01-01", 254)
    assert sorted(found["good"].labels) == ["False", "True"]
    assert found["boxes"].labels == ["[1, 2]"]
    assert found["height"].labels == ["5"]
    assert found["parent folder"].labels == ["0", "1", "2"]
    assert found["island"].codes[:2].tolist() == [NONE, 0]


def test_rare_names_share_a_colour():
    found = color(caption=[f"text {i:03d} " + "x" * 99 for i in range(500)])["caption"]
    assert len(found.labels) == 200
    assert max(map(len, found.labels)) == 80
    assert (found.codes == OTHER).sum() == 500 - 200


def test_a_map_begins_with_what_tells_groups_apart():
    plain = list(color(caption=list("abcdefghijkl"), n=range(12)).values())
    assert plain[choose_first(plain)].name == "parent folder"
    labelled = list(color(label=["a", "b"] * 6).values())
    assert labelled[choose_first(labelled)].name == "label"


def test_pictures_are_spread_over_the_map():
    random = np.random.default_rng(0)
    positions = random.random((2000, 2)).astype(np.float32)
    chosen = positions[spread_over_map(positions, 64)]
    cells = np.histogram2d(*chosen.T, bins=4, range=[(0, 1)] * 2)[0]
    assert cells.min() >= 2
    assert len(spread_over_map(positions, 5000)) == 2000


def test_map_writes_a_page_and_says_of_how_many_rows(tmp_path, capsys):
    vectors, group = make_groups(120)
    uris = [f"/in/{number}/{i}.jpg" for i, number in enumerate(group)]
    samples.write_dataset(tmp_path / "d", vectors.astype(np.float32), uris)
    page = tmp_path / "map.html"
    assert main(["map", str(tmp_path / "d"), "--html", str(page), "--max-rows", "60"]) == 0
    out = capsys.readouterr().out
    told = "Map of 60 of 120 rows, spread over all, by t-SNE"
    assert out.splitlines()[0] == told
    assert "60 of 60 images without a picture: 60 not there any more" in out
    text = page.read_text()
    assert told in text
    assert "60 of 60 images without a picture" in text
    assert len(text) < 100_000
    again = tmp_path / "again.html"
    assert main(["map", str(tmp_path / "d"), "--html", str(again), "--max-rows", "60"]) == 0
    assert again.read_text() == text


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--max-rows", "0"], "--max-rows is 0; it must be from 1 to 100,000"),
        (["--max-rows", "100001"], "--max-rows is 100,001"),
        (["--pictures", "-1"], "--pictures is -1; it must be at least 0"),
    ],
)
def test_map_refuses_what_it_cannot_draw(tmp_path, capsys, flags, message):
    samples.write_dataset(tmp_path / "d", make_groups(12)[0].astype(np.float32))
    assert main(["map", str(tmp_path / "d"), "--html", str(tmp_path / "m.html"), *flags]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_dataset_without_rows_has_a_page(tmp_path, extract):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "broken.jpg").write_bytes(b"none")
    assert extract("--input", tmp_path / "in", "--max-failure-ratio", "1") == 0
    page = tmp_path / "map.html"
    assert main(["map", str(tmp_path / "out"), "--html", str(page)]) == 0
    assert "No image was embedded" in page.read_text()


def test_what_a_page_holds_is_json(tmp_path):
    samples.write_dataset(tmp_path / "d", make_groups(30)[0].astype(np.float32))
    dataset = open_dataset(str(tmp_path / "d"))
    made = make_map(dataset, read_sample(dataset, 30), 0)
    assert json.loads(json.dumps(made.data))["count"] == 30
    assert made.facts["pictures"] == 0
