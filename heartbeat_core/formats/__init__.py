"""Arrow columns, Parquet files, the tables of users, and S3 Inventories."""
