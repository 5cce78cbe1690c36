"""Waveform to features: every feature set, and what models read."""
