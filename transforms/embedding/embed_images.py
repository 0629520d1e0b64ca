"""Embedding images inside anybody's Beam pipeline: `EmbedImages`."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.pipeline import AppliedPTransform, PipelineVisitor
from apache_beam.pvalue import PCollection, TaggedOutput
from apache_beam.transforms.error_handling import ErrorHandler
from apache_beam.typehints import row_type

from beamvec.embeddings import layout, schema
from beamvec.errors import ArgumentError
from beamvec.model_spec import Resize
from beamvec.transforms.decoding.decode import READ_THREADS, decode_chunk
from beamvec.transforms.decoding.pool import SharedPool
from beamvec.transforms.decoding.resize import (
    Resizer,
    choose_resizer,
    make_resizing,
    require_resizer,
)
from beamvec.transforms.embedding.elements import Shape, find_shape
from beamvec.transforms.embedding.int8 import prepare_int8, require_images
from beamvec.transforms.inference.config import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_MODEL,
    ModelConfig,
    choose_device,
    make_given,
)
from beamvec.transforms.inference.engine import Precision, Xla
from beamvec.transforms.inference.features import embed_chunk
from beamvec.transforms.inference.model import load_model
from beamvec.transforms.records.chunks import Chunk
from beamvec.transforms.records.images import Failure, ImageInfo

EMBEDDINGS = layout.EMBEDDINGS_DIR
FAILURES = layout.FAILURES_DIR

_BATCHES = 4
"""Batches of the model that are decoded together, so that all cores have work."""

_PYTHON_TYPES = {
    pa.string(): str,
    pa.int32(): np.int32,
    pa.int64(): np.int64,
    pa.float64(): float,
}


class EmbedImages(beam.PTransform[Any, Any]):
    """Embed images in a pipeline of your own, with the decoders and the model of `beamvec.extract`.

    The input's elements may be uris (str), tuples of a key and a uri, tuples of a key and the bytes
    of an image file, or rows with a uri and other columns. What it is must be known when the
    pipeline is built: by a type hint or a schema.

    Applying it gives a dict of two PCollections of rows with a schema:

    - `embeddings`: what rides along of the input (`key`, or the other columns), then `uri` (not
      where the input has bytes), `embedding` (a list of D float32), `sha256` (hex, of the file),
      `width`, `height` (as displayed), `format`, `size_bytes`;
    - `failures`: what rides along, `uri`, `stage` (read, decode or infer), `error_type`, `message`,
      `size_bytes` (None where it is not known).

    Each element is one row of one of them, in no order. Whoever leaves the failures unused is told
    so when the pipeline is run; `with_error_handler` gives them to Beam's error handler instead,
    and makes the embeddings the only output.

    Args:
        model: see `beamvec.extract`, as for the others.
        spec: fields of `ModelSpec`, which go before what is said beside the model.
        resize: how images become square; None for what the model wants.
        precision: what the model computes in.
        calibration_images: what to quantise with for `int8`, which needs them here: a folder or a
            glob of some 350 images. The model is quantised when the transform is applied, into the
            cache of models (`TFHUB_CACHE_DIR`), which workers on other machines must share.
        allow_low_fidelity: whether to take an int8 model that is far from float32.
        engine: what runs it.
        batch_size: images in a call of the model.
        uri_column: the column of rows that holds the uri.
        require_gpu: whether to fail where the engine sees no GPU.
        trust_model: whether the model may read and write files.
        xla: whether XLA compiles it, `on` or `off`.

    Raises:
        ArgumentError: for an argument that cannot be, or an input that cannot be embedded.

    Example::

        uris = pipeline | beam.Create(["a.jpg", "b.jpg"])
        embedded = uris | EmbedImages(model="resnet_v2_50")
        embedded["embeddings"] | beam.io.WriteToParquet("embeddings")
        embedded["failures"] | beam.io.WriteToParquet("failures")
    """

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        *,
        spec: Mapping[str, Any] | None = None,
        resize: Resize | None = None,
        precision: Precision = "float32",
        calibration_images: str | None = None,
        allow_low_fidelity: bool = False,
        engine: str | None = None,
        batch_size: int = DEFAULT_BATCH_SIZE,
        uri_column: str = schema.URI,
        require_gpu: bool = False,
        trust_model: bool = False,
        xla: Xla = "off",
    ):
        super().__init__()
        device, given = choose_device(require_gpu), make_given(spec, resize=resize)
        self._config = ModelConfig(
            str(model), engine, precision, batch_size, device, given, trust_model, xla=xla
        ).require_settled()
        require_images(self._config, calibration_images)
        self._calibration_images = calibration_images
        self._allow_low_fidelity = allow_low_fidelity
        self._uri_column = uri_column
        self._handler: ErrorHandler | None = None

    def with_error_handler(self, handler: ErrorHandler | None) -> EmbedImages:
        """Let one of Beam's error handlers take the failures; None leaves them an output."""
        self._handler = handler
        return self

    def expand(self, images: PCollection[Any]) -> dict[str, PCollection[Any]] | PCollection[Any]:
        """Apply the transform."""
        shape = find_shape(images.element_type, self._uri_column)
        size = _BATCHES * self._config.batch_size
        config = prepare_int8(self._config, self._calibration_images, self._allow_low_fidelity)
        embed = beam.ParDo(_EmbedFn(config, shape, choose_resizer()))
        results = (
            images
            | "TakeSome" >> beam.BatchElements(min_batch_size=size, max_batch_size=size)
            | "Embed" >> embed.with_outputs(FAILURES, main=EMBEDDINGS)
        )
        embeddings, failures = (
            results[table] | f"{table.title()}Rows" >> _as_rows(shape, table)
            for table in (EMBEDDINGS, FAILURES)
        )
        if self._handler is not None:
            self._handler.add_error_pcollection(failures)
            return embeddings
        _FailuresAreUsed().add_error_pcollection(failures)
        return {EMBEDDINGS: embeddings, FAILURES: failures}


