"""HTML pages of one file, and their thumbnails."""
