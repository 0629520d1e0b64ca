"""Failures for a page, by their causes."""

from __future__ import annotations

from dataclasses import dataclass

from beamvec.embeddings import Dataset, schema
from beamvec.transforms.records.causes import name_cause

_GROUPS = 60
_NAMES = 1200
"""Images that are named on the page, shared between the causes."""

_FEWEST_NAMES = 10
_COLUMNS = (schema.URI, schema.STAGE, schema.ERROR_TYPE, schema.MESSAGE)


@dataclass(frozen=True)
class FailedImage:
    """An image that could not be embedded.

    Attributes:
        uri: names it.
        message: why, in its own words.
    """

    uri: str
    message: str


@dataclass(frozen=True)
class Cause:
    """What several failures have in common.

    Attributes:
        stage: where the images failed: read, decode or infer.
        error_type: the kind of error.
        cause: what their messages share; empty in records of earlier versions.
        count: how many they are.
        images: some of them, as many as there is room for.
    """

    stage: str
    error_type: str
    cause: str
    count: int
    images: list[FailedImage]

    @property
    def title(self) -> str:
        """The message of all of them, if they have one; else what their messages share."""
        messages = {image.message for image in self.images}
        if len(messages) == 1 and len(self.images) == self.count:
            return messages.pop()
        return self.cause or self.error_type


def list_causes(dataset: Dataset) -> list[Cause]:
    """Return the causes of a dataset's failures, the most frequent first, with their images."""
    found = dataset.run.sort_failures()
    causes = {
        (each.stage, each.error_type, each.cause): Cause(
            each.stage, each.error_type, each.cause, each.count, []
        )
        for each in found[:_GROUPS]
    }
    room = max(_FEWEST_NAMES, _NAMES // max(1, len(causes)))
    for file in dataset.failure_files:
        if all(len(cause.images) >= min(room, cause.count) for cause in causes.values()):
            break
        for row in file.read(_COLUMNS).to_pylist():
            key, message = (row[schema.STAGE], row[schema.ERROR_TYPE]), row[schema.MESSAGE]
            # Records of earlier versions know no causes.
            cause = causes.get((*key, name_cause(message))) or causes.get((*key, ""))
            if cause and len(cause.images) < room:
                cause.images.append(FailedImage(row[schema.URI], message))
    return list(causes.values())


def count_unlisted(dataset: Dataset, causes: list[Cause]) -> int:
    """Return how many failures are not named in some causes."""
    named = sum(len(cause.images) for cause in causes)
    return max(0, dataset.run.counts.failures - named)
