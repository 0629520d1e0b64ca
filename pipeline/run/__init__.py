"""A run: from its configuration to the finished dataset."""
