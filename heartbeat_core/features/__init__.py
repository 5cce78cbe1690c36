"""Compute features from a waveform: every feature set, and the inputs of models."""
