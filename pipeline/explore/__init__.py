"""Commands that look at a finished dataset: search, probe, duplicates, report."""
