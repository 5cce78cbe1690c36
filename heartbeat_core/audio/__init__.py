"""Bytes of an audio file to a waveform, its quality, and recordings that are synthesised."""
