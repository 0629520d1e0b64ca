"""The pipeline's graph, from the input to the report."""

from __future__ import annotations

import apache_beam as beam
from apache_beam.pvalue import PCollection

from beamvec.embeddings.run_record import RunRecord
from beamvec.pipeline.run.config import ExtractConfig
from beamvec.pipeline.run.finish import Begun, CloseAccounts
from beamvec.transforms.decoding.decode import DecodeImages
from beamvec.transforms.decoding.pool import SharedPool
from beamvec.transforms.decoding.resize import make_resizing
from beamvec.transforms.inference.features import ExtractFeatures, FeatureModelHandler
from beamvec.transforms.inference.model import FeatureModel
from beamvec.transforms.inputs.match import MatchImages
from beamvec.transforms.output.chunk_files import FINISHED, SkipFinished, WriteChunks
from beamvec.transforms.output.merge import MergeShards
from beamvec.transforms.output.target import Target
from beamvec.transforms.planning.append import SelectMissing
from beamvec.transforms.planning.plan import PlanChunks, PlanOptions, digest_settings
from beamvec.transforms.records.account import ACCOUNTS, Account


def build_pipeline(
    pipeline: beam.Pipeline,
    config: ExtractConfig,
    model: FeatureModel,
    decoders: SharedPool,
    record: RunRecord,
    token: str,
) -> tuple[PCollection[Account], ...]:
    """Apply all steps to an empty pipeline but the last, which needs to know that the run began.

    Args:
        pipeline: where to.
        config: what the run is to do.
        model: as it was loaded at launch; workers load it again.
        decoders: what decodes in each worker process.
        record: of the run so far.
        token: names the run in the output folder.

    Returns:
        What `close_pipeline` takes.
    """
    layout, source = config.layout, config.source
    plan = PlanOptions(
        chunk_size=config.chunk_size,
        rows_per_shard=config.rows_per_shard,
        settings_digest=digest_settings(record.settings),
        total_path=layout.total_file,
        shard_key=source.shard_key,
        run_key=source.run_key,
    )
    target = Target(layout, source.columns, record.file_metadata(), record.generation, token)
    handler = FeatureModelHandler(config.model, model.fingerprint, model.spec)
    resizing = make_resizing(model.spec, record.settings.resizer)
    listed = pipeline | "MatchImages" >> MatchImages(source)
    refs, accounts = listed["blocks"], [listed[ACCOUNTS]]
    if record.generation:
        selected = refs | "SelectMissing" >> SelectMissing(
            layout, target.columns, source.find_again
        )
        refs = selected["missing"]
        accounts.append(selected[ACCOUNTS])
    planned = refs | "PlanChunks" >> PlanChunks(plan)
    to_do = planned["chunks"] | "SkipFinished" >> SkipFinished(target)
    computed = (
        to_do["chunks"]
        | "DecodeImages" >> DecodeImages(resizing, decoders, source.reader)
        | "ExtractFeatures" >> ExtractFeatures(handler)
        | "WriteChunks" >> WriteChunks(target)
    )
    merged = (
        (computed, to_do[FINISHED])
        | "AllChunks" >> beam.Flatten()
        | "MergeShards" >> MergeShards(planned["shards"], target)
    )
    return (*accounts, planned[ACCOUNTS], merged)


def close_pipeline(accounts: tuple[PCollection[Account], ...], begun: Begun) -> None:
    """Apply the last steps: they add up the accounts, and publish what the run has made."""
    accounts | "AllAccounts" >> beam.Flatten() | "CloseAccounts" >> CloseAccounts(begun)
