"""Whole runs over URLs: the same as of files, whatever hosts do, and ids for URLs that change."""

from __future__ import annotations

import json
import re
import signal
import time
from pathlib import Path

import children
import numpy as np
import pytest
import web_server
from conftest import hash_files
from web_server import content, redirect

import beamvec
from beamvec.embeddings import open_dataset
from beamvec.pipeline.commands.main import main

LENIENT = ("--max-failure-ratio", "1")
LOOPBACK = ("--allow-private-hosts", *LENIENT)


@pytest.fixture
def server(photos):
    with web_server.serve(folder=photos) as server:
        yield server


def write_urls(path: Path, server, names, query: str = "") -> Path:
    path.write_text("".join(f"{server.url(name)}{query}\n" for name in names))
    return path


def image_names(photos: Path) -> list[str]:
    files = (file for file in photos.rglob("*") if file.suffix not in ("", ".txt"))
    return sorted(str(file.relative_to(photos)) for file in files)


def read_rows(dataset) -> dict[str, tuple]:
    """Return sha256 and vector of each image, by the end of its uri."""
    table = dataset.read_embeddings()
    names = ["/".join(uri.rsplit("/", 2)[-2:]) for uri in table["uri"].to_pylist()]
    vectors = map(tuple, table["embedding"].to_pylist())
    return dict(zip(names, zip(table["sha256"].to_pylist(), vectors, strict=True), strict=True))


def test_a_list_of_urls_gives_what_the_folder_gives(extract, photos, tmp_path, server):
    urls = write_urls(tmp_path / "urls.txt", server, image_names(photos), "?signature=secret")
    assert extract("--input", photos, *LENIENT, output=tmp_path / "folder") == 0
    assert extract("--input-list", urls, *LOOPBACK, output=tmp_path / "web") == 0
    folder, web = (open_dataset(str(tmp_path / name)) for name in ("folder", "web"))
    by_url = {name.partition("?")[0]: row for name, row in read_rows(web).items()}
    assert by_url == read_rows(folder)
    assert len(by_url) == 21
    assert web.run.counts == folder.run.counts
    assert "secret" not in (tmp_path / "web" / "run.json").read_text()
    failures = web.read_failures()
    assert "secret" not in str(failures["message"].to_pylist())
    assert [row["stage"] for row in failures.to_pylist()] == ["decode", "decode"]


def test_without_the_flag_nobody_is_connected_to(
    extract, dataset, photos, tmp_path, server, capsys
):
    urls = write_urls(tmp_path / "urls.txt", server, image_names(photos))
    assert extract("--input-list", urls) == 1
    assert "23 of 23 images failed" in capsys.readouterr().err
    assert set(dataset().read_failures()["error_type"].to_pylist()) == {"ForbiddenAddressError"}
    assert server.connections == 0


def test_hostile_hosts_cost_their_own_rows_only(extract, dataset, photos, tmp_path, server):
    picture = (photos / "group0" / "00.jpg").read_bytes()
    hostile = {
        "endless.jpg": web_server.endless,
        "cut.jpg": web_server.cut(picture, len(picture) + 9),
        "longer.jpg": web_server.cut(picture, len(picture) - 9),
        "drip.jpg": web_server.drip,
        "header.jpg": web_server.drip_header,
        "loop.jpg": redirect("/loop.jpg"),
        "metadata.jpg": redirect("file:///etc/hostname"),
        "robots.jpg": content(picture, X_Robots_Tag="noai, noimageai"),
        "bomb.jpg": content(web_server.bomb(100_000_000), Content_Encoding="gzip"),
        "page.jpg": content(b"<!DOCTYPE html><html><body>log in</body></html>"),
        "gone.jpg": content(b"", 404),
        "nohttp.jpg": web_server.raw(b"220 mail ready\r\n"),
    }
    server.answers.update({f"/{name}": answer for name, answer in hostile.items()})
    server.answers["/busy.jpg"] = web_server.in_turn(content(b"", 503), content(picture))
    good = ["group0/00.jpg", "busy.jpg"]
    urls = write_urls(tmp_path / "urls.txt", server, [*hostile, *good])
    flags = ["--max-file-size", "2MB", "--fetch-timeout", "1.5"]
    assert extract("--input-list", urls, *flags, *LOOPBACK) == 0
    rows = dataset().read_failures().to_pylist()
    told = {row["uri"].rpartition("/")[2]: row["message"] for row in rows}
    assert told.keys() == hostile.keys()
    assert dataset().run.counts.embeddings == len(good)
    expected = {
        "endless.jpg": "more than the 2,000,000 bytes|takes longer",
        "cut.jpg": "it is cut",
        "longer.jpg": "more bytes come than Content-Length says",
        "drip.jpg": "takes longer than the 1.5 s",
        "header.jpg": "takes longer than the 1.5 s",
        "loop.jpg": "redirected more than 10 times",
        "metadata.jpg": "leads to file://",
        "robots.jpg": "X-Robots-Tag noai",
        "bomb.jpg": "more than",
        "gone.jpg": "the host answers 404",
        "nohttp.jpg": "no HTTP",
    }
    for name, pattern in expected.items():
        assert re.search(pattern, told[name]), (name, told[name])


