"""Decode audio files into waveforms, measure their quality, and synthesise recordings."""
