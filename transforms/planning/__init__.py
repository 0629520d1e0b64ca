"""From images to chunks, and which of them a run still has to do."""
