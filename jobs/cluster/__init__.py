"""Everything that uses Dask: connecting to a cluster, running tasks, encryption."""