def test_a_killed_run_over_urls_goes_on(extract, model_path, photos, tmp_path, server):
    urls = write_urls(tmp_path / "urls.txt", server, image_names(photos))
    flags = ["--input-list", str(urls), *LOOPBACK, "--chunk-size", "2"]
    assert extract(*flags, output=tmp_path / "whole") == 0
    server.latency_s = 0.1
    output, log = tmp_path / "out", tmp_path / "log.txt"
    slowly = [*flags, "--connections-per-host", "1", "--direct_num_workers=1"]
    command = ["extract", "--model", model_path, "--output", str(output), *slowly]
    run = children.start(main, command, log=log)
    until = time.monotonic() + 60
    while len(list(output.glob("chunks/*.parquet"))) < 3 and time.monotonic() < until:
        time.sleep(0.02)
    run.kill()
    assert children.wait(run, log) == -signal.SIGKILL
    server.latency_s = 0
    assert extract(*flags) == 0
    assert hash_files(output) == hash_files(tmp_path / "whole")
    assert json.loads((output / "run.json").read_text())["counts"]["taken_over"] >= 2


def test_urls_are_appended_and_failures_tried_again(extract, dataset, photos, tmp_path, server):
    names = image_names(photos)
    server.answers["/group0/00.jpg"] = content(b"", 404)
    assert extract("--input-list", write_urls(tmp_path / "a", server, names[:8]), *LOOPBACK) == 0
    before = dataset().run.counts
    del server.answers["/group0/00.jpg"]
    server.seen.clear()
    urls = write_urls(tmp_path / "b", server, names)
    assert extract("--input-list", urls, "--append", *LOOPBACK) == 0
    after = dataset().run.counts
    assert (after.embeddings, after.failures) == (21, 2)
    # What failed before, and what is new; the model's check at the start may look at some too.
    asked = {path.lstrip("/") for path in server.seen}
    assert {"group0/00.jpg", *names[8:]} <= asked
    assert before.embeddings == 8 - before.failures


def write_manifest(path: Path, server, names, signature: str) -> Path:
    rows = (f"{i:03d},{server.url(name)}?signature={signature},{i}" for i, name in enumerate(names))
    path.write_text("\n".join(["key,url,count", *rows]))
    return path


BY_ID = ("--uri-column", "url", "--id-column", "key")


def test_ids_stand_for_urls_that_change(extract, dataset, photos, tmp_path, server):
    names = [name for name in image_names(photos) if name.startswith("group0/")]
    first = write_manifest(tmp_path / "m.csv", server, names, "monday")
    assert extract("--manifest", first, *BY_ID, *LOOPBACK) == 0
    made = dataset().read_embeddings()
    assert sorted(made["uri"].to_pylist()) == [f"{i:03d}" for i in range(len(names))]
    assert made.sort_by("uri")["count"].to_pylist() == list(range(len(names)))
    hashes = hash_files(tmp_path / "out")
    assert "monday" not in str(made.to_pylist())
    second = write_manifest(tmp_path / "m.csv", server, names, "tuesday")
    other = tmp_path / "other"
    assert extract("--manifest", second, *BY_ID, *LOOPBACK, output=other) == 0
    assert hash_files(other) == hashes
    server.seen.clear()
    assert extract("--manifest", second, *BY_ID, *LOOPBACK, "--append") == 0
    assert dataset().run.latest.counts.embeddings == 0


