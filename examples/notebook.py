"""What a data scientist does in a notebook, cell by cell: embed, look, search.

python examples/notebook.py FOLDER MODEL DATASET
"""

# %%
import sys

import numpy as np

import beamvec

folder, model, output = sys.argv[1:4]

# %% Embed a folder; a second time, this takes a second.
run = beamvec.extract(folder, output=output, model=model, max_failure_ratio=1, progress=True)
print(f"{run.counts.embeddings} of {run.counts.inputs} images, {run.timings.images_per_s} images/s")

# %% Look at it.
dataset = beamvec.open_dataset(output)
print(repr(dataset))
print(dataset.read_failures().select(["uri", "message"]).to_pylist())

# %% The nearest images to one that is not in the dataset, here a grey square.
grey = np.full((64, 64, 3), 128, np.uint8)
query = beamvec.load_model(model).embed(grey)
matches = beamvec.search(dataset, query, k=3)
print(dataset.take(matches.rows[0]).metadata["uri"].to_pylist(), matches.cosines[0])
