"""beamvec datasets: their schema, reading and searching them. Needs only numpy and pyarrow."""

from embeddings.dataset import Batch, Dataset
from embeddings.duplicates import find_groups
from embeddings.opening import open_dataset
from embeddings.parts import DatasetError
from embeddings.search import Matches, search

__all__ = [
    "Batch",
    "Dataset",
    "DatasetError",
    "Matches",
    "find_groups",
    "open_dataset",
    "search",
]
