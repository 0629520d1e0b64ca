"""Starts a job from the Flex Template: what Google's launcher calls with the template's parameters.

Parameters have names with underscores and always a value; `beamvec extract` has flags with hyphens,
some of them without a value. Options of Beam, which the launcher adds, stay as they are.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from beamvec.pipeline.commands.main import main

OWN = (
    *("input", "input_list", "manifest", "uri_column", "id_column", "csv_encoding", "base_folder"),
    *("manifest_columns", "input_parquet", "image_column", "input_tar", "input_tfrecord"),
    *("image_feature", "input_zip", "limit", "user_agent", "connections_per_host", "fetch_timeout"),
    "xla",
    *("output", "model", "resize", "color_profile", "precision", "engine", "batch_size"),
    *("chunk_size", "rows_per_shard", "max_file_size", "max_pixels", "max_failure_ratio"),
    "calibration_images",
)
SWITCHES = (
    *("append", "overwrite", "require_gpu", "trust_model", "allow_empty", "allow_private_hosts"),
    *("ignore_robots_tag", "allow_low_fidelity"),
)


def translate(parameters: Sequence[str]) -> Iterator[str]:
    """Yield the flags of `beamvec extract` for a template's parameters.

    >>> list(translate(["--chunk_size=64", "--append=true", "--overwrite=false", "--region=x"]))
    ['--chunk-size=64', '--append', '--region=x']
    """
    for parameter in parameters:
        name, _, value = parameter.removeprefix("--").partition("=")
        if name in OWN:
            yield f"--{name.replace('_', '-')}={value}"
        elif name not in SWITCHES:
            yield parameter
        elif value == "true":
            yield f"--{name.replace('_', '-')}"


if __name__ == "__main__":
    sys.exit(main(["extract", "--runner=DataflowRunner", *translate(sys.argv[1:])]))