def _columns_of(shape: Shape, table: str) -> list[schema.Column]:
    """Return our own columns of a table, but for the uri of images that have none."""
    columns = schema.columns_of(table)
    return [column for column in columns if shape.uri or column.name != schema.URI]


def _as_rows(shape: Shape, table: str) -> Any:
    """Return what turns values into rows with a schema."""
    ours = [(column.name, _python_type(column, table)) for column in _columns_of(shape, table)]
    fields = [*shape.own, *ours]
    names = [name for name, _ in fields]
    to_row = beam.Map(lambda values: beam.Row(**dict(zip(names, values, strict=True))))
    return to_row.with_output_types(row_type.RowTypeConstraint.from_fields(fields))


def _python_type(column: schema.Column, table: str) -> Any:
    if column.name == schema.EMBEDDING:
        return typing.Sequence[np.float32]
    type_ = _PYTHON_TYPES[column.type]
    is_unknown = table == FAILURES and column.name == schema.SIZE_BYTES
    # Beam 2.70 does not take `type_ | None` here.
    return typing.Optional[type_] if is_unknown else type_  # noqa: UP045


class _EmbedFn(beam.DoFn):
    """Keeps the model, the decoders, and threads that read."""

    def __init__(self, config: ModelConfig, shape: Shape, resizer: Resizer):
        self._config = config
        self._resizer = resizer
        self._shape = shape
        self._handle = SharedPool()
        self._images_in = Metrics.counter("beamvec", "images_in")
        self._images_embedded = Metrics.counter("beamvec", "images_embedded")
        self._images_failed = Metrics.counter("beamvec", "images_failed")

    def setup(self) -> None:
        require_resizer(self._resizer)
        self._threads = ThreadPoolExecutor(READ_THREADS, "decode")
        self._pool = self._handle.get()
        self._pool.start()  # They get ready while the model is loaded.
        self._model = load_model(self._config)

    def process(self, elements: Sequence[Any]) -> Iterator[Any]:
        refs, reader = self._shape.make_refs(elements)
        resizing = make_resizing(self._model.spec, self._resizer)
        chunk = Chunk(0, 0, "", refs)
        decoded = decode_chunk(chunk, resizing, self._threads, self._pool, reader)
        embedded = embed_chunk(decoded, self._model)
        self._images_in.inc(len(refs))
        self._images_embedded.inc(len(embedded.images))
        self._images_failed.inc(len(embedded.failures))
        yield from self._values(EMBEDDINGS, embedded.images, embedded.features)
        for values in self._values(FAILURES, embedded.failures, ()):
            yield TaggedOutput(FAILURES, values)

    def _values(
        self, table: str, records: Sequence[ImageInfo | Failure], features: Iterable[Any]
    ) -> Iterator[tuple[Any, ...]]:
        """Yield the values of each row of a table."""
        columns = [
            features if column.name == schema.EMBEDDING else column.read(records)
            for column in _columns_of(self._shape, table)
        ]
        for record, *values in zip(records, *columns, strict=True):
            yield (*record.ref.columns, *values)

    def teardown(self) -> None:
        self._threads.shutdown()


class _FailuresAreUsed(ErrorHandler):
    """Refuses to run a pipeline in which nothing takes the failures.

    Beam asks the handlers of a pipeline's errors for this before it runs.
    """

    def __init__(self) -> None:
        super().__init__(None)

    def add_error_pcollection(self, pcoll: PCollection[Any]) -> None:
        super().add_error_pcollection(pcoll)
        self._failures = pcoll

    def verify_closed(self) -> None:
        finder = _ConsumerFinder(self._failures)
        self._failures.pipeline.visit(finder)
        if not finder.found:
            raise ArgumentError(
                "nothing uses the failures of EmbedImages, so images would be lost without a word; "
                "write them somewhere, such as result['failures'] | beam.io.WriteToParquet(...), "
                "or take them with .with_error_handler(...)"
            )


class _ConsumerFinder(PipelineVisitor):
    """Looks for a step that takes a PCollection."""

    def __init__(self, wanted: PCollection[Any]):
        self._wanted = wanted
        self.found = False

    def visit_transform(self, transform_node: AppliedPTransform) -> None:
        self.found |= self._wanted in transform_node.inputs
