"""The pipeline's graph, from the input to the report."""

from __future__ import annotations

import apache_beam as beam

from pipeline.config import ExtractConfig
from pipeline.report import CloseAccounts, RunInfo
from transforms import storage
from transforms.append import SelectMissing
from transforms.decode import DecodeImages
from transforms.extract import ExtractFeatures, FeatureModelHandler
from transforms.match import MatchImages
from transforms.merge import MergeShards
from transforms.model import FeatureModel
from transforms.plan import ACCOUNTS, PlanChunks, PlanOptions
from transforms.write import FINISHED, OutputOptions, SkipFinished, WriteChunks

TOTAL_FILE = "total.json"
"""In the folder of chunk files: the number of inputs, for whoever shows progress."""


def build_pipeline(
    pipeline: beam.Pipeline,
    config: ExtractConfig,
    model: FeatureModel,
    output: OutputOptions,
    settings_digest: str,
    run: RunInfo,
) -> None:
    """Apply all steps to an empty pipeline."""
    plan = PlanOptions(
        chunk_size=config.chunk_size,
        rows_per_shard=config.rows_per_shard,
        settings_digest=settings_digest,
        total_path=storage.join(output.chunks_path, TOTAL_FILE),
    )
    handler = FeatureModelHandler(
        model.handle,
        model.batch_size,
        model.fingerprint,
        config.precision,
        config.engine,
        config.require_gpu,
    )
    refs = pipeline | "MatchImages" >> MatchImages(config.input)
    accounts = []
    if output.generation:
        selected = refs | "SelectMissing" >> SelectMissing(output.path, output.columns)
        refs = selected["missing"]
        accounts = [selected[ACCOUNTS]]
    planned = refs | "PlanChunks" >> PlanChunks(plan)
    to_do = planned["chunks"] | "SkipFinished" >> SkipFinished(output)
    computed = (
        to_do["chunks"]
        | "DecodeImages" >> DecodeImages(model.input_size, config.resize)
        | "ExtractFeatures" >> ExtractFeatures(handler)
        | "WriteChunks" >> WriteChunks(output)
    )
    merged = (
        (computed, to_do[FINISHED])
        | "AllChunks" >> beam.Flatten()
        | "MergeShards" >> MergeShards(planned["shards"], output)
    )
    accounts += [planned[ACCOUNTS], merged]
    accounts | "AllAccounts" >> beam.Flatten() | "Report" >> CloseAccounts(run)
