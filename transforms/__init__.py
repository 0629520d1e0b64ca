"""The library, in rooms that follow the data from names of images to a dataset."""
