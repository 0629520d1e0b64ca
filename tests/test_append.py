"""`beamvec extract --append`."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

import disk_filesystem
import old_formats
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import hash_files
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import damages
import samples
from beamvec.embeddings import open_dataset
from beamvec.pipeline.commands.main import main
from beamvec.transforms.decoding import simd
from beamvec.transforms.files import storage
from beamvec.transforms.planning.append import select_missing
from beamvec.transforms.planning.plan import split_block
from beamvec.transforms.records.account import Account
from beamvec.transforms.records.images import ImageRef, RefBlock

needs_simd = pytest.mark.skipif(not simd.is_available(), reason="there is no cykooz-resizer here")


@pytest.fixture
def folder(tmp_path, photos) -> Path:
    """A folder of 11 good images and a broken one."""
    copy = tmp_path / "in"
    shutil.copytree(photos / "group0", copy)
    shutil.copy(photos / "broken.jpg", copy / "broken.jpg")
    return copy


def fail(*_):
    raise OSError("killed")


@pytest.fixture
def append(extract, folder):
    def run(*flags: str | Path, **kwargs) -> int:
        return extract("--input", folder, "--append", "--max-failure-ratio", "1", *flags, **kwargs)

    return run


def read_run(output: Path) -> dict:
    return json.loads((output / "run.json").read_text())


def read_rows(output: Path) -> dict[str, dict]:
    """Return all rows of both tables by uri, and fail if one comes twice."""
    dataset = open_dataset(str(output))
    rows = dataset.read_embeddings().to_pylist() + dataset.read_failures().to_pylist()
    by_uri = {row["uri"]: row for row in rows}
    assert len(by_uri) == len(rows)
    counts = dataset.run.counts
    assert counts.embeddings == len(dataset.read_embeddings())
    assert counts.failures == len(dataset.read_failures())
    assert counts.inputs == len(rows) + counts.duplicates
    return by_uri


def test_only_what_is_missing_is_embedded(append, folder, tmp_path, capsys):
    assert append() == 0
    parts = hash_files(tmp_path / "out")
    shutil.copy(folder / "00.jpg", folder / "new.jpg")
    assert append() == 0
    after = hash_files(tmp_path / "out")
    first = "embeddings/part-00000-of-00001.parquet"
    assert after[first] == parts[first]
    assert sorted(after) == [
        first,
        "embeddings/part-a0001-00000-of-00001.parquet",
        "failures/part-a0001-00000-of-00001.parquet",
    ]
    rows = read_rows(tmp_path / "out")
    assert len(rows) == 13
    new, old = str(folder / "new.jpg"), str(folder / "00.jpg")
    assert rows[new]["embedding"] == rows[old]["embedding"]
    out = capsys.readouterr().out
    assert "had already  11" in out
    assert "in all       12 embedded, 1 failed" in out
    latest = read_run(tmp_path / "out")["appended"][0]["counts"]
    assert (latest["embeddings"], latest["known"], latest["inputs"]) == (1, 11, 1)


def test_earlier_failures_are_tried_again_even_if_the_input_does_not_name_them(
    extract, append, folder, tmp_path
):
    append()
    (folder / "broken.jpg").write_bytes((folder / "00.jpg").read_bytes())
    assert extract("--input", folder / "00.jpg", "--append") == 0
    rows = read_rows(tmp_path / "out")
    assert rows[str(folder / "broken.jpg")]["width"] == 60
    counts = read_run(tmp_path / "out")["counts"]
    assert (counts["inputs"], counts["embeddings"], counts["failures"]) == (12, 12, 0)


uris = st.sampled_from("abcdefgh")
times = st.none() | st.floats(0, 1)
images = st.lists(
    st.builds(ImageRef, uris, st.none() | st.integers(0, 1), times, st.just(()), st.none()),
    max_size=20,
)


@given(images, images, st.lists(uris, unique=True), st.integers(1, 4))
def test_what_is_missing_does_not_depend_on_the_buckets(refs, known, failed, buckets):
    sides = (refs, list({ref.uri: ref for ref in known}.values()), list(map(ImageRef, failed)))
    missing, account = select_missing(*sides)
    named = {ref.uri for ref in refs}
    at_hand = {ref.uri for ref in sides[1]}
    again = [uri for uri in failed if uri not in named | at_hand]
    assert missing[: len(missing) - len(again)] == [r for r in refs if r.uri not in at_hand]
    assert [ref.uri for ref in missing[len(missing) - len(again) :]] == again
    assert account.known == sum(ref.uri in at_hand for ref in refs)
    assert account.inputs == -len(set(failed) - at_hand)
    split = [dict(split_block(RefBlock(side), buckets)) for side in sides]
    nothing = RefBlock([])
    parts = [
        select_missing(*(side.get(bucket, nothing).refs for side in split))
        for bucket in range(buckets)
    ]
    assert sorted(map(repr, missing)) == sorted(repr(ref) for part, _ in parts for ref in part)
    assert sum((account for _, account in parts), Account()) == account


def test_changed_images_are_named_and_not_embedded_anew(append, folder, tmp_path, capsys):
    append()
    before = read_rows(tmp_path / "out")
    (folder / "00.jpg").write_bytes(samples.encode(samples.make_image(77), "JPEG"))
    os.utime(folder / "06.jpg", (1, 1))
    capsys.readouterr()
    assert append() == 0
    out = capsys.readouterr().out
    assert (
        f"2 of them, embedded anew only with --overwrite: {folder}/00.jpg, {folder}/06.jpg" in out
    )
    assert read_rows(tmp_path / "out") == before
    assert read_run(tmp_path / "out")["appended"][0]["counts"]["changed"] == 2


def test_labels_that_were_corrected_are_named(extract, folder, tmp_path, capsys):
    uris = [str(folder / name) for name in ("00.jpg", "06.jpg", "12.jpg", "broken.jpg")]
    own = {"label": ["a", "b", "c", "d"], "score": [float("nan"), None, 0.5, 1.0]}
    own["at"] = pa.array([1, None, 2**50 + 1, 3], pa.timestamp("us", "UTC"))
    own["tags"] = [["x"], [], None, ["y"]]
    table = pa.table({"uri": uris, **own})
    flags = ["--manifest", tmp_path / "m.parquet", "--append", "--max-failure-ratio", "1"]
    pq.write_table(table, tmp_path / "m.parquet")
    for _ in range(2):
        assert extract(*flags) == 0
    assert read_run(tmp_path / "out")["appended"][0]["counts"]["relabelled"] == 0
    before = read_rows(tmp_path / "out")
    labels = pa.array(["a", "CORRECTED", None, "AGAIN"])
    pq.write_table(table.set_column(1, "label", labels), tmp_path / "m.parquet")
    capsys.readouterr()
    assert extract(*flags) == 0
    told = "2 of them, whose columns stay as they were without --overwrite: "
    assert f"{told}{uris[1]}, {uris[2]}" in capsys.readouterr().out
    run = read_run(tmp_path / "out")["appended"][1]
    assert run["counts"]["relabelled"] == 2
    assert run["relabelled"] == uris[1:3]
    after = read_rows(tmp_path / "out")
    assert repr({**before, uris[3]: 0}) == repr({**after, uris[3]: 0})
    assert after[uris[3]]["label"] == "AGAIN"


def test_nothing_new_changes_no_embedding(append, tmp_path):
    append()
    before = hash_files(tmp_path / "out")
    for _ in range(2):
        assert append() == 0
    after = hash_files(tmp_path / "out")
    assert list(after.values()) == list(before.values())
    assert len(read_run(tmp_path / "out")["appended"]) == 2


def test_appending_with_other_settings_is_refused(append, tmp_path, capsys):
    append()
    samples.save_tiny_model(str(tmp_path / "other"), seed=1)
    before = hash_files(tmp_path / "out")
    assert append("--resize", "crop") == 2
    assert "resize is stretch, not crop" in capsys.readouterr().err
    assert append(model=str(tmp_path / "other")) == 2
    assert append("--overwrite") == 2
    assert hash_files(tmp_path / "out") == before


def test_appending_to_nothing_makes_a_dataset(append, extract, folder, tmp_path):
    append()
    extract("--input", folder, "--max-failure-ratio", "1", output=tmp_path / "plain")
    assert hash_files(tmp_path / "out") == hash_files(tmp_path / "plain")


def test_manifest_columns_come_along(extract, folder, tmp_path):
    manifest = tmp_path / "m.csv"
    manifest.write_text(f"uri,label\n{folder}/00.jpg,1\n{folder}/broken.jpg,2\n")
    flags = ["--manifest", manifest, "--append", "--max-failure-ratio", "1"]
    assert extract(*flags) == 0
    manifest.write_text(f"uri,label\n{folder}/00.jpg,1\n{folder}/06.jpg,3\n{folder}/06.jpg,3\n")
    assert extract(*flags) == 0
    labels = {Path(uri).name: row["label"] for uri, row in read_rows(tmp_path / "out").items()}
    assert labels == {"00.jpg": 1, "broken.jpg": 2, "06.jpg": 3}
    assert read_run(tmp_path / "out")["counts"]["duplicates"] == 1


def test_the_first_command_still_finds_its_dataset_finished(extract, folder, capsys):
    flags = ["--input", folder, "--max-failure-ratio", "1"]
    extract(*flags)
    extract("--input", folder / "00.jpg", "--append", "--max-failure-ratio", "1")
    capsys.readouterr()
    assert extract(*flags) == 0
    assert "finished already" in capsys.readouterr().out


@pytest.mark.parametrize("moves", range(4))
def test_an_append_killed_while_it_is_published_ends_right(
    append, folder, tmp_path, monkeypatch, moves, model_path
):
    append()
    shutil.copytree(tmp_path / "out", tmp_path / "undisturbed")
    shutil.copy(folder / "00.jpg", folder / "new.jpg")
    append(output=tmp_path / "undisturbed", model=model_path)
    rename, done = storage.rename, []

    def fail_after(source, target):
        if not source.endswith(".tmp"):  # A part that moves, not a file that gets its name.
            if len(done) == moves:
                raise OSError("killed")
            done.append(target)
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "rename", fail_after)
        assert append() == (3 if moves < 3 else 0)
    if moves < 3:
        assert not (tmp_path / "out" / "_SUCCESS").exists()
        assert append() == 0
    assert hash_files(tmp_path / "out") == hash_files(tmp_path / "undisturbed")
    assert not (tmp_path / "out" / "chunks").exists()
    read_rows(tmp_path / "out")


def test_an_append_that_was_stopped_goes_on(append, folder, tmp_path, monkeypatch):
    append()
    for i in range(6):
        shutil.copy(folder / "00.jpg", folder / f"new{i}.jpg")

    with monkeypatch.context() as patch:
        patch.setattr("beamvec.transforms.output.merge.merge_shard", fail)
        assert append("--chunk-size", "2") == 3
    assert len(read_rows(tmp_path / "out")) == 12  # The dataset is as it was.
    assert append("--chunk-size", "2") == 0
    assert len(read_rows(tmp_path / "out")) == 18
    assert read_run(tmp_path / "out")["appended"][0]["counts"]["taken_over"] == 7


def test_parts_of_an_append_that_was_stopped_are_not_taken_for_whole(
    append, folder, tmp_path, monkeypatch
):
    flags = ["--rows-per-shard", "3"]
    append(*flags)
    for i in range(5):
        shutil.copy(folder / "00.jpg", folder / f"new{i}.jpg")

    with monkeypatch.context() as patch:
        patch.setattr("beamvec.pipeline.run.finish.finish_record", fail)
        assert append(*flags) == 3
    staged = (tmp_path / "out" / "chunks" / "parts").glob("*/embeddings/*")
    assert len(list(staged)) == 2
    for i in range(3):
        (folder / f"new{i}.jpg").unlink()
    assert append(*flags) == 0
    assert len(read_rows(tmp_path / "out")) == 14


def test_an_object_store(folder, tmp_path, monkeypatch, model_path):
    monkeypatch.setattr(disk_filesystem.DiskFileSystem, "root", tmp_path)
    command = ["extract", "--input", "disk://in", "--model", model_path, "--append"]
    command += ["--output", "disk://out", "--max-failure-ratio", "1"]
    assert main(command) == 0
    shutil.copy(folder / "00.jpg", folder / "new.jpg")
    assert main(command) == 0
    assert len(read_rows(tmp_path / "out")) == 13


def test_inputs_hold_what_listing_told(append, folder, tmp_path):
    append()
    (file,) = (tmp_path / "out" / "_inputs").iterdir()
    for row in pq.read_table(file).to_pylist():
        status = os.stat(row["uri"])
        assert (row["size_bytes"], row["modified_s"]) == (status.st_size, status.st_mtime)
    assert pq.read_metadata(file).num_rows == 11
    assert str(folder / "broken.jpg") not in pq.read_table(file)["uri"].to_pylist()


def test_appends_of_any_split_hold_what_one_run_holds(extract, photos, tmp_path):
    files = sorted(str(file) for file in photos.rglob("*.*") if file.suffix != ".txt")
    lenient = ["--max-failure-ratio", "1"]
    extract("--input", photos, *lenient, output=tmp_path / "whole")
    expected = read_rows(tmp_path / "whole")

    @settings(max_examples=4, deadline=None, phases=[Phase.generate], database=None)
    @given(st.lists(st.integers(0, 2), min_size=len(files), max_size=len(files)), st.data())
    def check(groups, data):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        for group in range(3):
            again = data.draw(st.lists(st.sampled_from(files), max_size=5))
            names = [file for file, g in zip(files, groups, strict=True) if g == group]
            (tmp_path / "list").write_text("\n".join([files[0], *names, *again]))
            assert extract("--input-list", tmp_path / "list", "--append", *lenient) == 0
        (tmp_path / "list").write_text("\n".join(files))
        assert extract("--input-list", tmp_path / "list", "--append", *lenient) == 0
        assert read_rows(tmp_path / "out") == expected

    check()


def damage(path: Path) -> bytes:
    """Flip a bit in the middle of a file; return what it held."""
    content = path.read_bytes()
    middle = len(content) // 2
    flipped = bytes([content[middle] ^ 1])
    path.write_bytes(content[:middle] + flipped + content[middle + 1 :])
    return content


@pytest.mark.parametrize("table", ["_inputs", "failures"])
@pytest.mark.parametrize("how", ["flipped", "gone", "added"])
def test_what_an_append_goes_by_is_checked(append, folder, tmp_path, capsys, table, how):
    assert append() == 0
    before = read_rows(tmp_path / "out")
    part = tmp_path / "out" / table / "part-00000-of-00001.parquet"
    content = part.read_bytes()
    named = part
    if how == "flipped":
        damage(part)
    elif how == "gone":
        part.unlink()
    else:
        named = part.with_name("part-a0009-00000-of-00001.parquet")
        shutil.copy(part, named)
    capsys.readouterr()
    assert append() == 3
    error = capsys.readouterr().err
    words = {"flipped": "has changed since", "gone": "is missing", "added": "run.json does not"}
    assert f"{named} {'is there, but ' if how == 'added' else ''}{words[how]}" in error
    assert "restore it" in error or "move it away" in error
    assert "Traceback" not in error
    # Put right, the same command goes on, and nothing has become of what was there.
    part.write_bytes(content)
    if named != part:
        named.unlink()
    shutil.copy(folder / "00.jpg", folder / "new.jpg")
    assert append() == 0
    after = read_rows(tmp_path / "out")
    assert after.keys() - before.keys() == {str(folder / "new.jpg")}
    assert main(["inspect", str(tmp_path / "out"), "--verify"]) == 0


def test_an_append_does_not_go_by_a_damaged_record(append, tmp_path, capsys):
    assert append() == 0
    run = tmp_path / "out" / "run.json"
    content = run.read_text()
    run.write_text(content.replace('"known": 0', '"known": 1'))
    assert append() in (2, 3)
    error = capsys.readouterr().err
    assert "run.json is damaged: its SHA-256 is not the one in _SUCCESS" in error
    run.write_text(content)
    assert append() == 0


def test_what_format_1_did_not_note_is_named_when_it_cannot_be_read(append, tmp_path, capsys):
    assert append() == 0
    old_formats.age(tmp_path / "out")
    part = tmp_path / "out" / "_inputs" / "part-00000-of-00001.parquet"
    content = part.read_bytes()
    part.write_bytes(content[:4] + bytes(40) + content[44:])  # The footer stays.
    assert append() == 3
    error = capsys.readouterr().err
    assert f"{part} is damaged or cannot be read" in error
    assert "restore it" in error
    part.write_bytes(content)
    assert append() == 0


def test_no_damage_makes_an_append_double_rows_or_end_with_a_traceback(
    append, folder, tmp_path, capsys
):
    assert append() == 0
    whole = tmp_path / "whole"
    shutil.copytree(tmp_path / "out", whole)
    shutil.copy(folder / "00.jpg", folder / "new.jpg")
    seed = random.Random(0)
    for table in ("_inputs", "failures", "run.json", "_SUCCESS"):
        for change in (damages.flip, damages.flip, damages.cut, damages.swap):
            shutil.rmtree(tmp_path / "out")
            shutil.copytree(whole, tmp_path / "out")
            place = tmp_path / "out" / table
            file = next(place.iterdir()) if place.is_dir() else place
            before = file.read_bytes()
            file.write_bytes(change(before, seed))
            capsys.readouterr()
            code = append()
            if file.read_bytes() != before:
                assert code in (2, 3), (table, change)
            assert "Traceback" not in capsys.readouterr().err


@pytest.fixture
def large(tmp_path) -> Path:
    """A folder of two images of which resizers make other bytes."""
    (tmp_path / "large").mkdir()
    for seed in range(2):
        samples.make_image(seed, 500, 375).save(tmp_path / "large" / f"{seed}.png")
    return tmp_path / "large"


def lack_simd(monkeypatch) -> None:
    """Let this machine have nothing but Pillow."""
    monkeypatch.setattr(simd, "is_available", lambda: False)


@needs_simd
@pytest.mark.parametrize("format_", [1, 3])
def test_what_pillow_has_resized_is_appended_to_with_pillow(
    extract, large, tmp_path, monkeypatch, format_
):
    with monkeypatch.context() as patch:
        lack_simd(patch)
        assert extract("--input", large) == 0
    assert extract("--input", large, output=tmp_path / "other") == 0
    if format_ == 1:
        old_formats.age(tmp_path / "out")
    copies = tmp_path / "copies"
    shutil.copytree(large, copies)
    assert extract("--input", copies, "--append") == 0
    run = open_dataset(str(tmp_path / "out")).run
    assert [each.settings.resizer for each in (run, *run.appended)] == ["pillow", "pillow"]
    assert "cykooz-resizer" not in run.latest.versions
    rows, other = read_rows(tmp_path / "out"), read_rows(tmp_path / "other")
    for name in ("0.png", "1.png"):
        old, new = str(large / name), str(copies / name)
        assert rows[new]["embedding"] == rows[old]["embedding"] != other[old]["embedding"]
    run = open_dataset(str(tmp_path / "other")).run
    assert run.settings.resizer == "simd"
    assert "cykooz-resizer" in run.versions


@needs_simd
def test_what_simd_has_resized_is_not_appended_to_without(
    extract, large, tmp_path, monkeypatch, capsys
):
    assert extract("--input", large / "0.png") == 0
    before = hash_files(tmp_path / "out")
    lack_simd(monkeypatch)
    assert extract("--input", large, "--append") == 2
    error = capsys.readouterr().err
    assert "made with other settings: resizer is simd, not pillow; install cykooz-resizer" in error
    assert hash_files(tmp_path / "out") == before
    assert extract("--input", large, "--overwrite") == 0
    assert open_dataset(str(tmp_path / "out")).settings.resizer == "pillow"


@needs_simd
def test_an_unfinished_run_goes_on_with_what_it_began_with(
    extract, large, tmp_path, monkeypatch, capsys
):
    with monkeypatch.context() as patch:
        lack_simd(patch)
        assert extract("--input", large, output=tmp_path / "whole") == 0
        patch.setattr("beamvec.pipeline.run.launch.run_pipeline", fail)
        assert extract("--input", large) == 3
    capsys.readouterr()
    assert extract("--input", large) == 0
    assert open_dataset(str(tmp_path / "out")).settings.resizer == "pillow"
    assert hash_files(tmp_path / "out") == hash_files(tmp_path / "whole")


def test_after_an_append_a_plain_run_names_append(append, extract, folder, capsys):
    assert append() == 0
    samples.make_image(77).save(folder / "new.png")
    assert append() == 0
    capsys.readouterr()
    assert extract("--input", folder, "--max-failure-ratio", "1") == 2
    told = capsys.readouterr().err
    assert (
        "was appended to: 13 images in all, 13 in this input; --append adds what it lacks" in told
    )
