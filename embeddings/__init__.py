"""beamvec datasets: their schema, reading and searching them. Needs only numpy and pyarrow."""

from beamvec.embeddings.batches import Batch
from beamvec.embeddings.dataset import Dataset
from beamvec.embeddings.groups import find_groups
from beamvec.embeddings.opening import open_dataset
from beamvec.embeddings.run_record import RunRecord
from beamvec.embeddings.search import Matches, search
from beamvec.errors import DatasetError

__all__ = [
    "Batch",
    "Dataset",
    "DatasetError",
    "Matches",
    "RunRecord",
    "find_groups",
    "open_dataset",
    "search",
]
