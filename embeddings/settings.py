"""What decides whether chunks and datasets belong together: `Settings`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from beamvec.model_spec import ModelSpec

_CONVENTION = ModelSpec()


@dataclass(frozen=True)
class Settings:
    """Every setting that changes a byte of a dataset.

    Attributes:
        fingerprint: SHA-256, in hex, of the model's files.
        said: what is said of the model, beside it and for the run; what it tells itself is not in
            it, but follows from the fingerprint.
        precision: what the model computed in.
        engine: what ran it.
        rows_per_shard: rows in a part, on average.
        columns: the user's own columns and their types, by name.
        format_version: see `beamvec.embeddings.schema.FORMAT_VERSION`.
        max_file_size: bytes above which a file is a failure.
        max_pixels: pixels above which an image is a failure.
        resizer: what resized the images, `pillow` or `simd`; see `decoding.resize.Resizer`. Before
            it was noted, there was nothing but Pillow.
        int8: SHA-256, in hex, of the file of the quantised model; empty but for precision int8.
        xla: `on` where XLA compiled the model, else `off`.
    """

    fingerprint: str
    said: ModelSpec = _CONVENTION
    precision: str = "float32"
    engine: str = "tensorflow"
    rows_per_shard: int = 50_000
    columns: dict[str, str] = field(default_factory=dict)
    format_version: int = 1
    max_file_size: int = 512 << 20
    max_pixels: int = 178_956_970
    resizer: str = "pillow"
    int8: str = ""
    xla: str = "off"

    def differences(self, wanted: Settings) -> str:
        """Say in what these settings are not those that are wanted; formats do not count.

        >>> crop = ModelSpec(resize="crop")
        >>> Settings("f" * 64).differences(Settings("f" * 64, crop, format_version=2))
        'resize is stretch, not crop'
        """
        pairs = [
            (item.name, getattr(one, item.name), getattr(other, item.name))
            for one, other in ((self, wanted), (self.said, wanted.said))
            for item in dataclasses.fields(one)
            if item.name not in ("format_version", "said")
            # A run that is yet to quantise has none.
            and (item.name != "int8" or (self.int8 and wanted.int8))
        ]
        return ", ".join(
            f"{'model' if name == 'fingerprint' else name} is {found}, not {other}"
            for name, found, other in pairs
            if found != other
        )
