"""Checkpoints on disk: read, recognised, written."""
