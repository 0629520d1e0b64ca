"""beamvec datasets: their schema, and reading them. Needs only numpy and pyarrow."""

from embeddings.dataset import Dataset, DatasetError, open_dataset

__all__ = ["Dataset", "DatasetError", "open_dataset"]
