"""The schemas of all stored tables, and the conversion of results to tables."""
