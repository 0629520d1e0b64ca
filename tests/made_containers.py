"""The same images as files of their own and in containers of every kind."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

import samples
from beamvec.transforms.files.readers import RunReader
from beamvec.transforms.inference.model_files import import_tensorflow

HF_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def make_contents(count: int = 12) -> dict[str, bytes]:
    """Return images in several formats by name, the third and the last of them broken."""
    contents = {}
    for seed in range(count):
        suffix, format_ = [("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP")][seed % 3]
        contents[f"{seed:04d}.{suffix}"] = samples.encode(samples.make_image(seed), format_)
    for name in (sorted(contents)[2], sorted(contents)[-1]):
        contents[name] = contents[name][: len(contents[name]) // 3]
    return contents


def write_folder(folder: Path, contents: Mapping[str, bytes]) -> Path:
    """Write each image as a file."""
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def write_parquet(path: Path, contents: Mapping[str, bytes], rows_per_group: int = 5) -> Path:
    """Write images as Hugging Face does, with a label beside each."""
    images = [{"bytes": content, "path": name} for name, content in contents.items()]
    columns = {"image": pa.array(images, HF_IMAGE), "label": pa.array(range(len(images)))}
    pq.write_table(pa.table(columns), path, row_group_size=rows_per_group)
    return path


def write_tar(path: Path, contents: Mapping[str, bytes]) -> Path:
    """Write members in the order of `contents`."""
    with tarfile.open(path, "w") as tar:
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def write_zip(path: Path, contents: Mapping[str, bytes]) -> Path:
    """Write members in the order of `contents`, every second one deflated."""
    with zipfile.ZipFile(path, "w") as archive:
        for i, (name, content) in enumerate(contents.items()):
            archive.writestr(name, content, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)[i % 2])
    return path


def write_tfrecord(path: Path, contents: Mapping[str, bytes], key: str = "image/encoded") -> Path:
    """Write examples with TensorFlow's own writer."""
    tf = import_tensorflow()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for number, content in enumerate(contents.values()):
            features = {
                "image/class/label": tf.train.Feature(int64_list={"value": [number]}),
                key: tf.train.Feature(bytes_list={"value": [content]}),
            }
            example = tf.train.Example(features={"feature": features})
            writer.write(example.SerializeToString())
    return path


WRITERS = {
    "parquet": write_parquet,
    "tar": write_tar,
    "tfrecord": write_tfrecord,
    "zip": write_zip,
}
"""What writes containers, by their extension."""


def read_all(source, refs=None, limit_bytes=None):
    """Return what a source's images hold by uri, and what could not be read."""
    source = source.check()
    assert isinstance(source.reader, RunReader)
    return read_refs(source, list(source.list_images()) if refs is None else refs, limit_bytes)


def read_refs(source, refs, limit_bytes=None):
    results = [(refs[i].uri, result) for i, result in source.reader.read_run(refs, limit_bytes)]
    assert len(results) == len(refs)
    return (
        {uri: r.data for uri, r in results if not r.error},
        {uri: r.error for uri, r in results if r.error},
    )
