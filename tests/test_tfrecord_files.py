"""Images in TFRecord files."""

from __future__ import annotations

import re

import pytest
from made_containers import make_contents, read_all, read_refs, write_tfrecord

from beamvec.errors import InputError
from beamvec.transforms.inference.model_files import import_tensorflow
from beamvec.transforms.inputs.tfrecord_files import USUAL_FEATURES, TFRecordFiles


@pytest.mark.parametrize("feature", [*USUAL_FEATURES, "picture"])
def test_tensorflow_s_own_records_are_read(tmp_path, feature):
    contents = make_contents()
    path = write_tfrecord(tmp_path / "a.tfrecord", contents, feature)
    source = TFRecordFiles((str(path),), image_feature="picture" if feature == "picture" else "")
    wanted = {f"{path}#{i:010}": content for i, content in enumerate(contents.values())}
    assert read_all(source) == (wanted, {})
    refs = list(source.list_images())
    assert read_refs(source, refs, 10)[0] == {uri: data[:10] for uri, data in wanted.items()}
    with pytest.raises(InputError, match=r"record 0: no feature other with bytes \(its features: "):
        TFRecordFiles((str(path),), image_feature="other").check()


def test_a_damaged_record_costs_itself(tmp_path):
    path = write_tfrecord(tmp_path / "a.tfrecord", {str(i): bytes([i]) * 999 for i in range(4)})
    data = bytearray(path.read_bytes())
    data[len(data) // 4 + 300] ^= 1
    path.write_bytes(data)
    contents, errors = read_all(TFRecordFiles((str(path),)))
    assert sorted(contents) == [f"{path}#{i:010}" for i in (0, 2, 3)]
    told = f"the record at byte {len(data) // 4 + 12:,} has another checksum"
    assert [str(error) for error in errors.values()] == [told]


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda data: data[:-1], "is cut: the file ends at byte"),
        (lambda data: data + b"more", "no record begins at byte"),
        (lambda data: bytes([data[0] ^ 1]) + data[1:], "no record begins at byte 0"),
    ],
)
def test_what_cannot_be_listed_to_its_end_is_an_error(tmp_path, damage, told):
    path = write_tfrecord(tmp_path / "a.tfrecord", make_contents())
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=rf"a\.tfrecord` is damaged: .*{re.escape(told)}"):
        list(TFRecordFiles((str(path),)).list_images())


def test_records_without_an_image_are_failures(tmp_path):
    tf = import_tensorflow()
    path = write_tfrecord(tmp_path / "a.tfrecord", {"0": b"image"})
    with tf.io.TFRecordWriter(str(tmp_path / "b.tfrecord")) as writer:
        writer.write(tf.train.Example().SerializeToString())
        writer.write(b"\xff no example")
    path.write_bytes(path.read_bytes() + (tmp_path / "b.tfrecord").read_bytes())
    contents, errors = read_all(TFRecordFiles((str(path),)))
    assert list(contents.values()) == [b"image"]
    assert "(its features: none)" in str(errors[f"{path}#0000000001"])
    assert "is no tf.train.Example" in str(errors[f"{path}#0000000002"])


def test_compressed_and_empty_ones(tmp_path):
    (tmp_path / "a.tfrecord.gz").write_bytes(b"")
    with pytest.raises(InputError, match="is compressed as a whole"):
        TFRecordFiles((str(tmp_path / "a.tfrecord.gz"),)).check()
    (tmp_path / "a.tfrecord").write_bytes(b"")
    with pytest.raises(InputError, match="no images in it"):
        TFRecordFiles((str(tmp_path / "a.tfrecord"),)).check()
