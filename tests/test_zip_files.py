"""Images in zip files."""

from __future__ import annotations

import re
import warnings
import zipfile

import pytest
from made_containers import make_contents, read_all, read_refs, write_zip

from beamvec.errors import InputError
from beamvec.transforms.inputs.zip_files import ZipFiles


def test_members_are_read_and_checked(tmp_path):
    contents = {f"d/{name}": content for name, content in make_contents().items()}
    path = write_zip(tmp_path / "a.zip", contents | {"__MACOSX/d/._0.jpg": b"", "notes.txt": b"t"})
    source = ZipFiles((str(path),)).check()
    refs = list(source.list_images())
    assert [ref.size_bytes for ref in refs] == [len(content) for content in contents.values()]
    wanted = {f"{path}#{name}": content for name, content in contents.items()}
    assert read_refs(source, refs[::-1]) == (wanted, {})
    first = read_refs(source, refs, 10)[0]
    assert first == {uri: content[:10] for uri, content in wanted.items()}


def test_damage_costs_a_member(tmp_path):
    path = write_zip(tmp_path / "a.zip", {f"{i}.jpg": bytes([i]) * 5000 for i in range(4)})
    data = bytearray(path.read_bytes())
    starts = [match.start() for match in re.finditer(b"PK\x03\x04", data)]
    data[starts[0] + 60] ^= 1
    data[starts[1] + 40] ^= 255
    data[starts[2]] ^= 1
    path.write_bytes(data)
    contents, errors = read_all(ZipFiles((str(path),)))
    assert contents == {f"{path}#3.jpg": bytes([3]) * 5000}
    told = [str(errors[f"{path}#{i}.jpg"]) for i in range(3)]
    assert told[0] == "the member at byte 0 has another checksum (CRC-32)"
    assert f"the member at byte {starts[1]:,} " in told[1]
    assert told[2] == f"no member begins at byte {starts[2]:,}"


def test_without_a_directory_nothing_can_be_told(tmp_path):
    path = write_zip(tmp_path / "a.zip", make_contents())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"a\.zip` is damaged: no directory at its end"):
        ZipFiles((str(path),)).check()


def test_other_methods_and_encryption_are_failures(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.jpg", b"a" * 99, zipfile.ZIP_LZMA)
        archive.writestr("b.jpg", b"b" * 99)
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02")
    data[at + 8] |= 1
    path.write_bytes(data)
    contents, errors = read_all(ZipFiles((str(path),)))
    assert contents == {}
    assert str(errors[f"{path}#a.jpg"]).startswith("it is packed by method 14")
    assert str(errors[f"{path}#b.jpg"]) == "it is encrypted"


def test_the_last_of_equal_names_counts(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for content in (b"old", b"new"):
            archive.writestr("a.jpg", content)
    source = ZipFiles((str(path),)).check()
    refs = list(source.list_images())
    assert refs[0] == refs[1]
    assert read_refs(source, refs[:1])[0] == {f"{path}#a.jpg": b"new"}


def test_a_bomb_is_not_unpacked_beyond_the_limit(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jpg", bytes(50 << 20))
    data = path.read_bytes()
    (ref,) = ZipFiles((str(path),)).list_images()
    assert ref.size_bytes == 50 << 20
    assert len(read_all(ZipFiles((str(path),)), None, 1000)[0][ref.uri]) == 1000
    # A directory that says less than there is.
    at = data.rindex(b"PK\x01\x02")
    path.write_bytes(data[: at + 24] + (10).to_bytes(4, "little") + data[at + 28 :])
    assert "takes" in str(read_all(ZipFiles((str(path),)))[1][ref.uri]) or "checksum" in str(
        read_all(ZipFiles((str(path),)))[1][ref.uri]
    )
