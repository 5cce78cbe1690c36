"""All that knows Dask: connecting, running tasks, TLS."""
