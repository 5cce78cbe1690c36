"""Aligned datasets: read them as NumPy arrays, or stream them to torch."""
