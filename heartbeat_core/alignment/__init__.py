"""Alignment padding: find where a sequence is nearest to the reference, and scale aligned rows."""
