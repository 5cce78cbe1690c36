"""Aligned datasets: read as NumPy arrays or streamed to torch."""
