"""Configurations: files that are stacked, the schema of a run, resolution and identity."""
