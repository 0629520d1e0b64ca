"""From features to the files of a dataset."""
