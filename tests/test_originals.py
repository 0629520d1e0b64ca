"""The images of a dataset, found again from any folder."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import web_server

import samples
from beamvec.embeddings import open_dataset
from beamvec.pipeline.originals import AT_URLS, GONE, LATE, Originals, UnfitError
from beamvec.transforms.files.urls import UrlSettings


@pytest.fixture
def content():
    """Three small images, by name."""
    return {f"{i}.png": samples.encode(samples.make_image(i), "PNG") for i in range(3)}


@pytest.fixture
def see(tmp_path, monkeypatch):
    """Read all images of the dataset in tmp_path / "out" from another folder, by name."""

    def read(**options):
        (tmp_path / "else").mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / "else")
        dataset = open_dataset(tmp_path / "out")
        seen = Originals(dataset, **options).see(dataset.read_uris(), lambda _, data: data)
        made = {uri.rpartition("/")[2].rpartition("#")[2]: data for uri, data in seen.made.items()}
        return made, seen.missed

    return read


def write_files(folder, content):
    folder.mkdir()
    for name, data in content.items():
        (folder / name).write_bytes(data)


@pytest.mark.parametrize("written", ["pics/{}", "{folder}/pics/{}", "file://{folder}/pics/{}"])
@pytest.mark.parametrize("kind", ["manifest", "list"])
def test_what_lists_and_manifests_name(kind, written, content, extract, see, tmp_path, monkeypatch):
    write_files(tmp_path / "pics", content)
    monkeypatch.chdir(tmp_path)
    uris = [written.format(name, folder=tmp_path) for name in content]
    (tmp_path / "in.csv").write_text("\n".join(["uri"] * (kind == "manifest") + uris))
    flag = {"manifest": "--manifest", "list": "--input-list"}[kind]
    assert extract(flag, "in.csv") == 0
    assert see() == (content, {})


def test_ids_and_a_folder_of_ones_own(content, extract, see, tmp_path, monkeypatch):
    write_files(tmp_path / "pics", content)
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"{name}-id,{name}\n" for name in content)
    (tmp_path / "in.csv").write_text(f"key,at\n{rows}")
    flags = ["--uri-column", "at", "--id-column", "key", "--base-folder", "pics"]
    assert extract("--manifest", "in.csv", *flags) == 0
    made, missed = see()
    assert (made, missed) == ({f"{name}-id": data for name, data in content.items()}, {})
    (tmp_path / "in.csv").unlink()
    assert set(see()[1].values()) == {GONE}


def write_tar(path, content):
    with tarfile.open(path, "w") as archive:
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def write_zip(path, content):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)


def write_parquet(path, content):
    pq.write_table(pa.table({"pixels": list(content.values())}), path)


@pytest.mark.parametrize(
    ("flags", "write", "name"),
    [
        (["--input-tar"], write_tar, "in.tar"),
        (["--input-zip"], write_zip, "in.zip"),
        (["--image-column", "pixels", "--input-parquet"], write_parquet, "in.parquet"),
    ],
)
def test_what_is_in_containers(flags, write, name, content, extract, see, tmp_path, monkeypatch):
    write(tmp_path / name, content)
    monkeypatch.chdir(tmp_path)
    assert extract(*flags, name) == 0
    made, missed = see()
    assert (sorted(made.values()), missed) == (sorted(content.values()), {})
    assert set(see(within_s=-1.0)[1].values()) == {LATE}
    (tmp_path / name).unlink()
    assert set(see()[1].values()) == {GONE}


def test_what_several_runs_have_added(content, extract, see, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_tar(tmp_path / "in.tar", {"0.png": content["0.png"]})
    write_files(tmp_path / "pics", {"1.png": content["1.png"]})
    (tmp_path / "in.txt").write_text("pics/1.png")
    assert extract("--input-tar", "in.tar") == 0
    assert extract("--input-list", "in.txt", "--append") == 0
    made, missed = see()
    assert (made, missed) == ({name: content[name] for name in ("0.png", "1.png")}, {})


def test_urls_are_fetched_for_those_who_want_that(content, extract, see, tmp_path):
    write_files(tmp_path / "pics", content)
    with web_server.serve(folder=tmp_path / "pics") as server:
        uris = [server.url(name) for name in content]
        (tmp_path / "in.txt").write_text("\n".join(uris))
        assert extract("--input-list", tmp_path / "in.txt", "--allow-private-hosts") == 0
        assert set(see()[1].values()) == {AT_URLS}
        # What the run was allowed says nothing of who looks on.
        refused = set(see(urls=UrlSettings())[1].values())
        assert all("not readable" in reason for reason in refused)
        assert see(urls=UrlSettings(allow_private_hosts=True)) == (content, {})


def test_what_nothing_can_be_made_of_is_told(content, tmp_path):
    write_files(tmp_path / "pics", content)
    uris = [str(tmp_path / "pics" / name) for name in content]

    def make(uri, _):
        if uri.endswith("1.png"):
            raise UnfitError("odd")
        return uri

    seen = Originals().see(uris, make)
    assert (seen.made, seen.missed) == (
        {uri: uri for uri in (uris[0], uris[2])},
        {uris[1]: "odd"},
    )


def test_the_record_names_input_and_model_in_full(
    content, extract, model_path, tmp_path, monkeypatch
):
    write_files(tmp_path / "pics", content)
    (tmp_path / "model").symlink_to(model_path)
    monkeypatch.chdir(tmp_path)
    assert extract("--input", "pics", model="model") == 0
    run = json.loads((tmp_path / "out/run.json").read_text())
    assert (run["model"], run["input"]["names"]) == (
        str(tmp_path / "model"),
        [str(tmp_path / "pics")],
    )


def test_files_of_their_own_are_located_and_members_are_not(
    content, extract, dataset, tmp_path, monkeypatch
):
    write_files(tmp_path / "pics", content)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.csv").write_text("\n".join(["uri", *(f"pics/{name}" for name in content)]))
    assert extract("--manifest", "in.csv") == 0
    monkeypatch.chdir("/")
    uris = dataset().read_uris()
    paths = Originals(dataset()).locate([*uris, "pics/nowhere.png", "s3://bucket/a.png"])
    assert paths == {uri: str(tmp_path / uri) for uri in uris}
    with tarfile.open(tmp_path / "in.tar", "w") as tar:
        tar.add(tmp_path / "pics", "pics")
    assert extract("--input-tar", tmp_path / "in.tar", output=tmp_path / "tar") == 0
    of_tar = open_dataset(tmp_path / "tar")
    assert Originals(of_tar).locate(of_tar.read_uris()) == {}