def test_ids_work_for_files_too(model_path, photos, tmp_path):
    files = sorted((photos / "group0").glob("*.jpg"))
    rows = [f"{file},{i}" for i, file in enumerate(files)]
    (tmp_path / "m.csv").write_text("\n".join(["path,uri", *rows]))
    beamvec.extract(
        manifest=tmp_path / "m.csv",
        uri_column="path",
        id_column="uri",
        output=tmp_path / "out",
        model=model_path,
    )
    beamvec.extract(photos / "group0", output=tmp_path / "folder", model=model_path)
    by_id = beamvec.open_dataset(tmp_path / "out")
    assert sorted(by_id.read_uris()) == sorted(str(i) for i in range(len(files)))
    folder = beamvec.open_dataset(tmp_path / "folder")
    named = [by_id.find_rows(map(str, range(len(files)))), folder.find_rows(map(str, files))]
    vectors = [made.read_vectors()[rows] for made, rows in zip((by_id, folder), named, strict=True)]
    np.testing.assert_array_equal(*vectors)


def test_what_failed_and_is_named_no_more_is_nowhere(extract, dataset, tmp_path, server):
    names = ["group0/00.jpg", "group0/06.jpg", "gone.jpg"]
    first = write_manifest(tmp_path / "m.csv", server, names, "x")
    assert extract("--manifest", first, *BY_ID, *LOOPBACK) == 0
    second = write_manifest(tmp_path / "m.csv", server, names[:2], "x")
    assert extract("--manifest", second, *BY_ID, *LOOPBACK, "--append") == 0
    [failure] = dataset().read_failures().to_pylist()
    assert failure["uri"] == "002"
    assert "the input no longer tells where this image is" in failure["message"]


@pytest.mark.parametrize(
    ("text", "column", "told"),
    [
        ("uri,key\na.jpg,1\nb.jpg,1\n", "key", "the id '1' in column 'key' stands in several rows"),
        ("uri,key\na.jpg,1\nb.jpg,\n", "key", "row 2 has no 'key'"),
        (
            "uri,key\na.jpg,1\n",
            "id",
            "has no column 'id' (separated by commas, its columns: uri, key)",
        ),
        ("uri,key,key\na.jpg,1,2\n", "key", "has several columns 'key'"),
        ("uri,key\na.jpg,1\n", "uri", "`id_column` and `uri_column` both name 'uri'"),
    ],
)
def test_ids_have_to_name_one_image_each(extract, tmp_path, capsys, text, column, told):
    path = tmp_path / "m.csv"
    path.write_text(text)
    assert extract("--manifest", path, "--id-column", column) == 2
    error = capsys.readouterr().err
    assert told.replace("`id_column` and `uri_column`", "--id-column and --uri-column") in error
    assert error.count("\n") == 1


def test_a_url_elsewhere_says_where_it_belongs(extract, tmp_path, capsys):
    for flag in ("--input", "--input-list", "--manifest"):
        assert extract(flag, "https://host.example/a.csv") == 2
        assert (
            "is fetched for images that --input-list or --manifest names" in capsys.readouterr().err
        )
    assert not (tmp_path / "out").exists()


def test_settings_out_of_range_end_with_2(extract, tmp_path, capsys):
    urls = tmp_path / "urls.txt"
    urls.write_text("http://127.0.0.1:9/a.jpg\n")
    for flag, value in {"--user-agent": "a\nb", "--connections-per-host": "0"}.items():
        assert extract("--input-list", urls, flag, value) == 2
        assert flag in capsys.readouterr().err


def test_doctor_fetches_the_first_image(tmp_path, server, capsys):
    urls = write_urls(tmp_path / "urls.txt", server, ["group0/00.jpg"])
    main(["doctor", "--input-list", str(urls), "--allow-private-hosts"])
    assert re.search(r"the first image, http://\S+00.jpg, .* was read in", capsys.readouterr().out)
