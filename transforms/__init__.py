"""The steps from image paths to a Parquet dataset of embeddings, each usable without Beam."""
