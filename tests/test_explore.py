"""search, probe, duplicates, report and inspect --verify, from the command line."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import re
import shlex
import shutil
from pathlib import Path

import markupsafe
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import samples
from beamvec.embeddings import open_dataset
from beamvec.pipeline.commands.main import main
from beamvec.pipeline.commands.parser import build_parser, fill_all

EVIL = "<img src=x onerror=alert(1)>.png"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images in three folders of 12, each folder with colours of its own; copies; a broken one."""
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for label, colour in enumerate([(200, 40, 40), (40, 200, 40), (60, 60, 200)]):
        (folder / f"class{label}").mkdir()
        for i in range(12):
            noise = random.integers(-39, 40, (6, 9, 3))
            image = samples.Image.fromarray((np.array(colour) + noise).astype(np.uint8))
            image.resize((90, 60)).save(folder / f"class{label}" / f"{i:02d}.png")
    shutil.copy(folder / "class0" / "00.png", folder / "class0" / EVIL)
    (folder / "class1" / "broken.png").write_bytes(b"none")
    return folder


@pytest.fixture(scope="module")
def made(folder, model_path, tmp_path_factory):
    """The dataset of these images."""
    path = str(tmp_path_factory.mktemp("made") / "dataset")
    flags = ["--model", model_path, "--rows-per-shard", "9", "--max-failure-ratio", "1"]
    assert main(["extract", "--input", str(folder), "--output", path, *flags]) == 0
    return path


