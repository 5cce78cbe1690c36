"""What is stored as rows: the schemas of every table, and results to tables."""
