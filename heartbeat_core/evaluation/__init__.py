"""Splits, metrics, baselines, and the figures that a model is judged by."""
