"""The public challenges of the field: what they ask, their official scores, and their answer files."""
