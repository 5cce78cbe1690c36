"""Inputs to recordings, labels and shards."""