def run_json(capsys, *command):
    capsys.readouterr()
    assert main([*command, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_search_finds_an_image_by_its_file_and_by_its_uri(made, folder, model_path, capsys):
    image = str(folder / "class1" / "03.png")
    dataset = open_dataset(made)
    uris, vectors = dataset.read_uris(), dataset.read_vectors().astype(np.float64)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = units @ units[uris.index(image)]
    flags = ["--image", image, "--k", "5", "--model", model_path]
    by_file = run_json(capsys, "search", made, *flags)["queries"][0]
    assert by_file["query"] == image
    assert by_file["matches"][0]["uri"] == image
    for match in by_file["matches"]:
        assert uris[match["row"]] == match["uri"]
        assert match["cosine"] == pytest.approx(cosines[match["row"]], abs=1e-5)
    assert [m["cosine"] for m in by_file["matches"]] == pytest.approx(
        np.sort(cosines)[::-1][:5].tolist(), abs=1e-5
    )
    by_uri = run_json(capsys, "search", made, "--uri", image, "--k", "4")["queries"][0]
    assert [m["row"] for m in by_uri["matches"]] == [m["row"] for m in by_file["matches"][1:]]


def test_an_image_to_search_for_may_be_at_home(made, folder, model_path, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(folder))
    page = tmp_path / "s.html"
    flags = ["--image", "~/class1/03.png", "--model", model_path, "--html", str(page), "--k", "1"]
    assert main(["search", made, *flags]) == 0
    assert page.read_text().count('src="data:image') == 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--uri", "class1/03.png"], "class1/03.png; one that it has is /"),
        (["--uri", "x.png"], "has no image with the uri x.png"),
        (["--image", "nowhere.png"], "cannot read --image nowhere.png"),
        (["--image", __file__], "cannot decode --image"),
        (["--uri", "x.png", "--k", "0"], "--k is 0"),
        ([], "one of the arguments --image --uri is required"),
    ],
)
def test_search_refuses_what_it_cannot_look_for(made, flags, message, model_path, capsys):
    assert main(["search", made, "--model", model_path, *flags]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def save_spying_model(path, spied, written):
    """Save a model that copies a file of whoever calls it."""
    import tensorflow as tf

    def call(inputs):
        write = tf.io.write_file(str(written), tf.io.read_file(str(spied)))
        with tf.control_dependencies([write]):
            return tf.reduce_mean(inputs, axis=[1, 2])

    samples.save_model(str(path), call)


@pytest.mark.parametrize("place", ["dataset/model", "model"])
def test_a_model_that_a_dataset_names_is_not_run_unasked(
    place, tmp_path, folder, extract, capsys, monkeypatch
):
    spied, written = tmp_path / "key", tmp_path / "copied"
    spied.write_text("secret")
    save_spying_model(tmp_path / place, spied, written)
    image = str(folder / "class1" / "03.png")
    out = tmp_path / "d"
    trusted = ["--model", str(tmp_path / place), "--trust-model"]
    assert extract("--input", image, "--trust-model", output=out, model=trusted[1]) == 0
    written.unlink()
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert main(["search", str(out), "--image", image]) == 2
    error = capsys.readouterr().err
    assert "a model is code: to run it, if you trust it, give --model" in error
    assert error.count("\n") == 1
    assert main(["search", str(out), "--uri", image]) == 0
    assert main(["report", str(out), "--html", str(tmp_path / "r.html")]) == 0
    assert not written.exists()
    assert main(["search", str(out), "--image", image, *trusted[:2]]) == 2
    assert "has the operations ReadFile, WriteFile" in capsys.readouterr().err
    assert not written.exists()
    assert main(["search", str(out), "--image", image, *trusted]) == 0
    assert written.read_text() == "secret"  # So it would have been.


def test_a_model_of_another_content_is_refused_before_it_is_loaded(made, tmp_path, folder, capsys):
    spied, written = tmp_path / "key", tmp_path / "copied"
    spied.write_text("secret")
    save_spying_model(tmp_path / "model", spied, written)
    command = ["search", made, "--image", str(folder / "class1" / "03.png")]
    assert main([*command, "--model", str(tmp_path / "model")]) == 2
    assert "is not the one that made" in capsys.readouterr().err
    assert not written.exists()


def test_the_default_model_needs_not_be_named(made, folder, model_path, monkeypatch):
    monkeypatch.setattr("beamvec.pipeline.commands.search.DEFAULT_MODEL", model_path)
    assert main(["search", made, "--image", str(folder / "class1" / "03.png")]) == 0


def test_what_to_give_is_quoted_for_the_shell(made, tmp_path, capsys):
    shutil.copytree(made, tmp_path / "d")
    named = dataclasses.replace(open_dataset(made).run, model="x; touch y")
    samples.write_record(tmp_path / "d", named)
    assert main(["search", str(tmp_path / "d"), "--image", "x.png"]) == 2
    assert "give --model 'x; touch y'" in capsys.readouterr().err


def test_search_refuses_another_model(made, folder, tmp_path, capsys):
    samples.save_tiny_model(str(tmp_path / "other"), seed=7)
    command = ["search", made, "--image", str(folder / "class1" / "03.png"), "--model"]
    assert main([*command, str(tmp_path / "other")]) == 2
    assert "is not the one that made" in capsys.readouterr().err
    assert main([*command, str(tmp_path / "gone")]) == 2
    assert "if it has moved, give --model" in capsys.readouterr().err


def test_search_refuses_settings_of_a_later_version(made, folder, tmp_path, capsys):
    shutil.copytree(made, tmp_path / "d")
    record = open_dataset(made).run
    settings = dataclasses.replace(record.settings, precision="int3")
    later = dataclasses.replace(record, settings=settings)
    samples.write_record(tmp_path / "d", later)
    image = str(folder / "class1" / "03.png")
    assert main(["search", str(tmp_path / "d"), "--image", image]) == 2
    assert "made with precision int3, which this beamvec" in capsys.readouterr().err
    assert main(["search", str(tmp_path / "d"), "--uri", image]) == 0


def test_readers_take_a_record_of_format_2(made, tmp_path, capsys):
    shutil.copytree(made, tmp_path / "d")
    record = open_dataset(made).run
    settings = dataclasses.replace(record.settings, format_version=2)
    record = dataclasses.replace(record, settings=settings, weights="random")
    samples.write_record(tmp_path / "d", record)
    assert main(["inspect", str(tmp_path / "d"), "--verify"]) == 0
    assert main(["report", str(tmp_path / "d"), "--html", str(tmp_path / "r.html")]) == 0
    assert "RANDOM WEIGHTS" in capsys.readouterr().out
    page = (tmp_path / "r.html").read_text()
    assert "<b>38</b> inputs = <b>37</b> embedded + <b>1</b> failed" in page
    assert "broken.png" in page


def test_the_probe_gives_the_numbers_of_scikit_learn(made, capsys):
    result = run_json(capsys, "probe", made, "--labels", "parent-folder", "--folds", "3")
    dataset = open_dataset(made)
    labels = [uri.split("/")[-2] for uri in dataset.read_uris()]
    splits = StratifiedKFold(3, shuffle=True, random_state=0)
    (chosen,) = set(result["regularisation"])
    for name, classifier in {
        "1-NN": KNeighborsClassifier(1, metric="cosine"),
        "5-NN": KNeighborsClassifier(5, metric="cosine"),
        "linear": make_pipeline(StandardScaler(), LogisticRegression(C=chosen, max_iter=1000)),
    }.items():
        expected = cross_val_score(classifier, dataset.read_vectors(), labels, cv=splits)
        assert result["accuracies"][name] == pytest.approx(expected.tolist())
    confusion = np.array(result["confusion"])
    assert confusion.sum() == result["rows"] == 37
    assert confusion.sum() - confusion.trace() == len(result["mistakes"])
    assert len(result["unsure"]) == np.minimum(confusion.diagonal(), 12).sum()
    assert all(image["label"] == image["predicted"] for image in result["unsure"])


def test_the_probe_takes_labels_from_a_column_and_says_what_it_leaves_out(
    folder, model_path, tmp_path, capsys
):
    rows = [(file, file.parent.name) for file in sorted(folder.glob("*/0*.png"))]
    lines = ["uri,label", *(f"{file},{label}" for file, label in rows[:-1]), f"{rows[-1][0]},alone"]
    (tmp_path / "m.csv").write_text("\n".join(lines))
    flags = ["--manifest", str(tmp_path / "m.csv"), "--output", str(tmp_path / "d")]
    assert main(["extract", "--model", model_path, *flags]) == 0
    capsys.readouterr()
    assert main(["probe", str(tmp_path / "d"), "--labels", "label", "--head", "mlp"]) == 0
    out = capsys.readouterr().out
    assert "1 class with fewer than 5 images left out, 1 row" in out
    assert "  mlp " in out
    assert main(["probe", str(tmp_path / "d"), "--labels", "width"]) == 2
    assert "the dataset has the columns label; or give parent-folder" in capsys.readouterr().err
    assert main(["probe", str(tmp_path / "d"), "--labels", "label", "--folds", "99"]) == 2
    assert "a probe needs two" in capsys.readouterr().err


def test_a_page_of_the_probe_stays_small_and_counts_what_it_leaves_out(
    folder, model_path, tmp_path, monkeypatch, capsys
):
    files = sorted(folder.glob("class*/*0*.png"))
    lines = ["uri,label", *(f"{file},label {i % 3}" for i, file in enumerate(files))]
    (tmp_path / "m.csv").write_text("\n".join(lines))
    out, page = str(tmp_path / "d"), tmp_path / "p.html"
    flags = ["--manifest", str(tmp_path / "m.csv"), "--output", out]
    assert main(["extract", "--model", model_path, *flags]) == 0
    command = ["probe", out, "--labels", "label", "--folds", "3"]
    mistakes = len(run_json(capsys, *command)["mistakes"])
    assert mistakes > 6
    limits = {"_MISTAKES": 5, "_PICTURES": 4, "_UNSURE_PICTURES": 2, "_MATRIX_CLASSES": 2}
    for name, value in {**limits, "_PAIRS_WITHOUT_MATRIX": 1, "_SCORED_CLASSES": 2}.items():
        monkeypatch.setattr(f"beamvec.pipeline.pages.probe.{name}", value)
    assert main([*command, "--html", str(page)]) == 0
    html = page.read_text()
    assert html.count("<figure") == 5 + 2
    assert html.count('src="data:image') == 4 + 2
    assert f"{mistakes - 5} more mistakes not on this page" in html
    assert "3 classes are too many for a matrix" in html
    assert f"beamvec probe {out} --labels label --head linear --folds 3 --json" in html
    assert "and 1 more; <code>" in html


def test_duplicates_tells_copies_from_similar_images(made, folder, capsys):
    found = run_json(capsys, "duplicates", made, "--threshold", "1")["groups"]
    (group,) = (group for group in found if group["kind"] == "copies")
    uris = sorted([str(folder / "class0" / "00.png"), str(folder / "class0" / EVIL)])
    assert sorted(image["uri"] for image in group["images"]) == uris
    assert sum(image["copy_of"] is not None for image in group["images"]) == 1
    assert group["images"][1]["cosine"] == pytest.approx(1, abs=1e-6)
    all_in_one = run_json(capsys, "duplicates", made, "--threshold", "0.01")["groups"]
    assert [len(group["images"]) for group in all_in_one] == [37]
    assert main(["duplicates", made]) == 0
    assert "are copies of others" in capsys.readouterr().out
    assert main(["duplicates", made, "--threshold", "2"]) == 2


@pytest.mark.parametrize("threshold", ["0.02", "0.9", "0.995", "1"])
def test_the_list_of_duplicates_keeps_one_for_each_that_could_go(made, threshold, capsys, tmp_path):
    capsys.readouterr()
    page = str(tmp_path / "d.html")
    command = ["duplicates", made, "--threshold", threshold]
    assert main([*command, "--csv", "--html", page]) == 0
    told = capsys.readouterr()
    assert f"wrote {page}" in told.err
    rows = list(csv.DictReader(io.StringIO(told.out)))
    groups = run_json(capsys, *command)["groups"]
    listed = [image["uri"] for group in groups for image in group["images"]]
    assert [row["uri"] for row in rows] == listed
    dataset = open_dataset(made)
    found = dataset.lookup(listed, ["sha256", "width", "height", "size_bytes"])
    units = found.vectors / np.linalg.norm(found.vectors, axis=1, keepdims=True)
    at = {uri: i for i, uri in enumerate(listed)}
    for i, row in enumerate(rows):
        of = at[row["kept"]]
        assert rows[of]["action"] == "keep"
        assert rows[of]["group"] == row["group"]
        assert (row["action"] == "keep") == (row["kept"] == row["uri"]) == (row["kind"] == "")
        assert (row["kind"] == "copy") == (i != of and rows[of]["sha256"] == row["sha256"])
        assert float(row["cosine"]) == pytest.approx(units[i] @ units[of], abs=1e-5)
        assert float(row["cosine"]) >= float(threshold) - 1e-6
        assert row["sha256"] == found.metadata["sha256"][i].as_py()
    assert any(row["action"] == "delete" for row in rows)
    (copy,) = (row for row in rows if row["copy_of"])
    assert rows[at[copy["copy_of"]]]["sha256"] == copy["sha256"]
    html = (tmp_path / "d.html").read_text()
    assert all(f'title="{markupsafe.escape(uri)}"' in html for uri in listed)


def test_of_duplicates_the_largest_is_kept_then_the_first_name(tmp_path, extract, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    image = samples.make_image(0)
    image.resize((64, 64)).save(folder / "a.png")
    image.resize((640, 640)).save(folder / "c.png")
    for name in "bd":
        shutil.copy(folder / "c.png", folder / f"{name}.png")
    assert extract("--input", folder) == 0
    (group,) = run_json(capsys, "duplicates", str(tmp_path / "out"), "--threshold", "0.9")["groups"]
    assert [Path(image["uri"]).stem for image in group["images"]] == ["b", "c", "d", "a"]
    assert [image["action"] for image in group["images"]] == ["keep"] + ["delete"] * 3
    kept = str(folder / "b.png")
    assert [image["copy_of"] for image in group["images"]] == [None, kept, kept, None]


def test_a_page_of_duplicates_stays_small_and_counts_what_it_leaves_out(
    made, tmp_path, monkeypatch
):
    monkeypatch.setattr("beamvec.pipeline.pages.duplicates._PICTURES", 4)
    monkeypatch.setattr("beamvec.pipeline.pages.duplicates._NAMES", 20)
    command = ["duplicates", made, "--threshold", "0.01", "--html", str(tmp_path / "d.html")]
    assert main(command) == 0
    page = (tmp_path / "d.html").read_text()
    assert page.count('src="data:image') == 4
    assert page.count('<span class="act') == 2 + 15 + 1  # Of the copies, the others, the text.
    assert "18 more images not on this page" in page


def test_verify_passes_a_sound_dataset_and_shows_what_it_holds(made, capsys):
    assert main(["inspect", made, "--verify"]) == 0
    out = capsys.readouterr().out
    lengths = np.linalg.norm(open_dataset(made).read_vectors(), axis=1)
    assert f"norms        {lengths.min():.4g} to {lengths.max():.4g}" in out
    assert "not finite   0 rows" in out
    assert "copies       1 image with" in out
    assert "no problem" in out


def test_no_flipped_bit_changes_what_is_read_unnoticed(made, tmp_path, random):
    whole = open_dataset(made).read_embeddings()
    part = open_dataset(made).embedding_files[1].path
    noticed = 0
    for i in range(40):
        copy = tmp_path / str(i)
        shutil.copytree(made, copy)
        damaged = copy / "embeddings" / part.rpartition("/")[2]
        content = bytearray(damaged.read_bytes())
        content[random.integers(len(content))] ^= 1 << int(random.integers(8))
        damaged.write_bytes(content)
        code = main(["inspect", str(copy), "--verify"])
        noticed += code != 0
        assert code or open_dataset(str(copy)).read_embeddings().equals(whole)
    assert noticed > 10


def test_verify_names_what_does_not_add_up(made, tmp_path, capsys):
    shutil.copytree(made, tmp_path / "d")
    run = json.loads((tmp_path / "d" / "run.json").read_text())
    run["counts"]["failures"] += 1
    samples.write_record(tmp_path / "d", run)
    assert main(["inspect", str(tmp_path / "d"), "--verify"]) == 1
    error = capsys.readouterr().err
    assert "1 row of failures, run.json tells of 2" in error
    assert "38 inputs, but 39 accounted for" in error
    parts = sorted((tmp_path / "d" / "embeddings").iterdir())
    shutil.copy(parts[0], parts[1])
    samples.sign(tmp_path / "d")
    assert main(["inspect", str(tmp_path / "d"), "--verify"]) == 1
    assert "rows with a uri that another row has" in capsys.readouterr().err


def test_values_of_a_record_are_text_in_a_page(made, tmp_path):
    shutil.copytree(made, tmp_path / "d")
    record = open_dataset(made).run
    (failure,) = record.failures
    evil = dict.fromkeys(("model", "runner", "version", "weights"), EVIL)
    kind = dataclasses.replace(failure, error_type=EVIL, example=EVIL)
    timings = dataclasses.replace(record.timings, finished=EVIL)
    changed = dataclasses.replace(record, **evil, failures=(kind,), timings=timings)
    samples.write_record(tmp_path / "d", changed)
    assert main(["report", str(tmp_path / "d"), "--html", str(tmp_path / "r.html")]) == 0
    page = (tmp_path / "r.html").read_text()
    assert page.count("&lt;img src=x onerror=alert(1)&gt;") > 4
    assert "<img src=x" not in page


@pytest.mark.parametrize(
    ("inputs", "told", "shown"),
    [
        (38, "38 inputs = {}", "the accounts close"),
        (4000, "4,000 inputs, but {}: the accounts do not close", "the accounts do not close"),
    ],
)
def test_the_accounts_are_computed(made, tmp_path, capsys, inputs, told, shown):
    told = told.format("37 embeddings + 1 failure + 0 duplicates")
    shutil.copytree(made, tmp_path / "d")
    record = open_dataset(made).run
    counts = dataclasses.replace(record.counts, inputs=inputs)
    samples.write_record(tmp_path / "d", dataclasses.replace(record, counts=counts))
    assert main(["inspect", str(tmp_path / "d")]) == 0
    assert f"accounts     {told}\n" in capsys.readouterr().out
    assert main(["report", str(tmp_path / "d"), "--html", str(tmp_path / "r.html")]) == 0
    page = (tmp_path / "r.html").read_text()
    assert told in page
    assert f">{shown}<" in page
    assert ("the accounts close" in page) == (inputs == 38)


def test_failures_that_are_not_there_are_not_told_of(made, tmp_path, capsys):
    shutil.copytree(made, tmp_path / "d")
    record = open_dataset(made).run
    counts = dataclasses.replace(record.counts, failures=9, inputs=46)
    samples.write_record(tmp_path / "d", dataclasses.replace(record, counts=counts))
    for command in (["inspect"], ["report", "--html", str(tmp_path / "r.html")]):
        assert main([command[0], str(tmp_path / "d"), *command[1:]]) == 2
        error = capsys.readouterr().err
        assert "the failures files hold 1 row, run.json tells of 9" in error


def test_embeddings_that_cannot_be_compared_are_named(tmp_path, capsys):
    vectors = np.ones((12, 3), np.float32)
    vectors[5] = np.nan
    uris = [f"{kind}{i}.jpg" for kind in ("a/", "b/") for i in range(6)]
    samples.write_dataset(tmp_path / "d", vectors, uris, parts=1)
    for words in (
        ["search", "--uri", "a/0.jpg", "--k", "12"],
        ["search", "--uri", "a/5.jpg"],
        ["probe", "--labels", "parent-folder"],
        ["duplicates"],
        ["report", "--html", str(tmp_path / "r.html")],
    ):
        assert main([words[0], str(tmp_path / "d"), *words[1:]]) == 2
        error = capsys.readouterr().err
        assert "NaN" in error
        assert error.count("\n") == 1


def run_before_work(capsys, *command):
    """Run a command that refuses before it opens the dataset, and return what it says."""
    capsys.readouterr()
    assert main(list(command)) == 2
    out, error = capsys.readouterr()
    assert (out, error.count("\n")) == ("", 1)
    return error


PAGES = {"search": ["--uri", "x"], "probe": ["--labels", "x"], "duplicates": [], "map": []}
PAGES["report"] = []


def test_all_commands_that_write_pages_are_tested_here():
    commands = fill_all(build_parser())._subparsers._group_actions[0].choices
    assert {name for name, command in commands.items() if "html" in command.flags} == PAGES.keys()


@pytest.mark.parametrize("command", PAGES)
def test_a_page_that_cannot_be_written_is_refused_before_the_work(command, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    page = str(tmp_path / "file" / "r.html")
    words = [command, str(tmp_path / "no dataset"), *PAGES[command]]
    error = run_before_work(capsys, *words, "--html", page)
    assert error == f"beamvec: cannot write --html {page}: Not a directory\n"


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        ("", "it names no file"),
        ("new/", "it names no file"),
        (".", "it is a folder"),
        ("photo.jpg", "it is there, and no page"),
        ("pipe", "it is no regular file"),
        ("/dev/null", "it is no regular file"),
        ("/proc/r.html", "No such file"),
        ("x" * 300, "File name too long"),
        ("ftp://host/r.html", "no filesystem for ftp"),
    ],
)
def test_where_no_page_is_written(page, reason, made, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photo = samples.encode(samples.make_image(0), "JPEG")
    (tmp_path / "photo.jpg").write_bytes(photo)
    os.mkfifo("pipe")
    error = run_before_work(capsys, "duplicates", made, "--html", page)
    assert error.startswith(f"beamvec: cannot write --html {shlex.quote(page)}: {reason}")
    assert (tmp_path / "photo.jpg").read_bytes() == photo
    assert sorted(os.listdir()) == ["photo.jpg", "pipe"]


def test_a_page_takes_the_place_of_a_page_through_links_and_at_home(
    made, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    Path("link.html").symlink_to("page.html")
    for page in ("link.html", "link.html", "~/new/page.html"):
        assert main(["duplicates", made, "--html", page]) == 0
        assert f"wrote {page}" in capsys.readouterr().out
    assert Path("link.html").is_symlink()
    assert Path("new/page.html").read_text() == Path("page.html").read_text()
    assert sorted(os.listdir()) == ["link.html", "new", "page.html"]


def test_a_page_that_fails_to_be_written_late_is_named(made, tmp_path, capsys):
    page = str(tmp_path / f"{'x' * 230}.html")  # Too long only for a temporary name.
    assert main(["duplicates", made, "--html", page]) == 2
    assert f"cannot write --html {page}: File name too long" in capsys.readouterr().err


def test_a_dataset_without_rows_has_a_report(tmp_path, extract, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "broken.jpg").write_bytes(b"none")
    assert extract("--input", tmp_path / "in", "--max-failure-ratio", "1") == 0
    out = str(tmp_path / "out")
    assert main(["report", out, "--html", str(tmp_path / "r.html")]) == 0
    assert "a text, not an image" in (tmp_path / "r.html").read_text()
    assert main(["duplicates", out]) == 0
    assert main(["inspect", out, "--verify"]) == 0
    assert main(["search", out, "--image", str(tmp_path / "in" / "broken.jpg")]) == 2
    assert main(["probe", out, "--labels", "parent-folder"]) == 2
    assert "gives 0 classes" in capsys.readouterr().err


def test_a_report_has_failures_by_cause_with_links_to_the_files(extract, tmp_path, monkeypatch):
    folder = tmp_path / "in 1#"
    folder.mkdir()
    for i in range(30):
        (folder / f"{i:02d}.png").write_bytes(b"none")
    (folder / "empty.png").write_bytes(b"")
    assert extract("--input", folder, "--max-failure-ratio", "1") == 0
    out, html = str(tmp_path / "out"), tmp_path / "r.html"
    assert main(["report", out, "--html", str(html)]) == 0
    page = html.read_text()
    assert page.index("<b>30</b> a text, not an image") < page.index("<b>1</b> ")
    link = (folder / "29.png").as_uri()
    assert "in%201%23" in link
    assert f'href="{link}"' in page
    assert page.count("a text, not an image</h3>") == 1  # And not once more at each image.
    assert f"beamvec failures {out} --csv" in page
    monkeypatch.setattr("beamvec.pipeline.pages.failures._NAMES", 40)
    assert main(["report", out, "--html", str(html)]) == 0
    page = html.read_text()
    assert "and 10 that are not on this page" in page
    assert "10 are not on this page. All of them" in page


def test_a_report_counts_labels(folder, made, model_path, tmp_path):
    html = tmp_path / "r.html"
    assert main(["report", made, "--html", str(html)]) == 0
    page = html.read_text()
    assert "3 labels, from the folders that the images are in" in page
    assert page.index(">class0</span> <span") < page.index(">class1</span> <span")
    rows = "".join(f"{folder}/class0/{i:02d}.png,{'xyy'[i % 3]},s\n" for i in range(8))
    (tmp_path / "m.csv").write_text(f"uri,label,split\n{rows}{folder}/class0/08.png,,s\n")
    flags = ["--manifest", str(tmp_path / "m.csv"), "--output", str(tmp_path / "d")]
    assert main(["extract", "--model", model_path, *flags]) == 0
    assert main(["report", str(tmp_path / "d"), "--html", str(html)]) == 0
    page = html.read_text()
    assert "2 labels, from the column <code>label</code>; 1 image without one" in page
    assert '>y</span> <span class="value">5</span>' in page
    assert '<span class="label">y</span>' in page


def test_pages_have_pictures_from_any_folder_or_say_why_not(extract, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    for seed in range(6):
        samples.make_image(seed).save(folder / f"{seed}.png")
    rows = "".join(f"{seed}.png\n" for seed in range(6))
    (folder / "m.csv").write_text(f"uri\n{rows}")
    monkeypatch.chdir(folder)
    assert extract("--manifest", "m.csv") == 0
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.html"
    for command in (["report"], ["search", "--uri", "0.png"], ["duplicates", "--threshold", "0.1"]):
        capsys.readouterr()
        assert main([command[0], "out", *command[1:], "--html", str(page)]) == 0
        assert "no picture" not in capsys.readouterr().out
        assert 'src="data:image/webp' in page.read_text()
    (folder / "1.png").unlink()
    (folder / "2.png").write_text("no image")
    assert main(["search", "out", "--uri", "0.png", "--html", str(page)]) == 0
    told = "2 of 6 images without a picture: 1 not decodable any more, 1 not there any more"
    assert capsys.readouterr().out.splitlines()[-1] == told
    assert told in page.read_text()


def test_one_is_no_plural(tmp_path, extract, capsys):
    folder = tmp_path / "in"
    (folder / "unread").mkdir(parents=True)
    samples.make_image(0).save(folder / "a.png")
    (folder / "notes.txt").write_text("")
    out, page = str(tmp_path / "out"), tmp_path / "r.html"
    assert extract("--input", folder, "--dry-run") == 0
    assert extract("--input", folder) == 0
    (folder / "b.png").write_bytes(b"none")
    assert extract("--input", folder, "--append", "--max-failure-ratio", "0.1") == 1
    assert extract("--input", folder, "--dry-run") == 0
    commands = (["inspect"], ["duplicates"], ["failures", "--copy-to", str(tmp_path / "c")])
    for command in (*commands, ["map", "--html", str(page)], ["report", "--html", str(page)]):
        assert main([command[0], out, *command[1:]]) == 0
    told = "".join(capsys.readouterr()) + page.read_text()
    assert "1 image in " in told
    assert re.findall(r".{0,50}(?<![\d,.])1 (?:[a-z]+s|[a-z]*classes)\b", told) == []
