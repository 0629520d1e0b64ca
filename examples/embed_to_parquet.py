"""A Beam pipeline of its own with beamvec inside: embeddings and failures as Parquet.

python examples/embed_to_parquet.py MODEL OUTPUT IMAGE [IMAGE ...] [--runner=...]
"""

import sys

import apache_beam as beam

import beamvec

model, output, *images = [word for word in sys.argv[1:] if not word.startswith("--")]
options = [word for word in sys.argv[1:] if word.startswith("--")]

with beam.Pipeline(argv=options) as pipeline:
    uris = pipeline | beam.Create(images)
    found = uris | beamvec.EmbedImages(model=model)
    found["embeddings"] | "Rows" >> beam.io.WriteToParquet(f"{output}/embeddings")
    found["failures"] | "Bad" >> beam.io.WriteToParquet(f"{output}/failures")
