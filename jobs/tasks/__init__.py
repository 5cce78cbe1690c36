"""The work of the workers: plain functions that a person can call."""
