"""Decoding and inference joined: for pipelines of others, and in memory without one."""
