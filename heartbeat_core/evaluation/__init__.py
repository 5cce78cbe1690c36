"""Splits, metrics, baselines, and the figures by which a model is judged."""
