"""A module that cannot be loaded, as one of another package may be."""

raise RuntimeError("on purpose")
