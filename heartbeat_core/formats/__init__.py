"""Arrow columns, Parquet files, tables that users bring, S3 Inventories."""
